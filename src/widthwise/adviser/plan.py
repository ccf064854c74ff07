"""The answer: a frozen plan for the wider network, with reasons, evidence and limits."""

import dataclasses
import math
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from widthwise.adviser.ceiling import Ceiling, Interval
from widthwise.adviser.evidence import Finding, Grade
from widthwise.adviser.exports import (
    lightning_kwargs,
    optimizer_kwargs,
    parameter_groups,
    training_arguments,
)
from widthwise.adviser.line import EquivalentChoice
from widthwise.adviser.printout import printout
from widthwise.adviser.reason import Reason
from widthwise.adviser.rivals import Rival
from widthwise.adviser.solving import Keep, Setting


@runtime_checkable
class GradientNoise(Protocol):
    """A measured tr(Σ)/|G|², such as widthwise.gradient_noise.GradientNoiseScale."""

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
