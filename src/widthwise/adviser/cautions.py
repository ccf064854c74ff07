"""When not to trust the rule: the one table of cautions, each with what it does to the evidence.

The rule was found for SGD at a constant learning rate, many epochs, and test accuracy at late times
(Park et al. 2019, arXiv:1905.03776). A text's first sentence stands alone where there is room for
no more.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from widthwise.adviser.commands import analyze_command, calibrate_command, probe_command
from widthwise.adviser.evidence import (
    Effect,
    Facts,
    Finding,
)
from widthwise.analysis import Law

PAPER = "Park et al. (2019), arXiv:1905.03776"
# Up to here Widthwise has trained networks itself. Guess: the paper's range is about the same.
WIDEST_MEASURED = 16.0
# Guess. At 7 epochs (4,096 Fashion-MNIST images, B = 1) the optimum seemed not to move with width,
# because the noisy settings had not arrived at late times.
FEW_EPOCHS = 30.0
# The noise scale is that of sampling with replacement: for B ≪ N.
LARGE_SHARE_OF_DATA = 0.1

_NORM_NAMES = {"mixed": "", "other": "", "rms": "RMS"}


@dataclass(frozen=True, kw_only=True)
class Caution:
    """A row of the table.

    Attributes:
        name: of the caution.
        holds: whether it does.
        effect: the grade it lowers the evidence to, or "refuse".
        text: what is wrong, in words; the first sentence alone must make sense.
        source: who says so.
        measure: the command that would measure what theory does not give.
        settled_by_law: a study of the user's own that bounds its exponent answers it, provided
            that it trained as the user trains; the row is then no finding.
    """

    name: str
    holds: Callable[[Facts], bool]
    effect: Effect
    text: Callable[[Facts], str]
    source: str
    measure: Callable[[Facts], str] | None = None
    settled_by_law: bool = False

    def finding(self, facts: Facts) -> Finding:
        """What it says of these facts."""
        return Finding(
            condition=self.name,
            effect=self.effect,
            text=self.text(facts),
            source=self.source,
            measure=None if self.measure is None else self.measure(facts),
            settled_by_law=self.settled_by_law,
        )


def _calibrate(facts: Facts) -> str:
    return calibrate_command(facts.base, facts.widening_factor)


def _probe(facts: Facts) -> str:
    return probe_command(facts.build, facts.base, facts.widening_factor)


def _analyze(facts: Facts) -> str:
    return analyze_command()


def _fixed(text: str) -> Callable[[Facts], str]:
    return lambda facts: text


def _cut_off(law: Law | None) -> str:
    assert law is not None, "the condition holds"
    return (
        f"At {law.num_cut_off} of {law.num_widths} widths of the study the best noise may lie "
        "where noise begins to make training diverge. A plan by its law may aim at that edge: "
        "stay a factor of two below it, or measure."
    )


CAUTIONS: tuple[Caution, ...] = (
    Caution(
        name="optimizer",
        holds=lambda f: f.optimizer != "sgd",
        effect="refuse",
        text=lambda f: (
            f"The optimizer is {f.optimizer!r}, and the rule is about SGD, with or without "
            "momentum: ε/(B(1−m)) is not the noise of a method that rescales its gradients. "
            "Widthwise trains with SGD only; of your own runs at a few widths, with any optimizer, "
            "it says whether the best learning rate moves. For Adam, µP gives the rates of wider "
            "networks (the mup package)."
        ),
        source=PAPER,
        measure=_analyze,
    ),
    Caution(
        name="one epoch",
        holds=lambda f: f.epochs is not None and f.epochs <= 1.0,
        effect="refuse",
        text=lambda f: (
            f"Training lasts {f.epochs:g} epochs. With one epoch or less no example is seen "
            "twice: the noise of SGD is then no regularizer, and the rule is about the noise that "
            "generalizes best at late times. Tune for speed instead: measure which learning "
            "rates are stable at the target width."
        ),
        source=f"{PAPER}, whose results are for late times; one pass: Zhang et al. (2024), "
        "arXiv:2410.21676",
        measure=_probe,
    ),
    Caution(
        name="depth",
        holds=lambda f: f.depth_changed and f.law is None,
        effect="refuse",
        text=_fixed(
            "The number of layers changed as well as their width. The rule is about width alone. "
            "Measure a family that changes as yours does."
        ),
        source=PAPER,
        measure=_calibrate,
        settled_by_law=True,
    ),
    Caution(
        name="learning rate not known to be stable",
        holds=lambda f: f.unproven_learning_rate is not None,
        effect="extrapolated",
        text=lambda f: (
            f"A learning rate of {f.unproven_learning_rate:.4g} is above "
            f"{f.base.learning_rate:.4g}, the largest that is known to be stable. The batch size "
            "was to be kept, so the learning rate carries all of the noise; a smaller batch at the "
            "tuned rate has the same: say keep=stability."
        ),
        source=PAPER,
        measure=_probe,
    ),
    Caution(
        name="depth in the study",
        holds=lambda f: f.depth_changed and f.law is not None,
        effect="extrapolated",
        text=_fixed(
            "The number of layers changed as well as their width: the law counts only if its "
            "family changed its depth in the same way."
        ),
        source=PAPER,
    ),
    Caution(
        name="optima cut off by divergence",
        holds=lambda f: f.law is not None and f.law.num_cut_off > 0,
        effect="extrapolated",
        text=lambda f: _cut_off(f.law),
        source="your study",
        measure=_probe,
    ),
    Caution(
        name="doubts of the study",
        holds=lambda f: f.law is not None and bool(f.law.doubts),
        effect="extrapolated",
        text=lambda f: (
            f"The study behind the law is weak: {'; '.join(() if f.law is None else f.law.doubts)}."
        ),
        source="your study",
    ),
    Caution(
        name="weight decay with normalization",
        holds=lambda f: f.normalized and f.weight_decay > 0.0,
        effect="contradicted by published work",
        text=lambda f: (
            "With weight decay and normalization σ_init is forgotten: what acts is no longer ḡ. "
            f"{_norm(f.normalization)} makes the output independent of the scale of the weights "
            "before it, and weight decay brings that scale to a value of its own in time."
        ),
        source="van Laarhoven (2017), arXiv:1706.05350; Li, Lyu & Arora (2020), arXiv:2010.02916",
        measure=_calibrate,
        settled_by_law=True,
    ),
    Caution(
        name="batch norm in a ConvNet",
        holds=lambda f: (
            f.normalization == "batch" and f.convolutional is not False and not f.residual
        ),
        effect="contradicted by published work",
        text=lambda f: (
            "With batch norm in ConvNets the paper itself reports that the best noise does not "
            "grow with width as the rule says."
            + (
                ""
                if f.convolutional
                else " If your network has no convolutions, say convolutional=False."
            )
            + (
                ""
                if f.residual is not None
                else " If it is a ResNet, say residual=True; for those a similar trend is reported."
            )
        ),
        source=PAPER,
        measure=_calibrate,
        settled_by_law=True,
    ),
    Caution(
        name="batch norm in a ResNet",
        holds=lambda f: (
            f.normalization == "batch" and f.convolutional is not False and bool(f.residual)
        ),
        effect="extrapolated",
        text=_fixed(
            "For ResNets with batch norm the paper reports a similar trend, which is less than "
            "the proportion that it reports without."
        ),
        source=PAPER,
        measure=_calibrate,
        settled_by_law=True,
    ),
    Caution(
        name="batch norm elsewhere",
        holds=lambda f: (
            f.normalization == "batch" and f.convolutional is not None and not f.convolutional
        ),
        effect="extrapolated",
        text=_fixed(
            "Batch norm in networks without convolutions was not part of the paper; in ConvNets it "
            "broke the rule."
        ),
        source=PAPER,
        measure=_calibrate,
        settled_by_law=True,
    ),
    Caution(
        name="other normalization",
        holds=lambda f: f.normalized and f.normalization != "batch",
        effect="extrapolated",
        text=lambda f: (
            f"{_norm(f.normalization)} was not part of the paper. Like batch norm it makes the "
            "output independent of the scale of weights, on which ḡ rests."
        ),
        source=PAPER,
        measure=_calibrate,
        settled_by_law=True,
    ),
    Caution(
        name="weight decay",
        holds=lambda f: f.weight_decay > 0.0 and not f.normalized,
        effect="extrapolated",
        text=lambda f: (
            f"Weight decay ({f.weight_decay:g}) regularizes beside the noise; how the best noise "
            "then changes with width was not measured. It is left as it is."
        ),
        source=PAPER,
        measure=_calibrate,
        settled_by_law=True,
    ),
    Caution(
        name="schedule",
        holds=lambda f: f.schedule != "constant",
        effect="extrapolated",
        text=lambda f: (
            f"The learning rate follows a schedule ({f.schedule}), and the rule was found for a "
            "constant one. Here ε is the peak rate, and the noise falls as the rate decays."
        ),
        source=PAPER,
        measure=_calibrate,
        settled_by_law=True,
    ),
    Caution(
        name="few epochs",
        holds=lambda f: f.epochs is not None and 1.0 < f.epochs < FEW_EPOCHS,
        effect="extrapolated",
        text=lambda f: (
            f"Training lasts {f.epochs:g} epochs, and the rule is about late times. Below about "
            f"{FEW_EPOCHS:g} epochs (a guess) noisy settings may not have arrived there, and less "
            "noise than this plan's may do better."
        ),
        source="Widthwise's own runs: at 7 epochs the optimum seemed not to move with width",
        measure=_calibrate,
        settled_by_law=True,
    ),
    Caution(
        name="narrowing",
        holds=lambda f: f.widening_factor < 1.0 and not f.law_covers,
        effect="extrapolated",
        text=_fixed(
            "The target is narrower than the base, and the paper widens. Read backwards the rule "
            "asks for less noise, which was not tested as advice."
        ),
        source=PAPER,
        measure=_calibrate,
        settled_by_law=True,
    ),
    Caution(
        name="far wider",
        holds=lambda f: f.widening_factor > WIDEST_MEASURED and f.law is None,
        effect="extrapolated",
        text=lambda f: (
            f"A widening factor of {f.widening_factor:g} is beyond {WIDEST_MEASURED:g}, the "
            "largest that Widthwise has looked at."
        ),
        source="Widthwise's own runs",
        measure=_calibrate,
    ),
    Caution(
        name="beyond the study",
        holds=lambda f: f.law is not None and not f.law_covers,
        effect="extrapolated",
        text=lambda f: _beyond_study(f),
        source="your study",
        measure=_calibrate,
    ),
    Caution(
        name="µP",
        holds=lambda f: f.parameterization == "mup",
        effect="extrapolated",
        text=_fixed(
            "The paper did not measure µP. That its rule asks for the very constants that µP "
            "transfers is two arguments agreeing, not a measurement."
        ),
        source=f"{PAPER}; Yang et al. (2022), arXiv:2203.03466",
        measure=_calibrate,
        settled_by_law=True,
    ),
    Caution(
        name="batch near the data",
        holds=lambda f: (
            f.num_train is not None and f.largest_batch_size > LARGE_SHARE_OF_DATA * f.num_train
        ),
        effect="extrapolated",
        text=lambda f: (
            f"A batch of {f.largest_batch_size} is more than a tenth of the {f.num_train} training "
            "examples. ε/(B(1−m)) is the noise of batches much smaller than that; here it is less."
        ),
        source="Smith & Le (2018), arXiv:1710.06451",
    ),
    Caution(
        name="base above the stable range",
        holds=lambda f: f.base_above_stable,
        effect="extrapolated",
        text=_fixed(
            "The base's own learning rate is above the largest stable one given for it. One of the "
            "two is not what it says, or the base was tuned where ḡ alone does not decide."
        ),
        source=PAPER,
        measure=_probe,
    ),
    Caution(
        name="batch below 1 or learning rate above the stable range",
        holds=lambda f: bool(f.changed),
        effect="extrapolated",
        text=lambda f: (
            "The rule alone could not be followed within whole batches, the limits given and "
            f"stable learning rates; what had to give way: {', '.join(_spoken(f.changed))}. That "
            "only ḡ matters was tested at small learning rates."
        ),
        source=PAPER,
        measure=_probe,
    ),
)


def _beyond_study(facts: Facts) -> str:
    assert facts.law is not None
    if not facts.law_bounded:
        return (
            "Your study does not bound the exponent on both sides, so it does not decide how the "
            "best noise changes with width: run more seeds, or a longer range of widths."
        )
    factors = facts.law.widening_factors
    return (
        f"Your study ran widening factors {min(factors):g} to {max(factors):g}; going from 1 to "
        f"{facts.widening_factor:g} leaves that range."
    )


def _norm(normalization: str | None) -> str:
    """Begins a sentence."""
    name = _NORM_NAMES.get(normalization or "", (normalization or "").capitalize())
    return f"{name} norm" if name else "Normalization"


def _spoken(knobs: Sequence[str]) -> list[str]:
    return [knob.replace("_", " ") for knob in dict.fromkeys(knobs)]
