"""The adviser: what to use for the wider network, why, and when not to trust it."""

import math
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

from widthwise.adviser.ceiling import Ceiling, Interval, StableLaw, StableRange, StableRate, ceiling
from widthwise.adviser.ceiling import stable_range as range_of
from widthwise.adviser.commands import calibrate_command, probe_command
from widthwise.adviser.evidence import Facts, Finding, Grade
from widthwise.adviser.gate import examine, refuse_optimizer
from widthwise.adviser.given import (
    Family,
    Known,
    Network,
    Stability,
    Training,
    known_networks,
    with_former,
)
from widthwise.adviser.own_studies import costly_trial_sentence, own_studies
from widthwise.adviser.plan import Plan
from widthwise.adviser.reasoning import assumptions, doubts, notes, reasons
from widthwise.adviser.rivals import rivals
from widthwise.adviser.solving import (
    KEEPS,
    NEEDS_MAX_STABLE,
    SAFE_SHARE,
    Keep,
    Request,
    Setting,
    Solution,
    equivalent_choices,
    solve,
    with_growth,
)
from widthwise.analysis import Law
from widthwise.errors import InputError, perhaps
from widthwise.theory.parameterization import PAPER_EXPONENT, noise_growth, width_rule


def widen(
    *,
    learning_rate: float,
    batch_size: int,
    momentum: float = 0.0,
    widening_factor: float | None = None,
    parameterization: str | None = None,
    network: Network | Family | tuple[Any, Any] | None = None,
    stability: Stability | StableRate | StableLaw | float | None = None,
    training: Training | None = None,
    law: Law | None = None,
    keep: Keep = "stability",
    **former: Any,
) -> Plan:
    """What to set for a network ``widening_factor`` times as wide as the one that was tuned.

    The rule is ḡ_opt ∝ w^s with ḡ = ε/(B(1−m))/σ_init², s = 1 by Park et al. (2019,
    arXiv:1905.03776) or the exponent of your own study.

    A plan sets no learning rate above the largest that is known to be stable: a quarter of ε_max
    at the target, or the base's own share of it if that is larger; where ε_max is not known at
    the target, the base's own rate. More noise comes from a smaller batch, and where not even
    B = 1 is enough, the plan has less noise than the rule asks for (``noise_reached`` < 1).

    Args:
        learning_rate, batch_size, momentum: ε, B, m tuned at the base, for a loss averaged over
            the batch; heavy ball without dampening.
        widening_factor: w > 0; may be left out if both modules are given.
        parameterization: "standard", "ntk", "default" (PyTorch's initialization) or "mup"; may be
            left out if modules or a family are given.
        network: what else is known of it: a :class:`Network`; or (base, target) modules, off which
            it is read; or a width family.
        stability: what is known of the largest stable learning rate: a :class:`Stability`; or a
            measured rate or law; or a number, ε_max at the base.
        training: how it trains: a :class:`Training`; None is the paper's setting.
        law: fitted by a study of your own, straight or bent; ḡ is carried from 1 to
            ``widening_factor`` along it, and its interval into ε and B.
        keep: what stays as it is: "stability" (ε goes no higher than is known to be stable, B
            stays or falls), "batch_size" (ε follows, however high, unless ε_max says no),
            "learning_rate" (B follows), "learning_rate_and_batch_size" (m follows), "momentum" (ε
            is a quarter of the largest stable one, B follows), "largest_batch" (the largest B
            that is still optimal, with ε up to the largest stable one). All but the fourth keep m.
        former: single facts under the names that earlier releases had for them, with a
            DeprecationWarning: those of Network, Stability and Training, and ``base``, ``target``.

    Raises:
        InputError: if a value is wrong, contradicts the modules, or is missing: then the message
            is a question that names the field.
        AdviceRefusedError: if the rule says nothing about this case; it says what to measure.

    >>> plan = widen(learning_rate=0.5, batch_size=32, widening_factor=4, parameterization="ntk")
    >>> plan.learning_rate, plan.batch_size, plan.momentum
    (0.5, 8, 0.0)
    >>> widen(learning_rate=0.5, batch_size=32, widening_factor=4, parameterization="ntk",
    ...       keep="batch_size").learning_rate
    2.0
    """
    given = with_former(former, network=network, stability=stability, training=training)
    network, stability, training = given["network"], given["stability"], given["training"]
    tuned = Setting(learning_rate=learning_rate, batch_size=batch_size, momentum=momentum)
    if keep not in KEEPS:
        raise InputError(
            f"keep must be one of {', '.join(KEEPS)}, got {keep!r}{perhaps(keep, KEEPS)}",
            fields=("keep",),
        )
    for name, value, kind in (("training", training, Training), ("law", law, Law)):
        if value is not None and not isinstance(value, kind):
            raise InputError(f"{name} must be a {kind.__name__}, got {value!r}", fields=(name,))
    training = training or Training()
    limit = training.batch_limit(tuned.batch_size)
    try:
        known = known_networks(network, widening_factor, parameterization)
    except InputError:
        refuse_optimizer(training.optimizer, tuned)  # no answer to the question would help
        raise
    stable = _stable_range(stability, known.widening_factor)
    share = stable.base_share(tuned.learning_rate, tuned.batch_size)
    facts = Facts(
        base=tuned,
        widening_factor=known.widening_factor,
        parameterization=known.parameterization,
        optimizer=training.optimizer,
        schedule=training.schedule,
        epochs=training.epochs,
        normalization=known.normalization,
        convolutional=known.convolutional,
        residual=known.residual,
        weight_decay=training.weight_decay,
        depth_changed=known.depth_changed,
        base_above_stable=share is not None and share > 1.0 + 1e-12,
        law=law,
        build=known.build,
    )
    examine(facts)  # refuses before anything that it would not trust is computed
    if keep in NEEDS_MAX_STABLE and stable.value is None:
        measure = probe_command(known.build, tuned, known.widening_factor)
        raise InputError(
            f"keep={keep!r} needs the largest stable learning rate at the target width. "
            "Which is it? Give max_stable_learning_rate, and stability_exponent if it was "
            f"measured at another width. Measure it with: {measure}",
            fields=("max_stable_learning_rate", "stability_exponent"),
        )
    exponent, exponents = _exponents(law, known.widening_factor)
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
    growths = _growths(exponents, known)
    variance_exponent = width_rule(known.parameterization).variance_exponent
    limits = ceiling(
        stable,
        noise=setting.noise_scale / solution.reached,
        base_noise=tuned.noise_scale,
        noise_exponent=exponent + variance_exponent,
        noise_interval=None if growths is None else _scaled(tuned.noise_scale, growths),
        momentum=setting.momentum,
        base_momentum=tuned.momentum,
        base_learning_rate=tuned.learning_rate,
        base_batch_size=tuned.batch_size,
        measure=probe_command(
            known.build, tuned, known.widening_factor, batch_size=setting.batch_size
        ),
    )
    grade, findings = examine(_with_outcome(facts, solution, training, request))
    spread = _spread(request, growths, stable)
    # The line is that of the noise that the plan has.
    line = replace(request, growth=growth * solution.reached)
    changed = tuple(change.knob for change in solution.changes)
    changes = tuple(dict.fromkeys(change.text for change in solution.changes))
    ours = _by_own_studies(request, known) if law is None else None
    remarks = notes(tuned, setting, known, law, stable, ours)
    # In the units of the law, where there is one.
    of_law = None if law is None else law.init_variance
    before = known.init_variance if of_law is None else of_law
    after = None if before is None else before * known.widening_factor**variance_exponent
    carried = None if growths is None else spread.noise_scale
    noise = training.gradient_noise
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
        exponent_interval=exponents,
        noise_scale=setting.noise_scale,
        base_noise_scale=tuned.noise_scale,
        noise_ratio=growth * solution.reached,
        normalized_noise_ratio=known.widening_factor**exponent * solution.reached,
        noise_ratio_interval=None if carried is None else _scaled(1 / tuned.noise_scale, carried),
        normalized_noise_scale=None if after is None else setting.noise_scale / after,
        base_normalized_noise_scale=None if before is None else tuned.noise_scale / before,
        normalized_noise_scale_interval=None
        if carried is None or after is None
        else _scaled(1.0 / after, carried),
        ceiling=limits,
        choices=equivalent_choices(line, setting, limits.batch_size),
        reasons=reasons(
            tuned, setting, known, keep, exponent, law, limits, changed, solution.reached
        ),
        evidence=grade,
        findings=findings,
        changes=changes,
        doubts=doubts(changes, findings, grade, remarks, known, law, stable),
        settle=_settle(grade, findings, law, limits, tuned, known),
        notes=remarks,
        assumptions=assumptions(known, training.epochs, training.num_train),
        noise_reached=solution.reached,
        usable_share=request.usable_share,
        by_own_studies=ours,
        rivals=rivals(
            tuned, known.widening_factor, exponent, setting.noise_scale, solution.reached
        ),
        optimizer=training.optimizer,
        schedule=training.schedule,
        weight_decay=training.weight_decay,
        num_train=training.num_train,
        epochs=training.epochs,
        layer_rates=_layer_rates(known, network, setting),
        widened=known.widened,
        not_widened=known.not_widened,
        gradient_noise_scale=None if noise is None else noise.value,
        gradient_noise_interval=None if noise is None else noise.interval,
    )


