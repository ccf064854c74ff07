"""The part of a specification that says whose trained weights are kept."""

import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_serializer, model_validator

from widthwise.runs.key import Run
from widthwise.study.grid_spec import Frozen, GridSpec, Momentum, Positive, Seed, Whole

# Settings are written in decimal, and noise scales solved for.
_SAME = 1e-6


def _listed(value: Any) -> Any:
    return (value,) if isinstance(value, int | float) else value


_Several = BeforeValidator(_listed)
_Some = Field(min_length=1)


class KeptRuns(Frozen):
    """Runs whose weights are kept: those that have one of the values of every key that is given."""

    widening_factor: Annotated[tuple[Positive, ...], _Several, _Some] | None = None
    learning_rate: Annotated[tuple[Positive, ...], _Several, _Some] | None = None
    batch_size: Annotated[tuple[Whole, ...], _Several, _Some] | None = None
    momentum: Annotated[tuple[Momentum, ...], _Several, _Some] | None = None
    normalized_noise_scale: Annotated[tuple[Positive, ...], _Several, _Some] | None = None
    seed: Annotated[tuple[Seed, ...], _Several, _Some] | None = None

    def has(self, run: Run, normalized_noise_scale: float) -> bool:
        """Whether a run is one of them.

        >>> run = Run(
        ...     widening_factor=2, learning_rate=0.1, batch_size=8, momentum=0, steps=9, seed=1
        ... )
        >>> KeptRuns(widening_factor=2, seed=(0, 1)).has(run, 0.1)
        True
        >>> KeptRuns(seed=2).has(run, 0.1)
        False
        """
        values = {**vars(run), "normalized_noise_scale": normalized_noise_scale}
        return all(_is_one_of(values[name], wanted) for name, wanted in self if wanted is not None)

    def count(self, grid: GridSpec) -> int:
        """At most so many runs of a grid are of them."""
        counts = []
        for name, wanted in self:
            values: Sequence[float] | None = getattr(grid, "seeds" if name == "seed" else name)
            if values is not None:  # else it follows from what is measured
                alike = [v for v in values if wanted is None or _is_one_of(v, wanted)]
                counts.append(len(alike))
        return math.prod(counts)


def _is_one_of(value: float, wanted: Sequence[float]) -> bool:
    return any(math.isclose(value, one, rel_tol=_SAME) for one in wanted)


class KeepSpec(Frozen):
    """Whose trained weights are kept: written "none", "best", "all", or as one or several tables of
    :class:`KeptRuns`.

    Attributes:
        which: "best" is the best setting of each width, with all its seeds.
        settings: if that is "settings".

    >>> KeepSpec.model_validate("best").which
    'best'
    >>> KeepSpec.model_validate({"widening_factor": 2}).settings[0].widening_factor
    (2.0,)
    """

    which: Literal["none", "best", "all", "settings"] = "none"
    settings: tuple[KeptRuns, ...] = ()

    @model_validator(mode="before")
    @classmethod
    def _as_written(cls, value: Any) -> Any:
        if isinstance(value, str):
            if value not in ("none", "best", "all"):
                raise ValueError(
                    f'keep must be "none", "best", "all" or a table of settings, got {value!r}'
                )
            return {"which": value}
        if isinstance(value, Mapping) and value and "which" not in value:
            value = [value]
        if isinstance(value, list | tuple):
            if not all(value):
                raise ValueError(f'a table of keep must have a key, got {value!r}; write "all"')
            return {"which": "settings" if value else "none", "settings": value}
        return value

    @model_serializer
    def _written(self) -> Any:
        if self.which != "settings":
            return self.which
        return [runs.model_dump(mode="json", exclude_none=True) for runs in self.settings]
