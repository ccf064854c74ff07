"""The adviser: what to use for the wider network, why, and when not to trust it."""

import math
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

from widthwise.adviser.ceiling import (
    Interval,
    StableLaw,
    StableRange,
    StableRate,
    ceiling,
    stable_range,
)
from widthwise.adviser.commands import probe_command
from widthwise.adviser.evidence import Facts
from widthwise.adviser.facts import Networks, networks, option
from widthwise.adviser.gate import examine
from widthwise.adviser.line import equivalent_choices
from widthwise.adviser.plan import GradientNoise, Plan
from widthwise.adviser.reasoning import assumptions, notes, reasons
from widthwise.adviser.rivals import rivals
from widthwise.adviser.rules import PAPER_EXPONENT, noise_growth, scaling_of
from widthwise.adviser.solving import (
    KEEPS,
    NEEDS_MAX_STABLE,
    SAFE_SHARE,
    Keep,
    Request,
    Setting,
    Solution,
    solve,
    with_growth,
)
from widthwise.analysis import Law
from widthwise.errors import InputError


def widen(
    *,
    learning_rate: float,
    batch_size: int,
    momentum: float = 0.0,
    widening_factor: float | None = None,
    base: Any = None,
    target: Any = None,
    parameterization: str | None = None,
    keep: Keep = "batch_size",
    normalization: str | None = None,
    convolutional: bool | None = None,
    residual: bool | None = None,
    max_stable_learning_rate: float | StableRate | None = None,
    max_stable_at: float = 1.0,
    max_stable_batch_size: int | None = None,
    stability_exponent: float | StableLaw | None = None,
    num_train: int | None = None,
    epochs: float | None = None,
    optimizer: str = "sgd",
    schedule: str = "constant",
    weight_decay: float = 0.0,
    max_batch_size: int | None = None,
    law: Law | None = None,
    depth_changed: bool = False,
    gradient_noise: GradientNoise | None = None,
    build: str | None = None,
) -> Plan:
    """What to set for a network ``widening_factor`` times as wide as the one that was tuned.

    The rule is ḡ_opt ∝ w^s with ḡ = ε/(B(1−m))/σ_init², s = 1 by Park et al. (2019,
    arXiv:1905.03776) or the exponent of your own study.

    Where the largest stable learning rate ε_max is known, a plan goes up to a quarter of it, or up
    to the base's own share of it if that is larger; above that B is lowered, and where not even
    B = 1 is enough, the plan has less noise than the rule asks for (``noise_reached`` < 1).

    Args:
        learning_rate, batch_size, momentum: ε, B, m tuned at the base, for a loss averaged over
            the batch; heavy ball without dampening.
        widening_factor: w > 0; may be left out if both modules are given.
        base, target: ``torch.nn.Module`` s as initialized. The factor, the parameterization, the
            normalization and what did not widen are read off them.
        parameterization: "standard", "ntk", "default" (PyTorch's initialization) or "mup".
        keep: what stays as it is: "batch_size" (ε follows), "learning_rate" (B follows),
            "learning_rate_and_batch_size" (m follows), "momentum" (ε is a quarter of the largest
            stable one, B follows), "largest_batch" (the largest B that is still optimal, with ε
            up to the largest stable one). All but the third keep m.
        normalization: "none", "batch", "layer", "group", "instance", "rms", "mixed" or "other".
        convolutional, residual: whether the network has convolutions, residual sums.
        max_stable_learning_rate: ε_max at the momentum and batch size above: a number, or a
            measured value, which knows its widening factor, momentum and batch size. Smaller
            batches bear less; what was measured at batch size 1 is safe for every B.
        max_stable_at: the widening factor at which a bare number holds; 1 is the base.
        max_stable_batch_size: the B at which a bare number, or a law, was measured: smaller batches
            bear less, so what was measured at 1 is safe for all. None takes the base's.
        stability_exponent: q in ε_max ∝ w^−q, a number or a measured law.
        num_train, epochs: N, and how many passes training makes.
        optimizer, schedule: anything but "sgd" is refused; but "constant" lowers the evidence.
        weight_decay: λ of ``torch.optim.SGD``.
        max_batch_size: the largest B that fits, if limited.
        law: fitted by a study of your own; its interval is carried into ε and B.
        depth_changed: whether the number of layers differs as well.
        gradient_noise: a measured tr(Σ)/|G|², shown beside ḡ under its own name.
        build: "module:function" of your network, to be named in the commands that are suggested.

    Raises:
        InputError: if a value is wrong, contradicts the modules, or is missing: then the message
            is a question that names the option.
        AdviceRefusedError: if the rule says nothing about this case; it says what to measure.

    >>> plan = widen(learning_rate=0.5, batch_size=32, widening_factor=4, parameterization="ntk")
    >>> plan.learning_rate, plan.batch_size, plan.momentum
    (2.0, 32, 0.0)
    >>> widen(learning_rate=0.5, batch_size=32, widening_factor=4, parameterization="ntk",
    ...       keep="learning_rate").batch_size
    8
    """
    tuned = Setting(learning_rate=learning_rate, batch_size=batch_size, momentum=momentum)
    _require_options(keep, optimizer, weight_decay, epochs)
    limit = _batch_limit(tuned, num_train, max_batch_size)
    known = networks(
        widening_factor=widening_factor,
        parameterization=parameterization,
        normalization=normalization,
        convolutional=convolutional,
        residual=residual,
        depth_changed=depth_changed,
        comparison=_compare(base, target),
    )
    stable = stable_range(
        max_stable_learning_rate,
        max_stable_at,
        stability_exponent,
        known.widening_factor,
        max_stable_batch_size,
    )
    share = stable.base_share(learning_rate, batch_size)
    above = share is not None and share > 1.0 + 1e-12
    facts = Facts(
        base=tuned,
        widening_factor=known.widening_factor,
        parameterization=known.parameterization,
        optimizer=optimizer.lower(),
        schedule=schedule.lower(),
        epochs=epochs,
        normalization=known.normalization,
        convolutional=known.convolutional,
        residual=known.residual,
        weight_decay=weight_decay,
        depth_changed=known.depth_changed,
        base_above_stable=above,
        law=law,
        build=build,
    )
    examine(facts)  # refuses before anything that it would not trust is computed
    measure = probe_command(build, tuned, known.widening_factor)
    if keep in NEEDS_MAX_STABLE and stable.value is None:
        raise InputError(
            f"keep={keep!r} needs the largest stable learning rate at the target width. "
            f"Which is it? Give {option('max_stable_learning_rate')}, and "
            f"{option('stability_exponent')} if it was measured at another width. Measure it with: "
            f"{measure}"
        )
    exponent = PAPER_EXPONENT if law is None else law.exponent
    growth = noise_growth(known.parameterization, known.widening_factor, exponent)
    request = Request(
        base=tuned,
        growth=growth,
        keep=keep,
        max_stable=stable.value,
        # As near to the limit as the tuned base, and a quarter at least.
        usable_share=min(1.0, max(SAFE_SHARE, share or 0.0)),
        max_batch_size=limit,
    )
    solution = solve(request)
    setting = solution.setting
    growths = _growths(law, known)
    limits = ceiling(
        stable,
        noise=setting.noise_scale / solution.reached,
        base_noise=tuned.noise_scale,
        noise_exponent=exponent + scaling_of(known.parameterization).variance_exponent,
        noise_interval=None if growths is None else _scaled(tuned.noise_scale, growths),
        momentum=setting.momentum,
        base_momentum=tuned.momentum,
        base_learning_rate=tuned.learning_rate,
        base_batch_size=tuned.batch_size,
        measure=measure,
    )
    grade, findings = examine(
        _with_outcome(facts, solution, num_train, max(tuned.batch_size, setting.batch_size))
    )
    spread = _spread(request, growths, stable)
    # The line is that of the noise that the plan has.
    line = replace(request, growth=growth * solution.reached)
    changed = tuple(change.knob for change in solution.changes)
    variance = scaling_of(known.parameterization).init_variance
    at_target = variance(known.widening_factor)
    return Plan(
        learning_rate=setting.learning_rate,
        batch_size=setting.batch_size,
        momentum=setting.momentum,
        learning_rate_interval=spread.learning_rate,
        batch_size_interval=spread.batch_size,
        momentum_interval=spread.momentum,
        base=tuned,
        widening_factor=known.widening_factor,
        parameterization=known.parameterization,
        keep=keep,
        exponent=exponent,
        exponent_interval=None if law is None else law.interval,
        noise_scale=setting.noise_scale,
        base_noise_scale=tuned.noise_scale,
        normalized_noise_scale=setting.noise_scale / at_target,
        base_normalized_noise_scale=tuned.noise_scale / variance(1.0),
        normalized_noise_scale_interval=None
        if growths is None or spread.noise_scale is None
        else _scaled(1.0 / at_target, spread.noise_scale),
        ceiling=limits,
        choices=equivalent_choices(line, setting, limits.batch_size),
        reasons=reasons(
            tuned, setting, known, keep, exponent, law, limits, changed, solution.reached
        ),
        evidence=grade,
        findings=findings,
        changes=tuple(dict.fromkeys(change.text for change in solution.changes)),
        notes=notes(tuned, setting, known, law, stable),
        assumptions=assumptions(known, epochs, num_train),
        noise_reached=solution.reached,
        usable_share=request.usable_share,
        rivals=rivals(
            tuned, known.widening_factor, exponent, setting.noise_scale, solution.reached
        ),
        optimizer=optimizer.lower(),
        schedule=schedule.lower(),
        weight_decay=float(weight_decay),
        num_train=num_train,
        epochs=epochs,
        layer_rates=_layer_rates(known, base, target, setting),
        widened=known.widened,
        not_widened=known.not_widened,
        gradient_noise_scale=None if gradient_noise is None else gradient_noise.value,
        gradient_noise_interval=None if gradient_noise is None else gradient_noise.interval,
    )


