"""What a plan holds: plain frozen values, which the answer and the explanation put into words."""

from dataclasses import dataclass

from widthwise.adviser.ceiling import Ceiling, Interval
from widthwise.adviser.evidence import Finding, Grade
from widthwise.adviser.rivals import Rival
from widthwise.adviser.solving import EquivalentChoice, Keep, Setting


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


@dataclass(frozen=True, kw_only=True)
class PlanContent:
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
        exponent: s in ḡ_opt ∝ w^s from the base to the target (of a bent law: its mean over log w),
            with `exponent_interval`; None if it is the paper's.
        noise_scale, base_noise_scale: g = ε/(B(1−m)) after and before, in units of ε.
        noise_ratio, normalized_noise_ratio: g, and ḡ, at the target over the base's.
        noise_ratio_interval: end to end, as those above; None if no law was given.
        normalized_noise_scale, base_normalized_noise_scale: ḡ = g/σ_init², family level; None
            where neither a family nor a study says what σ_init² is.
        normalized_noise_scale_interval: at the target; None if it is not known, or no law was
            given.
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
        doubts: what matters most of all that follows, a sentence each, the loudest first.
        settle: the command that would settle them; None if there is none.
        notes: further remarks.
        assumptions: what was not said and was taken for granted, naming the option that says it.
        rivals: what other rules would set.
        by_own_studies: what the smallest and the largest exponent of Widthwise's own studies would
            set; None with a law, where we have no study, or all of them agree with the paper.
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
    noise_ratio: float
    normalized_noise_ratio: float
    noise_ratio_interval: Interval | None
    normalized_noise_scale: float | None
    base_normalized_noise_scale: float | None
    normalized_noise_scale_interval: Interval | None
    ceiling: Ceiling
    choices: tuple[EquivalentChoice, ...]
    reasons: tuple[Reason, ...]
    evidence: Grade
    findings: tuple[Finding, ...]
    changes: tuple[str, ...]
    doubts: tuple[str, ...]
    settle: str | None
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
    by_own_studies: tuple[Setting, Setting] | None = None
    layer_rates: tuple[tuple[tuple[str, ...], float], ...] = ()
    widened: tuple[str, ...] = ()
    not_widened: tuple[str, ...] = ()
    gradient_noise_scale: float | None = None
    gradient_noise_interval: Interval | None = None

    @property
    def setting(self) -> Setting:
        """What is to be set."""
        return Setting(
            learning_rate=self.learning_rate, batch_size=self.batch_size, momentum=self.momentum
        )

    @property
    def warnings(self) -> tuple[str, ...]:
        """What could go wrong, the loudest first: what gave way, then every finding, then notes."""
        return (*self.changes, *(finding.text for finding in self.findings), *self.notes)
