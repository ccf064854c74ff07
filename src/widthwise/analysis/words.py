"""Numbers in the sentences of findings."""

import math


def in_points(value: float) -> str:
    """A difference of fractions in percentage points.

    >>> in_points(0.01), in_points(0.005)
    ('1 point', '0.5 points')
    """
    number = f"{100.0 * value:.3g}"
    return f"{number} point" if number == "1" else f"{number} points"


def signed(value: float) -> str:
    """A difference of fractions in percentage points, with its sign and without the unit.

    >>> signed(-0.012)
    '−1.20'
    """
    return f"{100.0 * value:+.2f}".replace("-", "−")


def estimate(value: float, interval: tuple[float, float]) -> str:
    """A value with its interval, or the one bound that holds.

    >>> estimate(1.0, (0.8, 1.2)), estimate(-1.0, (-math.inf, -0.8))
    ('1.00 (0.80 to 1.20)', 'at most −0.80')
    """
    low, high = interval
    if math.isfinite(low) and math.isfinite(high):
        text = f"{value:.2f} ({low:.2f} to {high:.2f})"
    elif math.isfinite(low):
        text = f"at least {low:.2f}"
    else:
        text = f"at most {high:.2f}" if math.isfinite(high) else "anything"
    return text.replace("-", "−")
