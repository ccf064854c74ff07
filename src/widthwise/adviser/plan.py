"""The answer: a frozen plan for the wider network, with reasons, evidence and limits."""

import dataclasses
import math
import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from widthwise.adviser.ceiling import Ceiling, Interval
from widthwise.adviser.evidence import Finding, Grade
from widthwise.adviser.line import EquivalentChoice
from widthwise.adviser.rivals import Rival
from widthwise.adviser.solving import Keep, Setting
from widthwise.errors import InputError


@dataclass(frozen=True, kw_only=True)
class Reason:
    """A number of a plan, explained.

    Attributes:
        quantity: name of the plan's field.
        text: the reason.
        source: who says so, or what it was computed from.
    """

    quantity: str
    text: str
    source: str


@runtime_checkable
class GradientNoise(Protocol):
    """A measured tr(Σ)/|G|², such as widthwise.probes.gradient_noise.GradientNoiseScale."""

    @property
    def value(self) -> float: ...
    @property
    def interval(self) -> Interval: ...


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What to set for the wider network, why, and when not to trust it.

    Attributes:
        learning_rate: ε at the target, for a loss averaged over the batch.
        batch_size: B, a whole number of examples; ε is solved for it.
        momentum: m in [0, 1), heavy ball, no dampening.
        learning_rate_interval, batch_size_interval, momentum_interval: what the same choice would
            be at the ends of the intervals of the law and of ε_max; None if neither was given,
            or if the study does not bound its exponent.
        base: the setting tuned at w = 1.
        widening_factor: w.
        parameterization: "standard", "ntk", "default" or "mup".
        keep: what was to be left as it is.
        exponent: s in ḡ_opt ∝ w^s, with `exponent_interval`; None if it is the paper's.
        noise_scale, base_noise_scale: g = ε/(B(1−m)) after and before, in units of ε.
        normalized_noise_scale, base_normalized_noise_scale: ḡ = g/σ_init², family level.
        normalized_noise_scale_interval: at the target, as those above; None if no law was given.
        noise_reached: the plan's noise over what the rule asks for: 1, or less where not even
            B = 1 has that noise at a usable learning rate.
        ceiling: the largest batch that is still optimal.
        choices: every (ε, B, m) of a grid with the plan's ḡ.
        usable_share: the part of the largest stable learning rate that a plan goes up to, unless
            the largest batch is asked for.
        reasons: one a number.
        evidence: the grade.
        findings: every reason for doubt that was found, with what would measure it.
        changes: what could not be kept.
        notes: further remarks.
        assumptions: what was not said and was taken for granted, naming the option that says it.
        rivals: what other rules would set.
        optimizer, schedule, weight_decay, num_train, epochs: as given.
        layer_rates: (parameter names, learning rate) where the rates differ by layer; else empty.
        widened, not_widened: parameters, where modules were given.
        gradient_noise_scale, gradient_noise_interval: tr(Σ)/|G|² in examples, if it was given.
    """

    learning_rate: float
    batch_size: int
    momentum: float
    learning_rate_interval: Interval | None
    batch_size_interval: Interval | None
    momentum_interval: Interval | None
    base: Setting
    widening_factor: float
    parameterization: str
    keep: Keep
    exponent: float
    exponent_interval: Interval | None
    noise_scale: float
    base_noise_scale: float
    normalized_noise_scale: float
    base_normalized_noise_scale: float
    normalized_noise_scale_interval: Interval | None
    ceiling: Ceiling
    choices: tuple[EquivalentChoice, ...]
    reasons: tuple[Reason, ...]
    evidence: Grade
    findings: tuple[Finding, ...]
    changes: tuple[str, ...]
    notes: tuple[str, ...]
    assumptions: tuple[str, ...]
    rivals: tuple[Rival, ...]
    noise_reached: float
    usable_share: float
    optimizer: str
    schedule: str
    weight_decay: float
    num_train: int | None
    epochs: float | None
    layer_rates: tuple[tuple[tuple[str, ...], float], ...] = ()
    widened: tuple[str, ...] = ()
    not_widened: tuple[str, ...] = ()
    gradient_noise_scale: float | None = None
    gradient_noise_interval: Interval | None = None

    @property
    def warnings(self) -> tuple[str, ...]:
        """What could go wrong, the loudest first: what gave way, then every finding, then notes."""
        return (*self.changes, *(finding.text for finding in self.findings), *self.notes)

    def __str__(self) -> str:
        return printout(self)

    def to_dict(self) -> dict[str, Any]:
        """Everything, as plain JSON values; open ends and unknown numbers are None."""
        content = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        plain: dict[str, Any] = _plain({**content, "warnings": self.warnings})
        return plain

    def optimizer_kwargs(self) -> dict[str, Any]:
        """Keyword arguments of ``torch.optim.SGD``."""
        return optimizer_kwargs(self)

    def parameter_groups(self, module: Any) -> list[dict[str, Any]]:
        """Parameter groups of the wider module for ``torch.optim.SGD``, a rate a group.

        Raises:
            InputError: if the module lacks a parameter that has a rate, or has one without.
        """
        return parameter_groups(self, module)

    def training_arguments(
        self, *, num_devices: int = 1, gradient_accumulation_steps: int = 1
    ) -> dict[str, Any]:
        """Keyword arguments of Hugging Face's ``TrainingArguments``.

        Raises:
            InputError: if the batch size is not a multiple of devices × accumulation steps, or
                the rates differ by layer.
        """
        return training_arguments(self, num_devices, gradient_accumulation_steps)

    def lightning_kwargs(self) -> dict[str, dict[str, Any]]:
        """Keyword arguments for Lightning: of the optimizer, the data loader and the trainer."""
        return lightning_kwargs(self)


def _plain(value: Any) -> Any:
    """Dictionaries, lists, strings, numbers and None."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: _plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {str(key): _plain(child) for key, child in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(child) for child in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


