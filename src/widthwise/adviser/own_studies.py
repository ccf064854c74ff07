"""What Widthwise's own studies found, for the parameterization at hand: from the one file that the
evidence page writes (``python validation/law_evidence.py``).
"""

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path

FILE = Path(__file__).with_suffix(".json")
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
