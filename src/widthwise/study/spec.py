"""What a study runs: a frozen specification, from TOML, JSON or a dict."""

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import BeforeValidator, Field, ValidationError, model_validator

from widthwise.data import DataSpec
from widthwise.engines import EngineChoice
from widthwise.errors import InputError
from widthwise.families import reference_to
from widthwise.runs.key import canonical, sha256
from widthwise.sgd.batches import Sampling
from widthwise.sgd.recipe import Augmentation, LossKind, Precision, Recipe, ScheduleKind
from widthwise.study.family_spec import FamilySpec
from widthwise.study.grid_spec import Frozen, GridSpec, Positive, Seed, Whole
from widthwise.study.keep_spec import KeepSpec
from widthwise.study.limits import LimitsSpec, refuse_long_lists
from widthwise.study.reading import (
    explain,
    override_fields,
    read_fields,
    refuse_truth_values,
    with_paths,
    with_whole_paths,
)

# A card runs small networks by the hundred at once, and serves several processes.
_CARD_REPLICAS = 512
_PACKS_ON_CARD = 16


class TrainingSpec(Frozen):
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

    The other attributes are those of :class:`widthwise.sgd.recipe.Recipe`, with its defaults.
    """

    steps: Annotated[int, Field(ge=8)] | None = None
    epochs: Positive | None = None
    physical_time: Positive | None = None
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


class PackingSpec(Frozen):
    """How runs are put together. It is no part of what a run is known by, although the order in
    which floats are summed can depend on it.

    Attributes:
        size: runs in a pack. None measures, at every width and several batch sizes, how many
            take the least time a run: caches are finite, and the best number is between one (wide
            convolutions) and ``max_replicas`` (small dense networks). What was measured is kept
            with the study, for machines of this kind.
        max_replicas: most runs in a pack; left out, 512 on a CUDA device.
        memory_mb: most memory of one pack in MB; packs are split to fit. Left out, a sixteenth of
            a CUDA device's memory, so that several processes can hold packs on it.
        engine: "auto" takes the fastest that proves equal to the networks; a name takes that one,
            or says why it cannot.
    """

    size: Whole | None = None
    max_replicas: Whole = 16
    memory_mb: Positive = 1024.0
    engine: EngineChoice = "auto"

    def on_card(self, memory_bytes: int) -> Self:
        """With what was left out chosen for a CUDA device with so much memory.

        >>> PackingSpec(max_replicas=64).on_card(128 * 10**9)
        PackingSpec(size=None, max_replicas=64, memory_mb=8000.0, engine='auto')
        """
        chosen = {
            "max_replicas": _CARD_REPLICAS,
            "memory_mb": float(memory_bytes // (_PACKS_ON_CARD * 10**6)),
        }
        left_out = chosen.keys() - self.model_fields_set
        return self.model_copy(update={name: chosen[name] for name in left_out})


class HardwareSpec(Frozen):
    """Where packs are trained.

    Attributes:
        device: "cpu", "cuda", "cuda:1", …; "auto" is the CPU, until a CUDA device has been tried.
    """

    device: Annotated[str, Field(pattern=r"^(auto|cpu|cuda(:\d+)?)$")] = "auto"


class SearchSpec(Frozen):
    """Adaptive search: the grid says where settings may lie, the search which are run, with how
    many seeds. See docs/search.md.

    Attributes:
        precision: wanted full width of the 95 % interval of every width's best noise scale, in
            octaves (factors of two); None if only the exponent counts.
        exponent_precision: wanted full width of the exponent's 95 % interval; None if only the
            optima count.
        max_runs: most runs in all; None sets no limit.
        max_seeds: most runs a setting.
        first_seed: runs have this seed and those after it; another makes a search independent of
            the first.
        seeds_at_once: fewest that a round adds to a setting: they share a pack, and the steps of
            narrow networks take little longer for eight of them than for one.
        runs_at_once: a round has at least so many, if there is so much to do. Rounds depend on
            it, so it is stated rather than taken from the machine.
    """

    precision: Positive | None = 1.0
    exponent_precision: Positive | None = None
    max_runs: Whole | None = None
    max_seeds: Annotated[int, Field(ge=2)] = 64
    first_seed: Annotated[int, Field(ge=0, lt=2**62)] = 0
    seeds_at_once: Whole = 4
    runs_at_once: Whole = 32

    @model_validator(mode="after")
    def _some_end(self) -> Self:
        if self.precision is None and self.exponent_precision is None:
            raise ValueError("a search needs precision, exponent_precision or both, got neither")
        return self


class AnalysisSpec(Frozen):
    """How the optimum is inferred (intervals are 95 %).

    Attributes:
        seed: of the bootstrap.
    """

    seed: Seed = 0


_SEARCHES = {"grid": None, "adaptive": SearchSpec()}


def _search_by_name(value: Any) -> Any:
    if isinstance(value, str):
        if value not in _SEARCHES:
            raise ValueError(
                f"search must be one of {', '.join(_SEARCHES)}, or a table, got {value!r}"
            )
        return _SEARCHES[value]
    return value


# Beyond them what is computed of a width overflows, and nobody's network is so.
WIDENING_FACTORS = (1e-6, 1e9)


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, Mapping | GridSpec) else value


class StudySpec(Frozen):
    """A whole study. Unknown keys are rejected.

    ``store`` is the folder of the runs, or their address in an object store as
    ``s3://bucket/prefix``, if several studies share them; None keeps them with the study. ``keep``
    says whose trained weights are kept: "none", "best", "all" or settings.

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
    search: Annotated[SearchSpec | None, BeforeValidator(_search_by_name)] = None
    training: TrainingSpec
    packing: PackingSpec = PackingSpec()
    hardware: HardwareSpec = HardwareSpec()
    analysis: AnalysisSpec = AnalysisSpec()
    limits: LimitsSpec = LimitsSpec()
    keep: KeepSpec = KeepSpec()
    store: str | None = None

    @model_validator(mode="after")
    def _can_be_written(self) -> Self:
        texts = {"title": self.title, "family.kind": self.family.kind, "data.path": self.data.path}
        for key, text in texts.items():
            try:
                (text or "").encode()
            except UnicodeEncodeError as error:
                raise ValueError(
                    f"{key} must be Unicode text, got {text!r} ({error.reason})"
                ) from None
        return self

    @model_validator(mode="after")
    def _momentum_to_look_ahead(self) -> Self:
        if self.training.nesterov and not any(any(grid.momentum) for grid in self.grid):
            raise ValueError(
                "training.nesterov needs momentum, got momentum 0 in every grid; set grid.momentum "
                "or leave nesterov out"
            )
        return self

    @model_validator(mode="after")
    def _of_possible_widths(self) -> Self:
        low, high = WIDENING_FACTORS
        for width in (width for grid in self.grid for width in grid.widening_factor):
            if not low <= width <= high:
                raise ValueError(
                    f"grid.widening_factor must lie in [{low:g}, {high:g}], got {width:g}"
                )
        return self

    @model_validator(mode="after")
    def _searchable(self) -> Self:
        if self.search is None:
            return self
        seeds = GridSpec.model_fields["seeds"].default
        if any(grid.seeds != seeds for grid in self.grid):
            raise ValueError(
                "a search chooses the seeds itself; leave grid.seeds out, or set search.max_seeds "
                "and search.first_seed"
            )
        widths = [width for grid in self.grid for width in grid.widening_factor]
        one_each = len(set(widths)) == len(widths) and all(len(g.momentum) == 1 for g in self.grid)
        if not one_each or any(grid.normalized_noise_scale is None for grid in self.grid):
            raise ValueError(
                "a search needs grids written in normalized_noise_scale, with one momentum, and "
                "every widening factor in one grid only"
            )
        return self

    @classmethod
    def parse(
        cls,
        source: Any,
        overrides: Iterable[str] = (),
        *,
        complete: Callable[[dict[str, Any]], dict[str, Any]] = lambda fields: fields,
    ) -> Self:
        """From a spec, a dict, or the path of a TOML or JSON file; then ``key=value`` overrides.

        A family given as a function becomes the reference by which workers find it.

        Args:
            source: as above.
            overrides: "key=value".
            complete: fields as they were given → with those that they may lack here.

        Raises:
            InputError: naming the first thing that is wrong.
        """
        if isinstance(source, cls):  # what was left out stays open: a device may decide it
            fields = source.model_dump(mode="json", exclude_unset=True)
        else:
            fields = read_fields(source)
        for override in overrides:
            fields = override_fields(fields, override)
        fields = complete(fields)
        if callable(fields.get("family")):
            fields["family"] = {"kind": reference_to(fields["family"])}
        elif isinstance(fields.get("family"), Mapping) and callable(fields["family"].get("kind")):
            family = fields["family"]
            fields["family"] = {**family, "kind": reference_to(family["kind"])}
        elif isinstance(fields.get("family"), str):
            fields["family"] = {"kind": fields["family"]}
        fields = with_whole_paths(fields, source)
        refuse_truth_values(fields, cls)
        limits = LimitsSpec()
        with suppress(ValidationError):  # said below
            limits = LimitsSpec.model_validate(fields.get("limits", {}))
        refuse_long_lists(fields, limits)
        try:
            return cls.model_validate(fields)
        except ValidationError as error:
            raise InputError(explain(error, cls)) from None

    def fields(self) -> dict[str, Any]:
        """Plain values, complete (defaults filled in), that :meth:`parse` reads back; without the
        limits and the store, which decide no result."""
        fields = self.model_dump(mode="json", exclude={"limits", "store"})
        # What every study was before there was a search, or weights were kept.
        return {
            k: v for k, v in fields.items() if (k, v) not in (("search", None), ("keep", "none"))
        }

    def portable_fields(self) -> dict[str, Any]:
        """:meth:`fields` with the names of files in place of their paths."""
        return with_paths(self.fields(), lambda path: Path(path).name)

    @property
    def hash(self) -> str:
        """SHA-256 of what is asked, wherever its files lie and however it is computed."""
        fields = self.portable_fields()
        return sha256(canonical({k: v for k, v in fields.items() if k not in _HOW}))


# What says how something is computed and what is kept of it, not what is asked.
_HOW = ("hardware", "packing", "keep")


def differences(first: StudySpec, second: StudySpec, between: str = " against ") -> list[str]:
    """ "key: a against b" for every key in which two specifications differ, wherever their files
    lie."""
    a, b = _flatten(first.portable_fields()), _flatten(second.portable_fields())
    return [
        f"{key}: {a.get(key, 'absent')}{between}{b.get(key, 'absent')}"
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