# Schedules that Hugging Face's Trainer knows under the same name.
_HUGGING_FACE_SCHEDULES = {"constant": "constant", "cosine": "cosine", "linear": "linear"}


def optimizer_kwargs(plan: "Plan") -> dict[str, Any]:
    """Keyword arguments of ``torch.optim.SGD``; weight decay is the base's, as given."""
    return {
        "lr": plan.learning_rate,
        "momentum": plan.momentum,
        "dampening": 0.0,
        "weight_decay": plan.weight_decay,
    }


def parameter_groups(plan: "Plan", module: Any) -> list[dict[str, Any]]:
    """Trained parameters of the module in groups, each with its learning rate.

    Where rates differ, weight decay goes against them, so that their product is the same in every
    layer, as in MuSGD of the mup package.
    """
    named = dict(module.named_parameters())
    if not plan.layer_rates:
        return [
            {"params": [p for p in named.values() if p.requires_grad], "lr": plan.learning_rate}
        ]
    missing = [name for names, _ in plan.layer_rates for name in names if name not in named]
    planned = {name for names, _ in plan.layer_rates for name in names}
    extra = [name for name in named if name not in planned]
    if missing or extra:
        raise InputError(
            "parameter_groups needs the module that the plan was made for: "
            + "; ".join(
                f"{what} {', '.join(names[:3])}"
                for what, names in (("it lacks", missing), ("the plan has no rate for", extra))
                if names
            )
        )
    return [
        {
            "params": [named[name] for name in names if named[name].requires_grad],
            "lr": rate,
            "weight_decay": plan.weight_decay * (plan.learning_rate / rate),
        }
        for names, rate in plan.layer_rates
    ]


