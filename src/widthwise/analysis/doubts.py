"""What the scores of one width show that makes the interval of its optimum mean less than it says.

Each doubt is a short sentence, shown beside the interval. They are rare where intervals cover: how
rare, and how often they show where intervals cover less, is in validation/planted_coverage.md.
"""

import numpy as np
from numpy.typing import NDArray

from widthwise.analysis.settings import Settings
from widthwise.analysis.shape import has_kink, nearest_worse, rival_peaks
from widthwise.text import interval, number

FloatArray = NDArray[np.float64]

KINK = "the top may be a kink"


def doubts_about(
    settings: Settings, samples: FloatArray, level: tuple[float, float] | None, tail: float
) -> tuple[str, ...]:
    """The doubts about an optimum with these draws.

    Args:
        settings: of one width, whose noise is known.
        samples: shape (D,), draws of log noise scale.
        level: log noise scales between which the scores are level, if the interval was widened
            to them.
        tail: the share of draws that the interval leaves out on either side. A rival peak that
            fewer draws prefer is none.
    """
    said = [
        f"another peak, near {number(float(np.exp(settings.log_noise_scale[rival])))}, may be the "
        "higher one"
        for rival in rival_peaks(settings)
        if _share(settings, samples, rival) >= tail
    ]
    if level is not None:
        low, high = (float(np.exp(end)) for end in level)
        known = "seeds" if settings.scatter is None else "scatter"
        said.append(f"scores {interval(low, high)} are level as far as their {known} can tell")
    if has_kink(settings):
        said.append(KINK)
    return tuple(said)


def _share(settings: Settings, samples: FloatArray, rival: int) -> float:
    """The part of the draws that lies on the rival's side of a setting between the two peaks."""
    best = int(np.argmax(settings.means))
    below, above = nearest_worse(settings, best)
    if rival < best:
        assert below is not None
        return float(np.mean(samples < settings.log_noise_scale[below]))
    assert above is not None
    return float(np.mean(samples > settings.log_noise_scale[above]))
