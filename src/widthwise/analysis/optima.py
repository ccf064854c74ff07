"""The optima of several widths, as they print."""

from widthwise.analysis.optimum import Optimum
from widthwise.text import exact, interval, number, table

_BEYOND = {"low": "may lie lower", "high": "may lie higher"}


class Optima(dict[float, Optimum]):
    """Width → optimum: a dict that prints as a table, a row a width."""

    def __str__(self) -> str:
        if not self:
            return "no optimum is located at any width"
        rows = [
            [
                exact(width),
                number(found.noise_scale),
                interval(*found.interval),
                number(found.score, 4),
                str(found.num_seeds),
                "; ".join([*_bound(found), *found.doubts]) or "none",
            ]
            for width, found in sorted(self.items())
        ]
        return table(["w", "best", "95 % interval", "score", "seeds", "bound, doubts"], rows)

    __repr__ = __str__


def _bound(found: Optimum) -> list[str]:
    """On which side the optimum is only bounded, and what ends the settings there."""
    if found.censoring == "none":
        return []
    side = _BEYOND[found.censoring]
    return [side if found.reason is None else f"{side}: {found.reason}"]