def _stable_range(
    given: Stability | StableRate | StableLaw | float | None, widening_factor: float
) -> StableRange:
    """ε_max at the target from whatever says something of it."""
    if isinstance(given, StableLaw):
        given = Stability(stability_exponent=given)
    elif not isinstance(given, Stability):
        given = Stability(max_stable_learning_rate=given)
    return range_of(
        given.max_stable_learning_rate,
        given.max_stable_at,
        given.stability_exponent,
        widening_factor,
        given.max_stable_batch_size,
    )


def _with_outcome(facts: Facts, solution: Solution, training: Training, request: Request) -> Facts:
    setting, tuned = solution.setting, facts.base
    unproven = request.largest_rate is None and setting.learning_rate > tuned.learning_rate
    return replace(
        facts,
        changed=tuple(change.knob for change in solution.changes),
        unproven_learning_rate=setting.learning_rate if unproven else None,
        num_train=training.num_train,
        largest_batch_size=max(tuned.batch_size, setting.batch_size),
    )


def _settle(
    grade: Grade,
    findings: tuple[Finding, ...],
    law: Law | None,
    limits: Ceiling,
    tuned: Setting,
    known: Known,
) -> str | None:
    """The command that would settle the doubt that decides the grade; else the exponent, where
    our own studies do not agree on the paper's or the rule lost a trial, else stability."""
    decisive = next((f.measure for f in findings if f.effect == grade and f.measure), None)
    if decisive is not None:
        return decisive
    ours = own_studies(known.parameterization)
    agreed = bool(ours) and all(study.holds(PAPER_EXPONENT) for study in ours)
    agreed = agreed and costly_trial_sentence(known.parameterization, known.widening_factor) is None
    if law is None and not agreed:
        return calibrate_command(tuned, known.widening_factor)
    return limits.measure if limits.max_stable_learning_rate is None else None