def training_arguments(
    plan: "Plan", num_devices: int, gradient_accumulation_steps: int
) -> dict[str, Any]:
    """Keyword arguments of Hugging Face's ``TrainingArguments``.

    ``optim_args`` carries the momentum as that class wants it, "momentum=0.9". Releases before
    pull request huggingface/transformers#44203 (February 2026) drop it silently for "sgd"; with
    those, give ``Trainer(optimizer_cls_and_kwargs=(torch.optim.SGD, plan.optimizer_kwargs()))``.
    The class would also decay the learning rate linearly and clip gradients unless told not to.
    """
    if plan.layer_rates:
        raise InputError(
            "TrainingArguments has one learning rate, and the plan has one a layer: build the "
            "optimizer from plan.parameter_groups(module) and give it to "
            "Trainer(optimizers=(optimizer, None))"
        )
    shares = num_devices * gradient_accumulation_steps
    if num_devices < 1 or gradient_accumulation_steps < 1 or plan.batch_size % shares:
        raise InputError(
            f"the batch size {plan.batch_size} must be a multiple of num_devices × "
            f"gradient_accumulation_steps, both at least 1, got {num_devices} × "
            f"{gradient_accumulation_steps}; choose others, or another point of plan.choices"
        )
    arguments: dict[str, Any] = {
        "optim": "sgd",
        "learning_rate": plan.learning_rate,
        "per_device_train_batch_size": plan.batch_size // shares,
        "gradient_accumulation_steps": gradient_accumulation_steps,
        "weight_decay": plan.weight_decay,
        "warmup_steps": 0,
        "max_grad_norm": 0.0,
    }
    if plan.momentum > 0.0:
        arguments["optim_args"] = f"momentum={plan.momentum!r}"
    if plan.schedule in _HUGGING_FACE_SCHEDULES:
        arguments["lr_scheduler_type"] = _HUGGING_FACE_SCHEDULES[plan.schedule]
    if plan.epochs is not None:
        arguments["num_train_epochs"] = plan.epochs
    return arguments


def lightning_kwargs(plan: "Plan") -> dict[str, dict[str, Any]]:
    """Keyword arguments for Lightning, which names no place for a batch size or an optimizer.

    "optimizer": of ``torch.optim.SGD`` in ``configure_optimizers``; "dataloader": of the training
    ``DataLoader``; "trainer": of ``lightning.Trainer``.
    """
    trainer: dict[str, Any] = {"gradient_clip_val": None, "accumulate_grad_batches": 1}
    if plan.epochs is not None and float(plan.epochs).is_integer():
        trainer["max_epochs"] = int(plan.epochs)
    return {
        "optimizer": optimizer_kwargs(plan),
        "dataloader": {"batch_size": plan.batch_size, "shuffle": True},
        "trainer": trainer,
    }


_WIDTH = 92
_NAMES = {
    "normalized_noise_scale": "normalized noise scale ḡ",
    "noise_scale": "noise scale g",
    "learning_rate": "learning rate ε",
    "batch_size": "batch size B",
    "momentum": "momentum m",
    "ceiling": "largest batch",
}
_PARAMETERIZATIONS = {
    "standard": "standard parameterization",
    "ntk": "NTK parameterization",
    "default": "PyTorch's default initialization",
    "mup": "µP",
}
_ABOUT = (
    "Training on small random batches makes the steps of SGD noisy, and that noise decides how "
    "well the network does on new data: too little and it overfits, too much and it does not "
    "learn. Its strength is ḡ = ε/(B(1−m))/σ_init²: learning rate ε, batch size B, momentum m, "
    "and the variance σ_init² of the initial weights. Wider networks bear, and want, more of it. "
    "This plan keeps ḡ at its best as the network widens."
)
_GRADIENT_NOISE = (
    "This is another quantity than ḡ: a property of the gradients (their variance over their "
    "squared mean, in examples), which says up to which batch size more devices save time. ḡ is a "
    "property of ε, B, m and the initialization, and says which noise generalizes best."
)
_SAME_LIMIT = (
    "The marks take the largest stable learning rate to be the same at every batch size and "
    "momentum. At smaller batches or more momentum it may be smaller."
)


