"""The specification of a probe: what a study's file says, without what only a study needs."""

from collections.abc import Iterable, Mapping
from typing import Any

from widthwise.study.spec import StudySpec

# Where the specification names no widths.
PROBE_WIDTHS = (1.0, 2.0, 4.0)
# Of a study; a probe seeks the learning rate, and has a batch size and a length of its own.
_NOT_USED = {"learning_rate": 1.0, "batch_size": 1}
_BUDGETS = ("steps", "epochs", "physical_time")


def probe_spec(
    source: Any, overrides: Iterable[str] = (), *, momentum: float | None = None
) -> StudySpec:
    """A specification, of which a probe uses networks, data, training and device; it may lack a
    grid, and say not how long is trained.

    Args:
        source, overrides: as for :meth:`StudySpec.parse`.
        momentum: of the probe, if it is known: it counts where there is no grid.

    Raises:
        InputError: naming the first thing that is wrong.

    >>> probe_spec({"family": {"base_width": 4}}, momentum=0.9).grid[0].momentum
    (0.9,)
    """

    def completed(fields: dict[str, Any]) -> dict[str, Any]:
        grid = fields.get("grid", {})
        several = isinstance(grid, list)
        grids = [_with_settings(one, momentum) for one in (grid if several else [grid])]
        return {
            **{key: value for key, value in fields.items() if key != "search"},
            "grid": grids if several else grids[0],
            "training": _with_length(fields.get("training", {})),
        }

    return StudySpec.parse(source, overrides, complete=completed)


def _with_settings(grid: Any, momentum: float | None) -> Any:
    """What is no table stays; whoever reads it says what is wrong."""
    if not isinstance(grid, Mapping):
        return grid
    if "normalized_noise_scale" in grid:
        return {"widening_factor": PROBE_WIDTHS, **grid}
    # A momentum that is out of range is the probe's to refuse.
    known = {"momentum": momentum} if momentum is not None and 0.0 <= momentum < 1.0 else {}
    return {"widening_factor": PROBE_WIDTHS, **known, **_NOT_USED, **grid}


def _with_length(training: Any) -> Any:
    if not isinstance(training, Mapping) or any(name in training for name in _BUDGETS):
        return training
    return {"epochs": 1, **training}
