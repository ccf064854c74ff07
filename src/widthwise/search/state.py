"""What the runs of one width say so far."""

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from widthwise.analysis import Optimum, locate_optimum
from widthwise.analysis.settings import STABLE_SHARE, Settings, merge_settings
from widthwise.analysis.shape import open_window
from widthwise.errors import FitError
from widthwise.search.problem import FloatArray, Lattice, Observations


@dataclass(frozen=True, kw_only=True, eq=False)
class WidthState:
    """One width: its lattice, its runs, and its optimum as it will be reported."""

    lattice: Lattice
    observations: Observations
    confidence: float
    seed: int
    counts: NDArray[np.intp] = field(init=False)  # (K,) runs
    usable: NDArray[np.bool_] = field(init=False)  # (K,) by the rule of locate_optimum
    unstable: NDArray[np.bool_] = field(init=False)  # (K,) too many of its runs diverged

    def __post_init__(self) -> None:
        counts = self.observations.counts
        survived = np.sum(np.isfinite(self.observations.scores) & self.observations.ran, axis=1)
        stable = survived >= STABLE_SHARE * counts
        object.__setattr__(self, "counts", counts)
        object.__setattr__(self, "usable", stable & (survived >= 2))
        object.__setattr__(self, "unstable", (counts > 0) & ~stable)

    @property
    def begun(self) -> bool:
        return bool(np.any(self.counts > 0))

    @property
    def stable(self) -> NDArray[np.bool_]:
        """Settings (K,) that can be expected to train: none diverged there, or below it."""
        above = np.arange(self.lattice.size) > max(np.flatnonzero(self.usable), default=-1)
        return ~self.unstable & ~(above & (np.cumsum(self.unstable & above) > 0))

    @cached_property
    def settings(self) -> Settings:
        last = int(self.counts.max())
        return merge_settings(
            self.lattice.noise_scale,
            self.observations.scores[:, :last],
            limits=self.lattice.setting_limits,
            ran=self.observations.ran[:, :last],
            effective_rate=self.lattice.effective_rate,
        )

    @cached_property
    def optimum(self) -> Optimum | None:
        """Exactly what is reported; None where three stable settings are not there yet."""
        if np.sum(self.usable) < 3:
            return None
        last = int(self.counts.max())
        try:
            return locate_optimum(
                self.lattice.noise_scale,
                self.observations.scores[:, :last],
                ran=self.observations.ran[:, :last],
                effective_rate=self.lattice.effective_rate,
                limits=self.lattice.setting_limits,
                confidence=self.confidence,
                seed=self.seed,
            )
        except FitError:
            return None

    @property
    def interval_width(self) -> float:
        """Full width of the interval in octaves; infinite while open or unknown."""
        if self.optimum is None or self.optimum.censoring != "none":
            return float("inf")
        low, high = self.optimum.interval
        return float(np.log2(high / low)) if low > 0.0 and np.isfinite(high) else float("inf")

    @property
    def peak(self) -> float:
        """Estimate of log2(best noise scale); needs `optimum`."""
        assert self.optimum is not None
        return float(np.log2(self.optimum.noise_scale))

    @property
    def room(self) -> tuple[float, float]:
        """Octaves from the lowest usable setting up to the peak, and from there to the highest.

        None where a level top goes on to that end. Needs `optimum`.
        """
        assert self.optimum is not None
        usable = self.lattice.octaves[self.usable]
        below, above = float(self.peak - usable[0]), float(usable[-1] - self.peak)
        if self.optimum.is_flat:
            low, high = self.optimum.interval
            below, above = below * (low > 0.0), above * bool(np.isfinite(high))
        return below, above

    @cached_property
    def window(self) -> NDArray[np.intp]:
        """Lattice indices of the settings that decide where the peak is; needs `optimum`.

        Those of the fit from the nearest clearly worse one below to the nearest above.
        """
        window = open_window(self.settings)
        low, high = window.bracket
        inner = (window.position >= low) & (window.position <= high)
        return np.asarray(np.flatnonzero(self.usable)[window.rows[inner]])

    @property
    def open_below(self) -> bool:
        """Whether the optimum may lie below what was run."""
        return self.optimum is None or self.optimum.interval[0] == 0.0

    @property
    def bracketed(self) -> tuple[bool, bool]:
        """Whether a setting below, and one above, is clearly worse than the best."""
        low, high = open_window(self.settings).bracket
        return bool(np.isfinite(low)), bool(np.isfinite(high))

    @cached_property
    def spread(self) -> FloatArray:
        """Standard deviation (K,) of one seed at each setting, apart from what all share.

        As in the weights of `locate_optimum`; interpolated to settings that have not run. Needs
        three usable settings.
        """
        octaves = self.lattice.octaves
        known = np.sqrt(self.settings.seed_variances)
        return np.asarray(np.interp(octaves, octaves[np.flatnonzero(self.usable)], known))
