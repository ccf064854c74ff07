"""Numbers in the sentences of findings."""

import math


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
