"""What a study runs: a frozen specification, from TOML, JSON or a dict.

Grids are written as lists, as log ranges ``{from = 0.1, to = 10, num = 7}``, or as normalized
noise scales from which the planner chooses learning rates and batch sizes.
"""

import dataclasses
import hashlib
import json
import math
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Self

import numpy as np
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from widthwise.batches import Sampling
from widthwise.data import DataSpec
from widthwise.errors import InputError
from widthwise.families import reference_to
from widthwise.recipe import Augmentation, LossKind, Precision, Recipe, ScheduleKind
from widthwise.study.family_spec import FamilySpec
from widthwise.study.reading import explain, override_fields, read_fields, with_whole_path

# A card runs small networks by the hundred at once, and serves several processes.
_CARD_REPLICAS = 512
_PACKS_ON_CARD = 16
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
        if not (numbers and num >= 2 and 0 < low < high < math.inf):
            raise ValueError(f"a log range needs 0 < from < to and num ≥ 2, got {dict(value)}")
        # 12 digits: ends come out as written, and rounding does not depend on the machine.
        return tuple(float(f"{x:.12g}") for x in np.geomspace(low, high, num))
    return value


def _expand_whole(value: Any) -> Any:
    expanded = _expand(value)
    return [round(x) for x in expanded] if isinstance(value, Mapping) else expanded


def _count(value: Any) -> Any:
    return tuple(range(value)) if isinstance(value, int) and value > 0 else value


def _ascending(values: tuple[float, ...]) -> tuple[float, ...]:
    if not values:
        raise ValueError("at least one value is needed")
    return tuple(sorted(set(values)))


_Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
_Momentum = Annotated[float, Field(ge=0, lt=1)]
_Whole = Annotated[int, Field(ge=1)]
_Seed = Annotated[int, Field(ge=0)]
PositiveGrid = Annotated[
    tuple[_Positive, ...], BeforeValidator(_expand), AfterValidator(_ascending)
]
MomentumGrid = Annotated[
    tuple[_Momentum, ...], BeforeValidator(_expand), AfterValidator(_ascending)
]
WholeGrid = Annotated[
    tuple[_Whole, ...], BeforeValidator(_expand_whole), AfterValidator(_ascending)
]
Seeds = Annotated[tuple[_Seed, ...], BeforeValidator(_count), AfterValidator(_ascending)]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class GridSpec(_Frozen):
    """Settings: the product of its lists.

    Either ``learning_rate`` and ``batch_size``, or ``normalized_noise_scale``: then the planner
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
    max_stable_learning_rate: _Positive | None = None
    stability_margin: Annotated[float, Field(gt=0, le=1)] = 0.25
    max_batch_size: _Whole | None = None

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


class TrainingSpec(_Frozen):
    """How long and how runs are trained, and how they are evaluated. Exactly one of steps, epochs,
    physical_time.

    Attributes:
        steps: number of updates, the same for every setting.
        epochs: passes over the training examples.
        physical_time: τ = ε·steps/(1−m), the same for every setting: the fair comparison across
            learning rates. Only with a constant learning rate: with a schedule ε is its peak, and
            τ would not say how far a run gets.
        evaluations: evenly spaced; the last is at the end.
        late_fraction: evaluations in this last part of training are averaged.
        sampling: "epochs" (reshuffled) or "replacement".

    The other attributes are those of :class:`widthwise.recipe.Recipe`, with its defaults.
    """

    steps: Annotated[int, Field(ge=8)] | None = None
    epochs: _Positive | None = None
    physical_time: _Positive | None = None
    evaluations: Annotated[int, Field(ge=8, le=1000)] = 20
    late_fraction: Annotated[float, Field(ge=0.25, le=1)] = 0.25
    sampling: Sampling = "epochs"
    nesterov: bool = Recipe.nesterov
    weight_decay: float = Recipe.weight_decay
    schedule: ScheduleKind = Recipe.schedule
    warmup: float = Recipe.warmup
    decay_at: tuple[float, ...] = Recipe.decay_at
    decay_factor: float = Recipe.decay_factor
    loss: LossKind = Recipe.loss
    label_smoothing: float = Recipe.label_smoothing
    augmentation: Augmentation = Recipe.augmentation
    crop_padding: int = Recipe.crop_padding
    ghost_batch_size: int | None = Recipe.ghost_batch_size
    precision: Precision = Recipe.precision

    @property
    def recipe(self) -> Recipe:
        """The training options that packs receive."""
        names = [field.name for field in dataclasses.fields(Recipe)]
        return Recipe(**{name: getattr(self, name) for name in names})

    @model_validator(mode="after")
    def _sound_recipe(self) -> Self:
        constant = self.recipe.constant_rate  # a recipe refuses what contradicts itself
        if self.physical_time is not None and not constant:
            raise ValueError(
                "physical_time needs a constant learning rate, got schedule "
                f"{self.schedule!r} with warmup {self.warmup:g}; give steps or epochs"
            )
        return self

    @model_validator(mode="after")
    def _one_budget(self) -> Self:
        given = [k for k in ("steps", "epochs", "physical_time") if getattr(self, k) is not None]
        if len(given) != 1:
            raise ValueError(
                "training needs exactly one of steps, epochs and physical_time, got "
                + (" and ".join(given) or "none")
            )
        return self


class PackingSpec(_Frozen):
    """How runs are put together. Part of the specification, because the order in which floats are
    summed can depend on it.

    Attributes:
        size: runs in a pack. None measures, at every width and several batch sizes, how many
            take the least time a run: caches are finite, and the best number is between one (wide
            convolutions) and ``max_replicas`` (small dense networks). What was measured is kept
            with the study.
        max_replicas: most runs in a pack; left out, 512 on a CUDA device.
        memory_mb: most memory of one pack in MB; packs are split to fit. Left out, a sixteenth of
            a CUDA device's memory, so that several processes can hold packs on it.
    """

    size: _Whole | None = None
    max_replicas: _Whole = 16
    memory_mb: _Positive = 1024.0

    def on_card(self, memory_bytes: int) -> Self:
        """With what was left out chosen for a CUDA device with so much memory.

        >>> PackingSpec(max_replicas=64).on_card(128 * 10**9)
        PackingSpec(size=None, max_replicas=64, memory_mb=8000.0)
        """
        chosen = {
            "max_replicas": _CARD_REPLICAS,
            "memory_mb": float(memory_bytes // (_PACKS_ON_CARD * 10**6)),
        }
        left_out = chosen.keys() - self.model_fields_set
        return self.model_copy(update={name: chosen[name] for name in left_out})


class HardwareSpec(_Frozen):
    """Where packs are trained.

    Attributes:
        device: "cpu", "cuda", "cuda:1", …; "auto" is a CUDA device if there is one when the study
            begins, and the study keeps it.
    """

    device: Annotated[str, Field(pattern=r"^(auto|cpu|cuda(:\d+)?)$")] = "auto"


class AnalysisSpec(_Frozen):
    """How the optimum is inferred (intervals are 95 %).

    Attributes:
        seed: of the bootstrap.
    """

    seed: _Seed = 0


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, Mapping | GridSpec) else value


class StudySpec(_Frozen):
    """A whole study. Unknown keys are rejected.

    >>> spec = StudySpec.parse({
    ...     "grid": {"widening_factor": [1, 2], "learning_rate": 0.1,
    ...              "batch_size": {"from": 1, "to": 4, "num": 3}, "seeds": 2},
    ...     "training": {"steps": 100},
    ... })
    >>> spec.grid[0].batch_size
    (1, 2, 4)
    """

    title: str = "Width study"
    family: FamilySpec = FamilySpec()
    data: DataSpec = DataSpec()
    grid: Annotated[tuple[GridSpec, ...], BeforeValidator(_as_list), Field(min_length=1)]
    training: TrainingSpec
    packing: PackingSpec = PackingSpec()
    hardware: HardwareSpec = HardwareSpec()
    analysis: AnalysisSpec = AnalysisSpec()

    @model_validator(mode="after")
    def _momentum_to_look_ahead(self) -> Self:
        if self.training.nesterov and not any(any(grid.momentum) for grid in self.grid):
            raise ValueError(
                "training.nesterov needs momentum, got momentum 0 in every grid; set grid.momentum "
                "or leave nesterov out"
            )
        return self

    @classmethod
    def parse(cls, source: Any, overrides: Iterable[str] = ()) -> Self:
        """From a spec, a dict, or the path of a TOML or JSON file; then ``key=value`` overrides.

        A family given as a function becomes the reference by which workers find it.

        Raises:
            InputError: naming the first thing that is wrong.
        """
        if isinstance(source, cls):  # what was left out stays open: a device may decide it
            fields = source.model_dump(mode="json", exclude_unset=True)
        else:
            fields = read_fields(source)
        for override in overrides:
            fields = override_fields(fields, override)
        if callable(fields.get("family")):
            fields["family"] = {"kind": reference_to(fields["family"])}
        elif isinstance(fields.get("family"), Mapping) and callable(fields["family"].get("kind")):
            family = fields["family"]
            fields["family"] = {**family, "kind": reference_to(family["kind"])}
        elif isinstance(fields.get("family"), str):
            fields["family"] = {"kind": fields["family"]}
        fields = with_whole_path(fields, source)
        try:
            return cls.model_validate(fields)
        except ValidationError as error:
            raise InputError(explain(error, cls)) from None

    def fields(self) -> dict[str, Any]:
        """Plain values, complete (defaults filled in), that :meth:`parse` reads back."""
        return self.model_dump(mode="json")

    @property
    def hash(self) -> str:
        """SHA-256 of the canonical JSON form."""
        canonical = json.dumps(self.fields(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()


def differences(first: StudySpec, second: StudySpec) -> list[str]:
    """ "key: a here, b there" for every key in which two specifications differ."""
    a, b = _flatten(first.fields()), _flatten(second.fields())
    return [
        f"{key}: {a.get(key, 'absent')} against {b.get(key, 'absent')}"
        for key in sorted({*a, *b})
        if a.get(key) != b.get(key)
    ]


def _flatten(fields: Any, prefix: str = "") -> dict[str, Any]:
    if isinstance(fields, dict):
        children = {f"{prefix}.{key}" if prefix else key: v for key, v in fields.items()}
    elif isinstance(fields, list) and fields and isinstance(fields[0], dict):
        children = {f"{prefix}[{i}]": v for i, v in enumerate(fields)}
    else:
        return {prefix: fields}
    return {k: v for name, child in children.items() for k, v in _flatten(child, name).items()}
