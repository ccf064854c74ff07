"""What a study's packs share: its specification, its data and its family, read from disk."""

import functools
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from widthwise.data import Dataset, load
from widthwise.errors import InputError
from widthwise.families import UserFamily, WidthFamily, source_hash
from widthwise.hardware import resolve_device
from widthwise.runs.store import Store
from widthwise.study.cost import ModuleCost, module_cost
from widthwise.study.spec import StudySpec
from widthwise.training import MAX_TRAIN_EVALUATION
from widthwise.training.networks import check_batch_size, check_network

STUDY_FILE = "study.json"
DATA_FILE = "data.npz"
_FORMAT = "widthwise-study-2"
_SAMPLE = 8


@dataclass(frozen=True, kw_only=True)
class Context:
    """One study, ready to plan or train.

    Attributes:
        spec: what it runs.
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

    def family_identity(self) -> dict[str, Any]:
        """Plain values that tell this family from every other, wherever its file lies."""
        fields = self.spec.family.model_dump(mode="json")
        if isinstance(self.family, UserFamily):
            fields |= {"kind": self.family.name, "source": source_hash(self.family)}
        return fields

    def costs(self) -> dict[float, ModuleCost]:
        """Widening factor → cost of one replica; checks on the way that every width fits the data.

        Raises:
            InputError: if a network cannot be built, or does not map the data to class logits.
        """
        inputs = torch.from_numpy(self.dataset.train_inputs[:_SAMPLE])
        targets = torch.from_numpy(self.dataset.train_labels[:_SAMPLE])
        costs = {}
        for width in sorted({w for grid in self.spec.grid for w in grid.widening_factor}):
            module = self.family.build(width, seed=0)
            dtype = next((p.dtype for p in module.parameters()), torch.float32)
            examples = inputs.to(dtype)
            check_network(self.family, module, examples, self.dataset.num_classes)
            for size in self._smallest_batches(width):
                batch = examples[:1].expand(size, *examples.shape[1:])
                check_batch_size(module, batch, self.spec.training.recipe)
            costs[width] = module_cost(module, examples, targets)
        return costs

    def _smallest_batches(self, width: float) -> list[int]:
        """Of the grids that say batch sizes; batch norm may need more."""
        return [
            grid.batch_size[0]
            for grid in self.spec.grid
            if grid.batch_size is not None and width in grid.widening_factor
        ]


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


def describe(context: Context, *, in_memory: bool, versions: dict[str, str]) -> dict[str, Any]:
    """The content of ``study.json``."""
    data = context.dataset
    return {
        "format": _FORMAT,
        "spec": context.spec.fields(),
        "spec_hash": context.spec.hash,
        "data": {
            "name": data.name,
            "in_memory": in_memory,
            "fingerprint": context.data_fingerprint,
            "input_shape": list(data.input_shape),
            "num_classes": data.num_classes,
            "num_train": data.num_train,
            "num_test": data.num_test,
            "num_validation": data.num_validation,
        },
        "family": context.family_identity(),
        "versions": versions,
    }


def read_description(store: Store) -> tuple[StudySpec, dict[str, Any]]:
    """The specification and the whole content of ``study.json``.

    Raises:
        InputError: if the directory is not a study, or its specification was altered.
    """
    description = store.read_json(STUDY_FILE)
    if description.get("format") != _FORMAT:
        raise InputError(
            f"{store.directory / STUDY_FILE} must have format {_FORMAT!r}, got "
            f"{description.get('format')!r}; it was written by another version of widthwise"
        )
    absent = {"spec", "spec_hash", "data", "family", "versions"} - set(description)
    if absent:
        raise InputError(
            f"{store.directory / STUDY_FILE} must hold {min(absent)!r}; restore the file, or begin "
            "a study in another directory"
        )
    spec = StudySpec.parse(description["spec"])
    if spec.hash != description["spec_hash"]:
        raise InputError(
            f"the specification in {store.directory / STUDY_FILE} was altered after the study "
            "began; restore it, or begin a study in another directory"
        )
    return spec, description


def load_context(directory: Path) -> Context:
    """The context of the study in this directory; a worker loads it once.

    Raises:
        InputError: if data or family are not those with which the study began.
    """
    spec, description = read_description(Store(directory))
    # By content: in a notebook another study may take this one's place.
    return _load_context(directory, spec.hash, json.dumps(description, sort_keys=True))


@functools.lru_cache(maxsize=1)
def _load_context(directory: Path, spec_hash: str, described: str) -> Context:
    spec, description = read_description(Store(directory))
    in_memory = description["data"]["in_memory"]
    dataset = Dataset.read(directory / DATA_FILE) if in_memory else load(spec.data)
    context = make_context(spec, dataset)
    if context.data_fingerprint != description["data"]["fingerprint"]:
        raise InputError(
            f"the data {dataset.name!r} must be those with which the study in {directory} began "
            f"(fingerprint {description['data']['fingerprint'][:12]}…), got "
            f"{context.data_fingerprint[:12]}…; restore them, or begin a study elsewhere"
        )
    if context.family_identity() != description["family"]:
        raise InputError(
            f"the source of the family {spec.family.kind!r} changed since the study in "
            f"{directory} began; restore it, or begin a study elsewhere"
        )
    return context
