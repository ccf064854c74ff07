"""The part of a specification that says which settings: grids of hyper-parameters.

Grids are written as lists, as log ranges ``{from = 0.1, to = 10, num = 7}``, or as normalized
noise scales from which the schedule chooses learning rates and batch sizes.
"""

import sys
from collections.abc import Mapping
from typing import Annotated, Any, Self

import numpy as np
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from widthwise.study.reading import shown

_RANGE_KEYS = {"from", "to", "num"}


def _expand(value: Any) -> Any:
    """A number, a list or {from, to, num} → a tuple without duplicates, in ascending order."""
    if isinstance(value, int | float):
        return (value,)
    if isinstance(value, Mapping):
        if set(value) != _RANGE_KEYS:
            raise ValueError(
                f"a range is written {{from = 0.1, to = 10, num = 7}}, got keys {sorted(value)}"
            )
        low, high, num = value["from"], value["to"], value["num"]
        numbers = isinstance(num, int) and all(isinstance(x, int | float) for x in (low, high))
        if not (numbers and num >= 2 and 0 < low < high <= sys.float_info.max):
            raise ValueError(
                "a log range needs 0 < from < to, at most 1e308, and num ≥ 2, got "
                f"{shown(dict(value))}"
            )
        # 12 digits: ends come out as written, and rounding does not depend on the machine.
        return tuple(float(f"{x:.12g}") for x in np.geomspace(low, high, num))
    return value


def _expand_whole(value: Any) -> Any:
    expanded = _expand(value)
    return [round(x) for x in expanded] if isinstance(value, Mapping) else expanded


def _count(value: Any) -> Any:
    if isinstance(value, int) and value > 0:
        return tuple(range(value))
    if isinstance(value, int | float):
        raise ValueError(f"must be a whole number of seeds, or a list of them, got {shown(value)}")
    return value


def _ascending(values: tuple[float, ...]) -> tuple[float, ...]:
    if not values:
        raise ValueError("at least one value is needed")
    return tuple(sorted(set(values)))


Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Momentum = Annotated[float, Field(ge=0, lt=1)]
Whole = Annotated[int, Field(ge=1)]
Seed = Annotated[int, Field(ge=0)]
PositiveGrid = Annotated[tuple[Positive, ...], BeforeValidator(_expand), AfterValidator(_ascending)]
MomentumGrid = Annotated[tuple[Momentum, ...], BeforeValidator(_expand), AfterValidator(_ascending)]
WholeGrid = Annotated[tuple[Whole, ...], BeforeValidator(_expand_whole), AfterValidator(_ascending)]
# The table of results holds them as whole numbers of 64 bits, one of them for the sign.
_RunSeed = Annotated[int, Field(ge=0, lt=2**63)]
Seeds = Annotated[tuple[_RunSeed, ...], BeforeValidator(_count), AfterValidator(_ascending)]


class Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class GridSpec(Frozen):
    """Settings: the product of its lists.

    Either ``learning_rate`` and ``batch_size``, or ``normalized_noise_scale``: then the schedule
    takes, at each width, the largest learning rate that is safely stable and the batch size that
    gives the wanted ḡ.

    Attributes:
        widening_factor: widths, in units of the base width.
        seeds: how many runs a setting (0, 1, …), or a list of seeds.
        momentum: heavy-ball coefficients in [0, 1).
        learning_rate: ε for the batch's mean loss.
        batch_size: B.
        normalized_noise_scale: ḡ = ε/(B(1−m)σ_init²).
        max_stable_learning_rate: ε_max at every width, for ``normalized_noise_scale``; None
            measures it before the first run.
        stability_margin: the part of ε_max that is used.
        max_batch_size: larger batches are avoided by a smaller ε; None is a quarter of the
            training examples.
    """

    widening_factor: PositiveGrid
    seeds: Seeds = (0, 1, 2, 3, 4)
    momentum: MomentumGrid = (0.0,)
    learning_rate: PositiveGrid | None = None
    batch_size: WholeGrid | None = None
    normalized_noise_scale: PositiveGrid | None = None
    max_stable_learning_rate: Positive | None = None
    stability_margin: Annotated[float, Field(gt=0, le=1)] = 0.25
    max_batch_size: Whole | None = None

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        direct = (self.learning_rate is not None, self.batch_size is not None)
        if self.normalized_noise_scale is None and not all(direct):
            raise ValueError("a grid needs learning_rate and batch_size, or normalized_noise_scale")
        if self.normalized_noise_scale is not None and any(direct):
            raise ValueError(
                "a grid of normalized_noise_scale chooses learning_rate and batch_size itself; "
                "give one or the other"
            )
        if self.normalized_noise_scale is None and (
            self.max_stable_learning_rate is not None or self.max_batch_size is not None
        ):
            raise ValueError(
                "max_stable_learning_rate and max_batch_size go with normalized_noise_scale"
            )
        return self