def printout(plan: "Plan") -> str:
    """The whole plan as text."""
    sections = (
        ("", _settings(plan)),
        ("What this is about", _wrapped(_ABOUT)),
        ("Why these numbers", _reasons(plan)),
        (f"How far to trust it: {plan.evidence}", _trust(plan)),
        ("The largest batch that is still optimal", _ceiling(plan.ceiling, plan)),
        ("Other choices with the same noise", _choices(plan)),
        ("What other rules would set", _rivals(plan)),
        ("The network", _networks(plan)),
        ("Gradient noise scale tr(Σ)/|G|² (McCandlish et al. 2018)", _gradient_noise(plan)),
    )
    blocks = []
    for title, lines in sections:
        if lines:
            heading = [title, "-" * len(title)] if title else []
            blocks.append("\n".join([*heading, *lines]))
    return "\n\n".join(blocks)


def _settings(plan: "Plan") -> list[str]:
    before, rows = plan.base, [("", "base", "set", "")]
    for name, old, new, interval in (
        ("learning rate", before.learning_rate, plan.learning_rate, plan.learning_rate_interval),
        ("batch size", before.batch_size, plan.batch_size, plan.batch_size_interval),
        ("momentum", before.momentum, plan.momentum, plan.momentum_interval),
        ("noise scale g", plan.base_noise_scale, plan.noise_scale, None),
        (
            "normalized noise scale ḡ",
            plan.base_normalized_noise_scale,
            plan.normalized_noise_scale,
            plan.normalized_noise_scale_interval,
        ),
    ):
        rows.append((name, _number(old), _number(new), _interval(interval)))
    if plan.noise_reached < 1.0:
        reached = f"{100.0 * plan.noise_reached:.3g} %"
        rows.append(("noise that is reached", "", reached, "of what the rule asks for"))
    title = (
        f"SGD for a network {plan.widening_factor:g} times as wide "
        f"({_PARAMETERIZATIONS[plan.parameterization]})"
    )
    lines = [title, "=" * len(title), *_table(rows)]
    if plan.layer_rates:
        lines.append("The learning rate differs by layer (use parameter_groups(module)):")
        lines += [
            f"  {_number(rate)}  {', '.join(names[:3])}{' …' if len(names) > 3 else ''}"
            for names, rate in plan.layer_rates
        ]
    return lines


def _reasons(plan: "Plan") -> list[str]:
    return _bullets(
        f"{_NAMES[reason.quantity]}: {reason.text} [{reason.source}]"
        for reason in plan.reasons
        if reason.quantity != "ceiling"
    )


def _trust(plan: "Plan") -> list[str]:
    lines = _bullets(f"WARNING: {text}" for text in plan.changes)
    for finding in plan.findings:
        lines += _bullets([f"{finding.text} [{finding.source}]"])
        lines += _command(finding.measure)
    lines += _bullets(plan.notes)
    return lines + _bullets(f"Taken for granted: {text}." for text in plan.assumptions)


def _command(command: str | None) -> list[str]:
    """On a line of its own, never broken, so that it can be copied."""
    return [] if command is None else [f"  Measure it:  {command}"]


def _ceiling(ceiling: Ceiling, plan: "Plan") -> list[str]:
    if ceiling.exact_batch_size is None:
        lines = _wrapped(ceiling.why)
    else:
        within = _interval(ceiling.interval)
        largest = str(ceiling.batch_size or "none: even a batch of 1 is too large")
        lines = _wrapped(f"{largest}{f' {within}' if within else ''}. {ceiling.why}")
    lines += _command(ceiling.measure)
    widths = (
        (ceiling.binds_from, f"the base's batch size, {plan.base.batch_size}, is above it"),
        (
            ceiling.learning_rate_binds_from,
            f"the base's learning rate, {_number(plan.base.learning_rate)}, is no longer stable",
        ),
        (ceiling.exhausted_from, "not even a batch of 1 is below it"),
    )
    return lines + _bullets(
        f"From widening factor {factor:.4g} on {what}." for factor, what in widths if factor
    )


