"""Settings that tie at the top: any noise scale among them is as good.

A curve with a peak passes through two settings of one height at most. Three that score as the best
one does, seed by seed, or two at an edge that do so without any spread between seeds, show a level
top: a saturated task, or chance level. No fit of a peak has anything to say there. Two inside may
have a peak between them, but it may also be anywhere between them. Settings at which no seed gets
more than one test example wrong tie, too: which example that is, is chance.
"""

import zlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from widthwise.analysis.settings import Settings
from widthwise.analysis.shape import nearest_worse

FloatArray = NDArray[np.float64]

FLAT = "flat"  # the reason of an optimum on a level top
# Scores are level as far as their seeds can tell if at least LEVEL settings in a row scatter by no
# more than their noise does with this chance.
LEVEL, LEVEL_CHANCE = 3, 0.01


@dataclass(frozen=True, kw_only=True, eq=False)
class FlatTop:
    """A level top, in log noise scale.

    Attributes:
        hull: log noise scale of its lowest and highest setting.
        reach: of the settings beside it, where the top may end; infinite where it goes on to an
            edge of what was run.
        level: False for two settings that may have a peak between them; `reach` is then `hull`.
    """

    hull: tuple[float, float]
    reach: tuple[float, float]
    level: bool

    @property
    def middle(self) -> float:
        return (self.hull[0] + self.hull[1]) / 2.0


def find_flat_top(settings: Settings) -> FlatTop | None:
    """The level top of these settings; None if they may have a peak."""
    rows = np.flatnonzero(settings.ties)
    everywhere = rows.size == settings.num_usable
    if settings.num_seeds == 1 or settings.scatter is not None:
        # Single runs tie by chance, unless all of them do.
        if not everywhere:
            return None
    else:
        certain = settings.seeds_tie | settings.saturated
        if rows.size < 2 or (rows.size == 2 and not np.all(certain[rows])):
            return None
    first, last = int(rows[0]), int(rows[-1])
    places = settings.log_noise_scale
    hull = (float(places[first]), float(places[last]))
    highest = np.inf if settings.cliff is None else settings.cliff
    reach = (
        float(places[first - 1]) if first > 0 else -np.inf,
        float(places[last + 1]) if last + 1 < places.size else float(highest),
    )
    level = rows.size > 2 or first == 0 or last + 1 == places.size
    return FlatTop(hull=hull, reach=reach if level else hull, level=level)


def level_span(settings: Settings) -> tuple[float, float] | None:
    """Log noise scales between which the optimum lies, if scores are level up to an edge.

    Level as far as their seeds can tell: unlike settings that tie, they may hide a peak lower than
    the noise. It is then anywhere from that edge, where the span is infinite, to the nearest
    setting that is clearly worse than the best.
    """
    from scipy import special  # SciPy is slow to import

    below, above = nearest_worse(settings, int(np.argmax(settings.means)))
    rows = slice(0 if below is None else below + 1, above)
    means, variances = settings.means[rows], settings.variances[rows]
    if means.size < LEVEL or None not in (below, above) or np.any(variances <= 0.0):
        return None
    scatter = np.sum((means - np.average(means, weights=1.0 / variances)) ** 2 / variances)
    if special.chdtrc(means.size - 1, scatter) < LEVEL_CHANCE:
        return None
    places = settings.log_noise_scale
    highest = np.inf if settings.cliff is None else settings.cliff
    return (
        -np.inf if below is None else float(places[below]),
        float(highest) if above is None else float(places[above]),
    )


def draws_on(top: FlatTop, samples: FloatArray, settings: Settings, seed: int) -> FloatArray:
    """Draws (D,) of the log noise scale: those that fell on the top lie anywhere on it.

    Apart for each width: where on its top one optimum lies says nothing of the next.
    """
    own = zlib.crc32(np.concatenate([settings.log_noise_scale, settings.means]).tobytes())
    low, high = (
        end if np.isfinite(end) else edge for end, edge in zip(top.reach, top.hull, strict=True)
    )
    anywhere = np.random.default_rng([seed, 4, own]).uniform(low, high, size=samples.shape)
    on_top = (samples >= top.reach[0]) & (samples <= top.reach[1])
    return np.where(on_top, anywhere, samples)
