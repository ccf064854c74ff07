"""Which share of seeds is stable at which learning rate: the search for where it falls, and how
well a few seeds tell. Pure statistics: whoever calls says what is stable.

The share need not fall steadily: it is made non-increasing first (isotonic regression), so that
a lucky learning rate beyond ones that fail does not count.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from widthwise.errors import FitError

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]

# Octaves between the learning rates of the first rounds: two, so that one refinement in quarters
# is a grid of half octaves.
_STRIDE = 2.0
# Learning rates a round. A constant: what is found must not depend on how many runs fit at once.
_A_ROUND = 3
# Degrees of freedom of the spread, for each seed beyond the first: fewer than one, because
# thresholds with longer tails tell less of it.
_DEGREES_A_SEED = 0.5
_LEAST = 1e-15  # chances below it are rounding
# Octaves below and above 1 beyond which nobody looks.
LOWEST, HIGHEST = -30.0, 20.0


@dataclass(frozen=True, kw_only=True, eq=False)
class Scan:
    """What was tried.

    Attributes:
        log2_rates: learning rates as octaves, ascending, (K,).
        stable: which runs were stable, (K, S) for S seeds.
    """

    log2_rates: FloatArray
    stable: BoolArray

    @property
    def shares(self) -> FloatArray:
        """Share of stable seeds, (K,)."""
        return np.asarray(self.stable.mean(axis=1))

    def last_stable(self, share: float) -> int:
        """Index of the largest learning rate that counts as stable; −1 if none does."""
        return int(np.sum(non_increasing(self.shares) >= share - 1e-9)) - 1


def non_increasing(shares: FloatArray) -> FloatArray:
    """The closest non-increasing sequence by least squares, (K,) → (K,).

    Pool adjacent violators: Ayer et al. (1955).

    >>> non_increasing(np.array([1.0, 0.5, 1.0, 0.0])).tolist()
    [1.0, 0.75, 0.75, 0.0]
    """
    pools: list[tuple[float, int]] = []
    for share in shares:
        mean, count = float(share), 1
        while pools and pools[-1][0] < mean:
            before, size = pools.pop()
            mean = (before * size + mean * count) / (size + count)
            count += size
        pools.append((mean, count))
    return np.concatenate([np.full(count, mean) for mean, count in pools])


def search(
    stable: Callable[[FloatArray], BoolArray],
    start: float,
    *,
    share: float,
    octaves: float,
    on_round: Callable[[Scan], None] | None = None,
) -> Scan:
    """Find where the share of stable seeds falls below ``share``.

    First learning rates two octaves apart, from ``start`` on to where the share is reached on one
    side and missed on the other; then the interval between is cut in up to four, again and again,
    until neighbours are at most ``octaves`` apart. Ends without a bracket if everything is stable.

    Args:
        stable: octaves (k,) → which seeds are stable, (k, S).
        start: octaves of a guess.
        share: of seeds, in (0, 1).
        octaves: wanted resolution.
        on_round: told what is known after every round.

    Raises:
        FitError: if nothing is stable.
    """
    rates = _octaves(start + _STRIDE * (np.arange(_A_ROUND) - 1.0))
    scan = Scan(log2_rates=np.empty(0), stable=np.empty((0, 0), dtype=np.bool_))
    while len(rates):
        scan = _joined(scan, rates, stable(rates))
        if on_round is not None:
            on_round(scan)
        rates = _next_rates(scan, share, octaves)
    return scan


def _joined(scan: Scan, rates: FloatArray, stable: BoolArray) -> Scan:
    if scan.stable.size:
        stable = np.concatenate([scan.stable, stable])
    log2_rates = np.concatenate([scan.log2_rates, rates])
    order = np.argsort(log2_rates)
    return Scan(log2_rates=log2_rates[order], stable=stable[order])


def _next_rates(scan: Scan, share: float, octaves: float) -> FloatArray:
    """What to try next; empty when done."""
    last, known = scan.last_stable(share), scan.log2_rates
    further = _STRIDE * np.arange(1, _A_ROUND + 1)
    if last < 0:
        rates = _octaves(known[0] - further[::-1])
        if rates[-1] < LOWEST:
            raise FitError(
                f"no learning rate down to {2.0 ** known[0]:.2g} is stable for {100 * share:g} % of"
                " the seeds; look at the data and the network"
            )
        return rates
    if last == len(known) - 1:
        rates = _octaves(known[-1] + further)
        return _octaves(rates[rates <= HIGHEST])
    gap = (known[last + 1] - known[last]) / octaves
    if gap <= 1.0 + 1e-9:
        return np.empty(0)
    rounds = math.ceil(math.log(gap) / math.log(_A_ROUND + 1) - 1e-9)
    parts = math.ceil(gap ** (1.0 / rounds) - 1e-9)
    return _octaves(np.linspace(known[last], known[last + 1], parts + 1)[1:-1])


def _octaves(values: ArrayLike) -> FloatArray:
    return np.asarray(values, dtype=np.float64)


def threshold_draws(
    scan: Scan, share: float, *, num_draws: int, rng: np.random.Generator
) -> FloatArray:
    """Draws (D,) of the octaves at which ``share`` of *all* seeds are stable, given S of them.

    Ten seeds hold no information on a 90 % point without a shape: in a third of all cases the
    weakest tenth is not among them, and a bootstrap of the seeds would never see it. The shape is
    Student's t with 3 degrees of freedom for the log thresholds: its 10 % point, fitted to normal
    thresholds, is theirs, and one seed that fails early does not drag it down. The share curve is
    fitted to all runs up to the first learning rate where none is stable ("robit": Liu 2004); its
    center and spread are drawn about as S thresholds determine them (as for the classical
    tolerance limits, Hahn & Meeker, Statistical Intervals, §4.6). Thresholds are known to within
    the distance of neighbouring learning rates, which bounds the spread from below. How well it
    covers: validation/stability_coverage.md.

    Args:
        scan: with a bracket, see :func:`search`; S ≥ 2.
        share: in (0, 1).
        num_draws: D.
        rng: for the draws.
    """
    from scipy import special  # SciPy is slow to import

    last = scan.last_stable(share)
    gap = float(scan.log2_rates[last + 1] - scan.log2_rates[last])
    beyond = np.flatnonzero((scan.shares == 0.0) & (np.arange(len(scan.shares)) > last))
    end = int(beyond[0]) + 1 if len(beyond) else len(scan.shares)
    center, spread = _share_curve(
        scan.log2_rates[:end], scan.stable[:end].sum(1), scan.stable.shape[1]
    )
    spread = math.hypot(spread, gap / math.sqrt(12.0))
    seeds = scan.stable.shape[1]
    degrees = max(min(seeds - 1, 2), _DEGREES_A_SEED * (seeds - 1))
    spreads = spread * np.sqrt(seeds / (seeds - 1) * degrees / rng.chisquare(degrees, num_draws))
    centers = center + spreads * rng.standard_normal(num_draws) / math.sqrt(seeds)
    within = gap * (rng.random(num_draws) - 0.5)
    return np.asarray(centers - float(special.stdtrit(3.0, share)) * spreads + within)


def _below(z: FloatArray) -> FloatArray:
    """Distribution function of Student's t with 3 degrees of freedom, written out: many times
    faster than the general one."""
    u = z / math.sqrt(3.0)
    return np.asarray(0.5 + (u / (1.0 + u**2) + np.arctan(u)) / math.pi)


def _share_curve(rates: FloatArray, stable: NDArray[np.int64], seeds: int) -> tuple[float, float]:
    """Center and spread of the threshold that make these counts (K,) of S most likely.

    On a grid, refined thrice: two numbers need nothing cleverer, and separable data no care.
    """
    reach = float(rates[-1] - rates[0])
    finest = float(np.diff(rates).min()) / math.sqrt(12.0)
    centers = np.linspace(rates[0], rates[-1], 41)
    spreads = np.geomspace(finest, max(reach, 2.0 * finest), 41)
    for _ in range(4):
        z = (centers[:, None, None] - rates) / spreads[:, None]
        falling = _below(z)
        likelihood = np.log(np.maximum(falling, _LEAST)) @ stable
        likelihood += np.log(np.maximum(1.0 - falling, _LEAST)) @ (seeds - stable)
        i, j = np.unravel_index(int(np.argmax(likelihood)), likelihood.shape)
        center, spread = float(centers[i]), float(spreads[j])
        step = float(centers[1] - centers[0])
        ratio = float(spreads[1] / spreads[0])
        centers = np.linspace(center - 2.0 * step, center + 2.0 * step, 41)
        spreads = np.geomspace(max(spread / ratio**2, finest), spread * ratio**2, 41)
    return center, spread
