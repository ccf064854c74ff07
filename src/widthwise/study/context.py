"""What a study's runs share: its specification, its data and its family, ready to train."""

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from widthwise.data import Dataset, load
from widthwise.errors import InputError
from widthwise.families import UserFamily, WidthFamily, code_changes, family_code
from widthwise.families.size import TensorsBelow
from widthwise.hardware import card_memory, require_precision, resolve_device
from widthwise.runs.key import ARITHMETIC, Group, recipe_fields
from widthwise.study.cost import ModuleCost, module_cost
from widthwise.study.family_spec import changed_options
from widthwise.study.record import DataRecord, StudyRecord, read_record
from widthwise.study.spec import HardwareSpec, StudySpec
from widthwise.training import MAX_TRAIN_EVALUATION
from widthwise.training.networks import check_batch_size, check_network, network_inputs
from widthwise.training.trainable import check_trainable

_SAMPLE = 8
# A pack holds each weight several times: what is refused here would be refused by the schedule.
_TOO_LARGE = "got packing.memory_mb = {:g}; raise it, or build narrower networks"


@dataclass(frozen=True, kw_only=True)
class Context:
    """One study, ready to schedule or train.

    Attributes:
        spec: what it runs, with the device and the packs of this machine.
        dataset: its data.
        family: its networks.
        data_fingerprint: of the data.
    """

    spec: StudySpec
    dataset: Dataset
    family: WidthFamily
    data_fingerprint: str

    @property
    def device(self) -> torch.device:
        """Where its packs are trained.

        Raises:
            InputError: if this machine does not have it.
        """
        return resolve_device(self.spec.hardware.device)

    @property
    def num_evaluated(self) -> int:
        """Examples on which a run is evaluated each time."""
        data = self.dataset
        return min(data.num_train, MAX_TRAIN_EVALUATION) + data.num_test + data.num_validation

    @functools.cached_property
    def group(self) -> Group:
        """What its runs share, as far as it decides their results."""
        training = self.spec.training
        return Group(
            family=self.family_identity,
            data=self.data_fingerprint,
            recipe=recipe_fields(training.recipe),
            sampling=training.sampling,
            evaluations=training.evaluations,
        )

    @functools.cached_property
    def family_identity(self) -> dict[str, Any]:
        """Plain values that tell this family from every other, wherever its file lies."""
        return _identity(self.spec, self.family)

    def costs(self) -> dict[float, ModuleCost]:
        """Widening factor → cost of one replica; checks on the way that every width fits the data.

        Raises:
            InputError: if a network cannot be built, or does not map the data to class logits.
        """
        return self._costs

    @functools.cached_property
    def _costs(self) -> dict[float, ModuleCost]:
        targets = torch.from_numpy(self.dataset.train_labels[:_SAMPLE])
        costs = {}
        for width in sorted({w for grid in self.spec.grid for w in grid.widening_factor}):
            memory = self.spec.packing.memory_mb
            with TensorsBelow(memory * 1e6, _TOO_LARGE.format(memory)):
                module = self.family.build(width, seed=0)
            examples = network_inputs(module, self.dataset.train_inputs[:_SAMPLE])
            check_trainable(self.family, module, examples)
            classes, data = self.dataset.num_classes, self.dataset.name
            check_network(self.family, module, examples, classes, data=data)
            for size in self._smallest_batches(width):
                batch = examples[:1].expand(size, *examples.shape[1:])
                check_batch_size(module, batch, self.spec.training.recipe)
            costs[width] = module_cost(module, examples, targets)
        return costs

    def _smallest_batches(self, width: float) -> list[int]:
        """Of the grids that say batch sizes; batch norm may need more. One that exceeds the
        training set is refused by the schedule."""
        return [
            min(grid.batch_size[0], self.dataset.num_train)
            for grid in self.spec.grid
            if grid.batch_size is not None and width in grid.widening_factor
        ]


