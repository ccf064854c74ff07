"""Settings of equal noise scale set against each other: differences, and errors seed by seed."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from widthwise.analysis.settings import SAME_SETTING, STABLE_SHARE

FloatArray = NDArray[np.float64]

# A reference is interpolated between two of its settings only if they lie no farther apart.
MAX_GAP = float(np.log(2.5))
# Variance of the logarithm by which true variances scatter about the parabola at the least: few
# seeds could not show it.
LEAST_SCATTER = 0.2
# Part of the mean variance below which none is believed: accuracies on few test examples tie.
_LEAST_VARIANCE = 0.05


@dataclass(frozen=True, kw_only=True, eq=False)
class SettingTable:
    """Settings of one width, in any order: each of shape (K,), scores and ran (K, S)."""

    learning_rate: FloatArray
    batch_size: FloatArray
    momentum: FloatArray
    noise_scale: FloatArray
    scores: FloatArray  # NaN where a run diverged or was not made
    ran: NDArray[np.bool_]

    @property
    def effective_rate(self) -> FloatArray:
        """Learning rate / (1 - momentum)."""
        return np.asarray(self.learning_rate / (1.0 - self.momentum))


@dataclass(frozen=True, kw_only=True, eq=False)
class Pair:
    """One setting against a reference of the same noise scale at a smaller learning rate.

    Attributes:
        setting: row of the setting.
        reference: row(s) of the reference; two where it is interpolated between them.
        shares: how much each of them counts, summing to 1.
        difference: mean score of the setting minus that of the reference; None if too few runs
            of the setting survived.
        errors: (S,) what each seed adds to the error; their squares sum to the variance.
        degrees: of freedom of that variance.
        bias: bound on the error of interpolating, >= 0.
        chance: of so many more diverged runs if both were equally stable; 1 unless too few
            runs of the setting survived.
    """

    setting: int
    reference: tuple[int, ...]
    shares: tuple[float, ...]
    difference: float | None
    errors: FloatArray
    degrees: int
    bias: float
    chance: float = 1.0


def find_pairs(table: SettingTable, tolerance: float) -> list[Pair]:
    """Every setting against the curve of the smallest learning rate that has its noise scale.

    A curve is all settings of one learning rate / (1 - momentum) and one momentum; of equal
    effective rates, the smaller momentum is the reference. A setting of the same noise scale is
    preferred to an interpolation. Pairs come in the order of the table.
    """
    survived = np.sum(np.isfinite(table.scores), axis=1)
    runs = np.sum(table.ran, axis=1)
    usable = (survived >= STABLE_SHARE * runs) & (survived >= 2)
    log_scale = np.log(table.noise_scale)
    curves = _curves(table, usable, log_scale)
    pairs = []
    for k in range(log_scale.size):
        own = _order(table, k)
        references = [
            found
            for key, rows in curves
            if _before(key, own)
            for found in [_reference(rows, log_scale, table.scores, float(log_scale[k]), tolerance)]
            if found is not None
        ]
        if runs[k] < 2 or not references:
            continue
        rows, shares, bias = min(references, key=lambda found: len(found[0]))
        if usable[k]:
            pairs.append(_compared(table.scores, k, rows, shares, bias))
        elif survived[k] < STABLE_SHARE * runs[k]:
            lost = (int(runs[k] - survived[k]), int(runs[k]))
            # Of two references the one that lost more: the difference is then not overstated.
            worst = max(rows, key=lambda row: (runs[row] - survived[row]) / runs[row])
            pairs.append(
                Pair(
                    setting=k,
                    reference=rows,
                    shares=shares,
                    difference=None,
                    errors=np.zeros(table.scores.shape[1]),
                    degrees=0,
                    bias=bias,
                    chance=_chance(*lost, int(runs[worst] - survived[worst]), int(runs[worst])),
                )
            )
    return pairs


def moderated(
    variances: FloatArray, degrees: FloatArray, place: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Variances that borrow from each other as far as they are alike, and their degrees of freedom.

    Empirical Bayes with a scaled inverse chi-square prior (Smyth 2004, doi:10.2202/1544-6115.1027,
    section 6.2), whose logarithm follows a parabola in `place`: noise grows where accuracy falls
    steeply. All of shape (P,); too few to judge by borrow nothing.

    >>> pooled, degrees = moderated(np.array([0.5, 1.0, 2.0]), np.full(3, 4.0), np.zeros(3))
    >>> pooled.round(2).tolist(), degrees.tolist()
    ([1.01, 1.14, 1.41], [12.0, 12.0, 12.0])
    """
    floor = _LEAST_VARIANCE * float(np.mean(variances)) if variances.size else 0.0
    variances = np.maximum(variances, floor)
    if variances.size < 3 or floor <= 0.0:
        return variances, degrees
    from scipy import special  # SciPy is slow to import

    half = degrees / 2.0
    logs = np.log(variances) - special.digamma(half) + np.log(half)
    different = np.unique(np.round(place, 2)).size
    powers = 3 if min(different, variances.size // 3) >= 3 else 1
    design = np.vander(place - np.mean(place), powers)
    center = design @ np.linalg.lstsq(design, logs, rcond=None)[0]
    scatter = float(np.sum((logs - center) ** 2) / (variances.size - powers))
    excess = max(scatter - float(np.mean(special.polygamma(1, half))), LEAST_SCATTER)
    total = float(np.sum(degrees))
    half_prior = _inverse_trigamma(excess)
    prior = np.exp(center + special.digamma(half_prior) - np.log(half_prior))
    own = degrees + 2.0 * half_prior
    mixed = (2.0 * half_prior * prior + degrees * variances) / own
    return np.asarray(mixed), np.minimum(own, total)


def _inverse_trigamma(value: float) -> float:
    """x > 0 with trigamma(x) = value; trigamma lies between 1/x and 1/x + 1/x²."""
    from scipy import optimize, special  # SciPy is slow to import

    low, high = 0.5 / value, 1.0 + 2.0 / value + 1.0 / np.sqrt(value)
    return float(optimize.brentq(lambda x: special.polygamma(1, x) - value, low, high))


def _order(table: SettingTable, k: int) -> tuple[float, float]:
    return float(table.effective_rate[k]), float(table.momentum[k])


def _same_rate(first: float, second: float) -> bool:
    with np.errstate(divide="ignore", over="ignore"):  # rates far apart: the ratio is no float
        return abs(float(np.log(np.divide(first, second)))) < SAME_SETTING


def _before(first: tuple[float, float], second: tuple[float, float]) -> bool:
    if _same_rate(first[0], second[0]):
        return first[1] < second[1]
    return first[0] < second[0]


def _curves(
    table: SettingTable, usable: NDArray[np.bool_], log_scale: FloatArray
) -> list[tuple[tuple[float, float], list[int]]]:
    """Usable settings by learning rate and momentum, smallest first, each in order of scale."""
    rows = sorted(np.flatnonzero(usable).tolist(), key=lambda k: (*_order(table, k), log_scale[k]))
    curves: list[tuple[tuple[float, float], list[int]]] = []
    for k in rows:
        own = _order(table, k)
        for key, members in curves:
            if _same_rate(key[0], own[0]) and key[1] == own[1]:
                members.append(k)
                break
        else:
            curves.append((own, [k]))
    return [(key, sorted(members, key=lambda k: log_scale[k])) for key, members in curves]


def _reference(
    rows: list[int], log_scale: FloatArray, scores: FloatArray, at: float, tolerance: float
) -> tuple[tuple[int, ...], tuple[float, ...], float] | None:
    """The row of a curve at this log noise scale, or two rows round it with their shares."""
    places = log_scale[rows]
    nearest = int(np.argmin(np.abs(places - at)))
    if abs(places[nearest] - at) <= tolerance:
        return (rows[nearest],), (1.0,), 0.0
    above = int(np.searchsorted(places, at))
    if above in (0, len(rows)) or places[above] - places[above - 1] > MAX_GAP:
        return None
    means = np.nanmean(scores[rows], axis=1)
    bends = list(_bends(places, means, above))
    if not bends:
        return None
    low, high = float(places[above - 1]), float(places[above])
    part = (at - low) / (high - low)
    # Error of a straight line between two points of a curve: f'' h² t (1 - t) / 2 at most.
    bias = max(bends) * (high - low) ** 2 * part * (1.0 - part) / 2.0
    return (rows[above - 1], rows[above]), (1.0 - part, part), bias


def _bends(places: FloatArray, means: FloatArray, above: int) -> Iterator[float]:
    """Sizes of the second derivative at either end of the gap below `above`."""
    for middle in (above - 1, above):
        if 0 < middle < places.size - 1:
            x, y = places[middle - 1 : middle + 2], means[middle - 1 : middle + 2]
            slopes = np.diff(y) / np.diff(x)
            yield abs(float(2.0 * (slopes[1] - slopes[0]) / (x[2] - x[0])))


def _compared(
    scores: FloatArray, setting: int, rows: tuple[int, ...], shares: tuple[float, ...], bias: float
) -> Pair:
    own_mean, own_errors, own_seeds = _mean_and_errors(scores[setting])
    difference, errors = own_mean, own_errors
    common, fewest = own_seeds, int(own_seeds.sum())
    for row, share in zip(rows, shares, strict=True):
        mean, parts, seeds = _mean_and_errors(scores[row])
        difference = difference - share * mean
        # Seed by seed: what a seed adds to both settings cancels. Different seeds add up.
        errors = errors - share * parts
        common, fewest = common & seeds, min(fewest, int(seeds.sum()))
    paired = int(common.sum())
    return Pair(
        setting=setting,
        reference=rows,
        shares=shares,
        difference=float(difference),
        errors=errors,
        degrees=(paired if paired >= 2 else fewest) - 1,
        bias=bias,
    )


def _mean_and_errors(scores: FloatArray) -> tuple[float, FloatArray, NDArray[np.bool_]]:
    """Mean, what each seed adds to its error (squares sum to the variance of the mean), seeds."""
    present = np.isfinite(scores)
    count = int(present.sum())
    mean = float(np.mean(scores[present]))
    scale = np.sqrt(count * (count - 1.0))
    return mean, np.where(present, scores - mean, 0.0) / scale, present


def _chance(lost: int, runs: int, reference_lost: int, reference_runs: int) -> float:
    """Fisher's exact test, one-sided: chance of `lost` or more of the runs that were lost.

    >>> round(1.0 / _chance(8, 8, 0, 8))
    12870
    """
    from scipy import special  # SciPy is slow to import

    total, all_runs = lost + reference_lost, runs + reference_runs
    ways = special.comb(all_runs, total, exact=True)
    likely = sum(
        special.comb(runs, k, exact=True) * special.comb(reference_runs, total - k, exact=True)
        for k in range(lost, min(runs, total) + 1)
    )
    return float(likely / ways)
