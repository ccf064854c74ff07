"""How far a share of so many examples can be trusted."""

import math
from statistics import NormalDist  # not SciPy's, which advice need not load


def wilson_interval(share: float, num: int, confidence: float = 0.95) -> tuple[float, float]:
    """The interval of the probability behind a share of independent examples. Unlike
    ±z·√(p(1−p)/n) it has a width where all are right, or all wrong.

    Source: Wilson (1927), J. Am. Stat. Assoc. 22, 209–212.

    Args:
        share: in [0, 1]; a mean over runs need be no multiple of 1/num.
        num: examples, at least 1.
        confidence: in (0, 1).

    >>> low, high = wilson_interval(1.0, 1000)
    >>> round(low, 4), high
    (0.9962, 1.0)
    """
    z = NormalDist().inv_cdf(0.5 + confidence / 2.0)
    scale = 1.0 + z * z / num
    middle = (share + z * z / (2 * num)) / scale
    half = z * math.sqrt(share * (1.0 - share) / num + (z / (2 * num)) ** 2) / scale
    # At 0 and 1 the ends are exact, whatever rounding does.
    low = 0.0 if share == 0.0 else max(0.0, middle - half)
    high = 1.0 if share == 1.0 else min(1.0, middle + half)
    return low, high
