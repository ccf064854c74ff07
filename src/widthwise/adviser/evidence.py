"""What the gate looks at and what it says: facts, findings, grades and refusals."""

import math
import textwrap
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from widthwise.adviser.solving import Setting
from widthwise.analysis import Law
from widthwise.errors import FitError

Grade = Literal[
    "measured by your study",
    "supported by the paper",
    "extrapolated",
    "contradicted by published work",
]
# From the best evidence to the worst.
GRADES: tuple[Grade, ...] = (
    "measured by your study",
    "supported by the paper",
    "extrapolated",
    "contradicted by published work",
)
Effect = Literal["extrapolated", "contradicted by published work", "refuse"]


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What the gate looks at. None: it was not said.

    Attributes:
        base: the tuned setting.
        widening_factor: w.
        parameterization: a key of :data:`widthwise.theory.parameterization.PARAMETERIZATIONS`.
        optimizer: lower case; only "sgd" is what the rule is about.
        schedule: of the learning rate; "constant" is the paper's.
        epochs: passes through the training data.
        normalization: "none", "batch", "layer", …
        convolutional: whether there are convolutions.
        residual: whether there are residual sums.
        weight_decay: λ ≥ 0.
        depth_changed: whether the number of layers changed as well.
        largest_batch_size: the larger B of base and target.
        num_train: examples in the training set.
        base_above_stable: the base's learning rate is above the largest stable one given for it.
        changed: what could not be kept, as knobs.
        unproven_learning_rate: the plan's, where it is above the base's and nothing says that it
            is stable; else None.
        law: measured by a study of the user's own.
        build: "module:function" of the user's network, for commands.
    """

    base: Setting
    widening_factor: float
    parameterization: str
    optimizer: str = "sgd"
    schedule: str = "constant"
    epochs: float | None = None
    normalization: str | None = None
    convolutional: bool | None = None
    residual: bool | None = None
    weight_decay: float = 0.0
    depth_changed: bool = False
    largest_batch_size: int = 1
    num_train: int | None = None
    base_above_stable: bool = False
    changed: tuple[str, ...] = ()
    unproven_learning_rate: float | None = None
    law: Law | None = None
    build: str | None = None

    @property
    def normalized(self) -> bool:
        return self.normalization not in (None, "none")

    @property
    def law_bounded(self) -> bool:
        """Whether a study of the user's own bounds its exponent on both sides."""
        return self.law is not None and all(math.isfinite(end) for end in self.law.interval)

    @property
    def law_covers(self) -> bool:
        """Whether it also ran widths from the base to the target."""
        if self.law is None or not self.law_bounded:
            return False
        low, high = sorted((1.0, self.widening_factor))
        factors = self.law.widening_factors
        return min(factors) <= low and high <= max(factors)


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One reason for doubt.

    Attributes:
        condition: a short name.
        effect: what it does: the grade it lowers the evidence to, or "refuse".
        text: what is wrong, in words.
        source: who says so.
        measure: a command that would measure what theory does not give; None if there is none.
        settled_by_law: a law of the user's own, bounded on both sides, would answer it.
    """

    condition: str
    effect: Effect
    text: str
    source: str
    measure: str | None = None
    settled_by_law: bool = False


class AdviceRefusedError(FitError):
    """The rule says nothing about this case; `findings` say why and what to measure instead."""

    def __init__(self, findings: Sequence[Finding]) -> None:
        self.findings = tuple(findings)
        said = " ".join(finding.text for finding in self.findings)
        commands = dict.fromkeys(f.measure for f in self.findings if f.measure is not None)
        instead = f" Measure instead: {'; '.join(commands)}" if commands else ""
        super().__init__(f"No advice. {said}{instead}")

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for programs."""
        return {"refused": True, "findings": [asdict(finding) for finding in self.findings]}


def refusal_text(refusal: AdviceRefusedError) -> str:
    """The refusal in paragraphs, each with the command that would measure something instead."""
    blocks = ["No advice: the rule says nothing about this case."]
    for finding in refusal.findings:
        blocks.append("\n".join(textwrap.wrap(f"{finding.text} [{finding.source}]", 92)))
        if finding.measure is not None:
            blocks.append(f"Measure instead:\n  {finding.measure}")
    return "\n\n".join(blocks)