def on_this_machine(spec: StudySpec) -> StudySpec:
    """With the device that "auto" stands for here, and packs that suit it.

    Raises:
        InputError: if it cannot compute in the precision asked for.
    """
    device = resolve_device(spec.hardware.device)
    require_precision(spec.training.precision, device)
    memory = card_memory(device)
    packing = spec.packing if memory is None else spec.packing.on_card(memory)
    return spec.model_copy(
        update={"hardware": HardwareSpec(device=str(device)), "packing": packing}
    )


def make_context(spec: StudySpec, dataset: Dataset) -> Context:
    """Bring a specification and its data together.

    Raises:
        InputError: if the family cannot be found.
    """
    return Context(
        spec=spec,
        dataset=dataset,
        family=spec.family.family(dataset.input_shape, dataset.num_classes),
        data_fingerprint=dataset.fingerprint,
    )


def describe(context: Context, spec: StudySpec, *, in_memory: bool) -> StudyRecord:
    """The question that a specification, as it was given, asks in this context."""
    data = context.dataset
    return StudyRecord(
        spec=spec,
        data=DataRecord(
            name=data.name,
            in_memory=in_memory,
            fingerprint=context.data_fingerprint,
            input_shape=data.input_shape,
            num_classes=data.num_classes,
            num_train=data.num_train,
            num_test=data.num_test,
            num_validation=data.num_validation,
            preparation=data.preparation,
        ),
        family=context.family_identity,
    )


def load_context(directory: Path) -> Context:
    """The context of the study in this directory, as its files are now.

    Raises:
        InputError: if data or family are not those of its question.
    """
    return _load_context(directory, read_record(directory))


def kept_context(directory: Path) -> Context:
    """The same, loaded once by a worker.

    Raises:
        InputError: as :func:`load_context`.
    """
    # By content: in a notebook another study may take this one's place.
    return _kept_context(directory, read_record(directory))


@functools.lru_cache(maxsize=1)
def _kept_context(directory: Path, record: StudyRecord) -> Context:
    return _load_context(directory, record)


def _load_context(directory: Path, record: StudyRecord) -> Context:
    asked = record.data
    if record.arithmetic != ARITHMETIC:
        raise InputError(
            f"the study in {directory} asks for results in version {record.arithmetic} of the "
            f"arithmetic, but this Widthwise computes in version {ARITHMETIC}; give its "
            f"specification again: widthwise run SPEC -o {directory}"
        )
    spec = on_this_machine(record.spec)
    dataset = Dataset.read(spec.data.path or "") if asked.in_memory else load(spec.data)
    context = make_context(spec, dataset)
    if context.data_fingerprint != asked.fingerprint:
        raise InputError(
            f"the data {dataset.name!r} must be those that the study in {directory} asks about "
            f"(fingerprint {asked.fingerprint[:12]}…), got {context.data_fingerprint[:12]}…; "
            f"{_again(directory)}"
        )
    _require_its_family(directory, record, context.family_identity)
    return context


def load_family(directory: Path, record: StudyRecord) -> WidthFamily:
    """The networks of the study in this directory; its data need not be here.

    Raises:
        InputError: if the family cannot be found, or is not that of its question.
    """
    data = record.data
    family = record.spec.family.family(data.input_shape, data.num_classes)
    _require_its_family(directory, record, _identity(record.spec, family))
    return family


def _identity(spec: StudySpec, family: WidthFamily) -> dict[str, Any]:
    fields = changed_options(spec.family)
    if isinstance(family, UserFamily):
        fields |= {"kind": family.name, "code": family_code(family).to_dict()}
    return fields


def _require_its_family(directory: Path, record: StudyRecord, found: dict[str, Any]) -> None:
    if found != record.family:
        before, now = record.family.get("code", {}), found.get("code", {})
        changes = ", ".join(code_changes(before, now)) or "it changed"
        raise InputError(
            f"the family {record.spec.family.kind!r}: {changes} since the study in {directory} "
            f"asked for it; {_again(directory)}"
        )


def _again(directory: Path) -> str:
    return f"restore it, or give the specification again: widthwise run SPEC -o {directory}"