def _choices(plan: "Plan") -> list[str]:
    """Learning rates: a row a batch size, a column a momentum."""
    momenta = sorted({choice.momentum for choice in plan.choices})
    batches = sorted({choice.batch_size for choice in plan.choices})
    at = {(choice.batch_size, choice.momentum): choice for choice in plan.choices}
    rows = [("batch size", *(f"m = {_number(m)}" for m in momenta))]
    rows += [(str(b), *(_marked(at[b, m]) for m in momenta)) for b in batches]
    marks = ["Learning rates. * this plan"]
    found = {_mark(choice) for choice in plan.choices}
    if "?" in found:
        marks.append(
            f"? above {plan.usable_share:.0%} of the largest stable learning rate: a long run may "
            "diverge"
        )
    if "!" in found:
        marks.append("! above the largest stable learning rate")
    if plan.ceiling.max_stable_learning_rate is None:
        return [*_table(rows), *_wrapped(f"{marks[0]}; which of them are stable is not known.")]
    lines = [line for mark in marks for line in _wrapped(mark)]
    return [*_table(rows), *lines, *_wrapped(_SAME_LIMIT)]


def _marked(choice: "EquivalentChoice") -> str:
    return f"{_number(choice.learning_rate)}{'*' if choice.chosen else ''}{_mark(choice)}"


def _mark(choice: "EquivalentChoice") -> str:
    if choice.stable is False:
        return "!"
    return "?" if choice.usable is False else ""


def _rivals(plan: "Plan") -> list[str]:
    rows = [("rule", "ε", "B", "m", "its ḡ / this plan's")]
    rows += [
        (
            rival.name,
            _number(rival.learning_rate),
            str(rival.batch_size),
            _number(rival.momentum),
            f"{rival.relative_noise:.3g}",
        )
        for rival in plan.rivals
    ]
    lines = _table(rows)
    for rival in plan.rivals:
        layers = "; ".join(f"{name} {_number(rate)}" for name, rate in rival.layer_rates)
        lines += _bullets(
            [
                f"{rival.name}: optimizes {rival.optimizes}. {rival.note}"
                f"{f' Learning rates: {layers}.' if layers else ''} [{rival.source}]"
            ]
        )
    return lines


def _networks(plan: "Plan") -> list[str]:
    if not (plan.widened or plan.not_widened):
        return []
    return [
        *_bullets([f"Widened: {', '.join(plan.widened) or 'nothing'}."]),
        *_bullets([f"Not widened: {'; '.join(plan.not_widened) or 'nothing'}."]),
    ]


def _gradient_noise(plan: "Plan") -> list[str]:
    if plan.gradient_noise_scale is None:
        return []
    within = _interval(plan.gradient_noise_interval)
    value = f"{_number(plan.gradient_noise_scale)} examples{f' {within}' if within else ''}."
    return _wrapped(f"{value} {_GRADIENT_NOISE}")


def _number(value: float) -> str:
    """Six digits; a whole number in full.

    >>> _number(32), _number(0.1234567), _number(1e-7)
    ('32', '0.123457', '1e-07')
    """
    return str(value) if isinstance(value, int) else f"{value:.6g}"


def _interval(interval: Interval | None) -> str:
    """In parentheses; nothing where there is none, or where nothing is uncertain.

    >>> _interval((0.5, 2.0)), _interval((0.5, math.inf)), _interval((2.0, 2.0)), _interval(None)
    ('(0.5 to 2)', '(at least 0.5)', '', '')
    """
    if interval is None or math.isclose(*interval, rel_tol=1e-9):
        return ""
    low, high = interval
    return f"(at least {low:.3g})" if math.isinf(high) else f"({low:.3g} to {high:.3g})"


def _table(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    return [
        "  " + "  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, _WIDTH, break_long_words=False, break_on_hyphens=False)


def _bullets(texts: Iterable[str]) -> list[str]:
    lines: list[str] = []
    for text in texts:
        lines += textwrap.wrap(
            text,
            _WIDTH,
            initial_indent="* ",
            subsequent_indent="  ",
            break_long_words=False,
            break_on_hyphens=False,
        )
    return lines