def _by_own_studies(request: Request, known: Known) -> tuple[Setting, Setting] | None:
    """What the smallest and the largest exponent of our own studies would set; None where all
    agree with the paper's."""
    found = own_studies(known.parameterization)
    if all(study.holds(PAPER_EXPONENT) for study in found):
        return None
    smallest, largest = (
        noise_growth(known.parameterization, known.widening_factor, study.exponent)
        for study in (found[0], found[-1])
    )
    return (
        solve(replace(request, growth=smallest)).setting,
        solve(replace(request, growth=largest)).setting,
    )


def _exponents(law: Law | None, widening_factor: float) -> tuple[float, Interval | None]:
    """s in ḡ_opt ∝ w^s from the base to the target, with its interval; the paper's without a law.

    A bent law has another exponent at every width: this is their mean over log w.
    """
    if law is None:
        return PAPER_EXPONENT, None
    log_factor = math.log(widening_factor)
    if log_factor == 0.0:
        return law.local_exponent(1.0)
    value, ends = law.growth(widening_factor)
    logs = [math.log(end) if end > 0.0 else -math.inf for end in ends]
    low, high = sorted(log / log_factor for log in logs)
    return math.log(value) / log_factor, (low, high)


def _growths(exponents: Interval | None, known: Known) -> Interval | None:
    """w^(s+e) at the ends of the interval of s; None if a study does not bound it."""
    if exponents is None or not all(math.isfinite(end) for end in exponents):
        return None
    ends = [noise_growth(known.parameterization, known.widening_factor, end) for end in exponents]
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
    if open_above:
        # Nothing is unstable there: a choice made by the limit has no upper end.
        ends = (ends[0], stable.value)
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
    known: Known, network: object, setting: Setting
) -> tuple[tuple[tuple[str, ...], float], ...]:
    """(parameter names, ε) where the rates differ by layer: under µP, those of MuSGD."""
    pair = network.modules if isinstance(network, Network) else network
    if known.parameterization != "mup" or not isinstance(pair, tuple):
        return ()
    from widthwise.conversion import mup_factors  # needs PyTorch

    base, target = pair
    groups: dict[float, list[str]] = {}
    for name, factors in mup_factors(target, base).items():
        groups.setdefault(setting.learning_rate * factors.learning_rate, []).append(name)
    if len(groups) == 1:
        return ()
    return tuple((tuple(names), rate) for rate, names in groups.items())
