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

FloatArray = NDArray[np.float64]

FLAT = "flat"  # the reason of an optimum on a level top


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
    if settings.num_seeds == 1:
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