def _compare(base: Any, target: Any) -> Any:
    """What :mod:`widthwise.inspection` reads off the modules; None without them."""
    if base is None and target is None:
        return None
    if base is None or target is None:
        raise InputError(
            "base and target are compared with each other: give both modules, or neither and "
            f"{option('widening_factor')}"
        )
    from widthwise.inspection import compare

    return compare(base, target)


def _require_options(keep: str, optimizer: str, weight_decay: float, epochs: float | None) -> None:
    if keep not in KEEPS:
        raise InputError(f"keep must be one of {', '.join(KEEPS)}, got {keep!r}")
    if not optimizer:
        raise InputError("optimizer must be named, got an empty name; try 'sgd'")
    if not (math.isfinite(weight_decay) and weight_decay >= 0.0):
        raise InputError(f"weight_decay must lie in [0, ∞), got {weight_decay!r}")
    if epochs is not None and not (math.isfinite(epochs) and epochs > 0.0):
        raise InputError(f"epochs must be positive, got {epochs!r}")


def _batch_limit(base: Setting, num_train: int | None, max_batch_size: int | None) -> int | None:
    """The largest B allowed: what fits, and the training set."""
    limits = {"num_train": num_train, "max_batch_size": max_batch_size}
    for name, value in limits.items():
        if value is not None and (isinstance(value, bool) or value < 1 or value % 1):
            raise InputError(f"{name} must be a whole number of at least 1, got {value!r}")
    if num_train is not None and base.batch_size > num_train:
        raise InputError(f"batch_size must not exceed num_train={num_train}, got {base.batch_size}")
    given = [int(value) for value in limits.values() if value is not None]
    return min(given, default=None)


