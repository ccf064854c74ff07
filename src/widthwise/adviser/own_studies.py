"""What Widthwise's own studies found, for the parameterization at hand: exponents, from the file
that the evidence page writes (``python validation/law_evidence.py``), and what the paper's rule
cost against tuning anew, from that of ``python validation/regret.py``.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from widthwise.adviser.solving import LETTERS, Setting

FILE = Path(__file__).with_suffix(".json")
TRIALS = Path(__file__).with_name("own_trials.json")
# Points of test accuracy: what a plan may lose against tuning anew without a word.
_TOLERABLE = 0.5
# A whole-numbered batch moves ε by less than this.
_ROUNDING = 0.1
# Networks initialized so scale as the standard parameterization does.
_AS = {"default": "standard"}
_NAMES = {"standard": "standard", "ntk": "NTK"}


@dataclass(frozen=True, kw_only=True)
class OwnStudy:
    """A study of ours whose exponent is known.

    Attributes:
        study: its name on the evidence page.
        parameterization: "standard" or "ntk".
        family: kind of network, such as "mlp".
        exponent: s in ḡ_opt ∝ w^s.
        interval: of s, 95 %.
    """

    study: str
    parameterization: str
    family: str
    exponent: float
    interval: tuple[float, float]

    def holds(self, exponent: float) -> bool:
        """Whether the interval holds this exponent."""
        return self.interval[0] <= exponent <= self.interval[1]


@cache
def own_studies(parameterization: str) -> tuple[OwnStudy, ...]:
    """Those in this parameterization, smallest exponent first; none where we have not measured.

    >>> {study.parameterization for study in own_studies("default")}
    {'standard'}
    >>> own_studies("mup")
    ()
    """
    name = _AS.get(parameterization, parameterization)
    rows = json.loads(FILE.read_text(encoding="utf-8"))["studies"]
    studies = [OwnStudy(**{**row, "interval": tuple(row["interval"])}) for row in rows]
    found = [study for study in studies if study.parameterization == name]
    return tuple(sorted(found, key=lambda study: study.exponent))


@dataclass(frozen=True, kw_only=True)
class OwnTrial:
    """The paper's rule against tuning anew at the wider network, ten paired seeds.

    Attributes:
        networks: what was trained.
        parameterization: "standard" or "ntk".
        widening_factor: of the target.
        regret: points of test accuracy that tuning anew had more.
        interval: of it, 95 %.
        rival: of the other rules the one that lost least.
        rival_regret: its points.
    """

    networks: str
    parameterization: str
    widening_factor: float
    regret: float
    interval: tuple[float, float]
    rival: str
    rival_regret: float


@cache
def own_trials(parameterization: str) -> tuple[OwnTrial, ...]:
    """Those in this parameterization, by widening factor."""
    name = _AS.get(parameterization, parameterization)
    rows = json.loads(TRIALS.read_text(encoding="utf-8"))
    trials = [OwnTrial(**{**row, "interval": tuple(row["interval"])}) for row in rows]
    found = [trial for trial in trials if trial.parameterization == name]
    return tuple(sorted(found, key=lambda trial: trial.widening_factor))


def costly_trial_sentence(parameterization: str, widening_factor: float) -> str | None:
    """Where the paper's rule lost more than half a point against tuning anew, for certain; the
    trial whose widening factor is nearest. None: nowhere, or the network does not get wider."""
    costly = [t for t in own_trials(parameterization) if t.interval[0] > _TOLERABLE]
    if not costly or widening_factor <= 1.0:
        return None
    trial = min(costly, key=lambda t: abs(math.log(widening_factor / t.widening_factor)))
    low, high = trial.interval
    return (
        f"In a trial of ours ({trial.networks}) this rule lost {trial.regret:.1f} points "
        f"({low:.1f} to {high:.1f}) against tuning anew at {trial.widening_factor:g} times the "
        f"width; {trial.rival} lost {trial.rival_regret:.1f}."
    )


def own_ranges(setting: Setting, ours: Sequence[Setting]) -> dict[str, str]:
    """Hyper-parameter → what our own exponents would set, in words; those that differ from the
    plan's by more than the rounding of B.

    >>> planned, *ours = (Setting(learning_rate=0.5, batch_size=b) for b in (8, 22, 13))
    >>> own_ranges(planned, ours)
    {'batch_size': '13 to 22'}
    """
    ranges = {}
    for name in LETTERS:
        low, high = sorted(getattr(each, name) for each in ours)
        planned = getattr(setting, name)
        if max(high - planned, planned - low) > _ROUNDING * planned:
            ranges[name] = f"{low:.3g}" + ("" if low == high else f" to {high:.3g}")
    return ranges


def own_studies_sentence(parameterization: str, exponent: float, instead: str = "") -> str:
    """How far our own studies agree with an exponent; ``instead``: what theirs would set.

    >>> own_studies_sentence("mup", 1.0)
    'Widthwise has not measured the exponent in this parameterization.'
    """
    found = own_studies(parameterization)
    if not found:
        return "Widthwise has not measured the exponent in this parameterization."
    agreeing = sum(study.holds(exponent) for study in found)
    name = _NAMES[found[0].parameterization]
    return (
        f"Widthwise's own studies of {name} networks ({len(found)}, MLPs) found "
        f"w^{found[0].exponent:.2f} to w^{found[-1].exponent:.2f}"
        f"{instead if agreeing < len(found) else ''}: {agreeing} of {len(found)} agree with "
        f"w^{exponent:.3g}."
    )
