"""Plain values with which the adviser is tested."""

from dataclasses import dataclass, replace

import numpy as np

from widthwise import adviser
from widthwise.adviser import Network, Stability, Training
from widthwise.analysis import Law
from widthwise.analysis.law import verdict_of


def law(exponent=0.5, interval=(0.25, 0.75), widening_factors=(1.0, 4.0, 16.0), num_cut_off=0):
    """A measured law with the fewest draws that have this interval; an open end is undetermined."""
    ends = [end if np.isfinite(end) else np.nan for end in interval]
    return Law(
        exponent=exponent,
        interval=interval,
        intercept=0.0,
        verdict=verdict_of(interval),
        num_widths=len(widening_factors),
        num_censored=0,
        widening_factors=widening_factors,
        confidence=0.95,
        lack_of_fit=None,
        samples=np.array([ends[0], exponent, ends[1]]),
        intercept_samples=np.zeros(3),
        num_cut_off=num_cut_off,
    )


@dataclass(frozen=True, kw_only=True)
class MeasuredRate:
    """Stands for a probe's result."""

    value: float
    interval: tuple[float, float]
    widening_factor: float = 1.0
    momentum: float = 0.0
    batch_size: int = 32


@dataclass(frozen=True, kw_only=True)
class MeasuredRateLaw:
    """Stands for a probe's law: ε_max = 0.8 · w^−exponent."""

    exponent: float
    interval: tuple[float, float]

    def predict(self, widening_factor):
        value = 0.8 * widening_factor**-self.exponent
        return value, (value / 2.0, value * 2.0)


@dataclass(frozen=True, kw_only=True)
class MeasuredNoise:
    """Stands for a measured tr(Σ)/|G|²."""

    value: float
    interval: tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Stands for what `widthwise.inspection.compare` returns."""

    widening_factor: float | None = 4.0
    parameterization: str | None = "default"
    normalization: str = "none"
    convolutional: bool = False
    depth_changed: bool = False
    widened: tuple[str, ...] = ("1.weight",)
    not_widened: tuple[str, ...] = ("0.weight: inputs",)
    questions: tuple[str, ...] = ()
    residual: bool | None = None


def widen(base=None, target=None, **facts):
    """:func:`widthwise.adviser.widen` with every fact by its own name."""
    values = {}
    for name, kind in (("network", Network), ("stability", Stability), ("training", Training)):
        own = {key: facts.pop(key) for key in kind.__dataclass_fields__ if key in facts}
        if own:
            values[name] = kind(**own)
    if (base, target) != (None, None):
        values["network"] = replace(values.get("network", Network()), modules=(base, target))
    return adviser.widen(**facts, **values)