def _with_outcome(
    facts: Facts, solution: Solution, num_train: int | None, largest_batch_size: int
) -> Facts:
    return replace(
        facts,
        changed=tuple(change.knob for change in solution.changes),
        num_train=num_train,
        largest_batch_size=largest_batch_size,
    )


def _growths(law: Law | None, known: Networks) -> Interval | None:
    """w^(s+e) at the ends of the interval of s; None if a study does not bound it."""
    if law is None or not all(math.isfinite(end) for end in law.interval):
        return None
    ends = [
        noise_growth(known.parameterization, known.widening_factor, end) for end in law.interval
    ]
    return min(ends), max(ends)


def _scaled(value: float, interval: Interval) -> Interval:
    return value * interval[0], value * interval[1]


@dataclass(frozen=True, kw_only=True)
class _Spread:
    """Intervals of ε, B, m and of ε/(B(1−m)); None if nothing that was given has an interval."""

    learning_rate: Interval | None = None
    batch_size: Interval | None = None
    momentum: Interval | None = None
    noise_scale: Interval | None = None


def _spread(request: Request, growths: Interval | None, stable: StableRange) -> _Spread:
    """The same choice at all ends of the intervals of the noise and of ε_max."""
    if growths is None and stable.interval is None:
        return _Spread()
    ends: tuple[float | None, ...] = stable.interval or (stable.value,)
    unbounded = any(rate is not None and math.isinf(rate) for rate in ends)
    open_above = unbounded and request.keep in NEEDS_MAX_STABLE
    if unbounded:
        # Nothing is unstable there: no limit, or for a choice made by the limit no upper end.
        ends = (ends[0], stable.value if open_above else None)
    # The plan itself belongs to them: where B is rounded ε is not monotonic in the noise.
    corners = product(growths or (request.growth,), ends)
    solved = [solve(request).setting]
    solved += [solve(with_growth(request, growth, rate)).setting for growth, rate in corners]
    rates = [setting.learning_rate for setting in solved]
    batches = [float(setting.batch_size) for setting in solved]
    momenta = [setting.momentum for setting in solved]
    scales = [setting.noise_scale for setting in solved]
    return _Spread(
        learning_rate=(min(rates), math.inf if open_above else max(rates)),
        batch_size=(min(batches), math.inf if open_above else max(batches)),
        momentum=(min(momenta), max(momenta)),
        noise_scale=(min(scales), max(scales)),
    )


def _layer_rates(
    known: Networks, base: Any, target: Any, setting: Setting
) -> tuple[tuple[tuple[str, ...], float], ...]:
    """(parameter names, ε) where the rates differ by layer: under µP, those of MuSGD."""
    if known.parameterization != "mup" or target is None:
        return ()
    from widthwise.conversion import mup_factors

    groups: dict[float, list[str]] = {}
    for name, factors in mup_factors(target, base).items():
        groups.setdefault(setting.learning_rate * factors.learning_rate, []).append(name)
    if len(groups) == 1:
        return ()
    return tuple((tuple(names), rate) for rate, names in groups.items())
