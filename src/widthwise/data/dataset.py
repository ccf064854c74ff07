"""The one in-memory form that every data set takes."""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self, get_args

import numpy as np
from numpy.typing import NDArray

from widthwise.data.arrays import (
    Inputs,
    Labels,
    check_inputs,
    check_label_range,
    check_labels,
    check_num_classes,
    check_one_unit,
    to_numpy,
    with_channel_axis,
)
from widthwise.data.preprocessing import Preprocessing, fit_center_scale, to_float
from widthwise.data.readers.npz import open_npz, whole_number
from widthwise.data.splits import split_training, stratified_subset
from widthwise.errors import InputError
from widthwise.files import written_atomically

_FORMAT = "widthwise-dataset-1"


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Dataset:
    """Training, test and perhaps validation examples, ready for a network.

    Inputs are C-contiguous float32 of shape (num_examples, *input_shape), labels int64 of shape
    (num_examples,). Examples given with two dimensions, (height, width), become images of one
    channel, (1, height, width), whatever their source. The arrays are shared, not copied: whoever
    writes into them breaks the fingerprint. Use `from_arrays` to build one from arrays of other
    types.
    """

    name: str
    num_classes: int
    train_inputs: Inputs
    train_labels: Labels
    test_inputs: Inputs
    test_labels: Labels
    validation_inputs: Inputs | None = None
    validation_labels: Labels | None = None

    def __post_init__(self) -> None:
        check_num_classes(self.num_classes)
        if (self.validation_inputs is None) != (self.validation_labels is None):
            raise InputError(
                "validation inputs and labels must come together, got only one of them; give both"
            )
        for part, inputs, labels in self._parts():
            _check_final(f"{part}_inputs", inputs, np.dtype(np.float32))
            _check_final(f"{part}_labels", labels, np.dtype(np.int64))
            check_inputs(f"{part}_inputs", inputs)
            check_labels(f"{part}_labels", labels, num_examples=len(inputs))
            check_label_range(f"{part}_labels", labels, self.num_classes)
            if inputs.shape[1:] != self.input_shape:
                raise InputError(
                    f"{part}_inputs must have examples of the training shape {self.input_shape}, "
                    f"got {inputs.shape[1:]}; use one shape throughout"
                )
        for part, inputs, _ in list(self._parts()):
            object.__setattr__(self, f"{part}_inputs", with_channel_axis(inputs))

    def __repr__(self) -> str:
        return (
            f"Dataset({self.name!r}, input_shape={self.input_shape}, "
            f"num_classes={self.num_classes}, num_train={self.num_train}, "
            f"num_test={self.num_test}, num_validation={self.num_validation})"
        )

    @property
    def input_shape(self) -> tuple[int, ...]:
        return self.train_inputs.shape[1:]

    @property
    def num_train(self) -> int:
        return len(self.train_labels)

    @property
    def num_test(self) -> int:
        return len(self.test_labels)

    @property
    def num_validation(self) -> int:
        return 0 if self.validation_labels is None else len(self.validation_labels)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 (hex) over num_classes and the name, type, shape and content of every array.

        The data set's name is left out: what was trained on is the content.
        """
        return _fingerprint(self.num_classes, self._arrays())

    @classmethod
    def from_arrays(
        cls,
        train_inputs: object,
        train_labels: object,
        test_inputs: object,
        test_labels: object,
        *,
        validation_inputs: object | None = None,
        validation_labels: object | None = None,
        name: str = "arrays",
        num_classes: int | None = None,
        num_train: int | None = None,
        num_test: int | None = None,
        num_validation: int = 0,
        seed: int = 0,
        preprocessing: Preprocessing = "none",
    ) -> Self:
        """Build a data set from NumPy arrays, CPU tensors or nested lists.

        Args:
            train_inputs: real numbers, shape (N, *input_shape), images channels first; examples
                (height, width) become (1, height, width). Unsigned bytes are divided by 255, and
                are to be so in all parts or in none.
            train_labels: integer class indices, shape (N,).
            test_inputs: as train_inputs.
            test_labels: as train_labels.
            validation_inputs: a validation set of your own, used whole.
            validation_labels: its labels.
            name: what to call it in reports.
            num_classes: None means the largest label plus one.
            num_train: size of a class-balanced subset to train on; None takes all.
            num_test: size of a subset with the test set's class proportions; None takes all.
            num_validation: examples held out from the training set, stratified by class.
            seed: decides the subsets, nothing else.
            preprocessing: "center-scale" removes the training mean of each coordinate and divides
                by one number so that the training mean square is 1; test and validation inputs
                get the same treatment with the same numbers.

        Raises:
            InputError: if anything is malformed; the message names the array.

        >>> data = Dataset.from_arrays([[0.0], [1.0], [2.0]], [0, 1, 1], [[0.5]], [0])
        >>> data
        Dataset('arrays', input_shape=(1,), num_classes=2, num_train=3, num_test=1,
                num_validation=0)
        """
        if preprocessing not in get_args(Preprocessing):
            raise InputError(
                f"preprocessing must be one of {', '.join(get_args(Preprocessing))}, "
                f"got {preprocessing!r}; choose one"
            )
        train = _examples("train", train_inputs, train_labels)
        test = _examples("test", test_inputs, test_labels)
        own_validation = None
        if validation_inputs is not None and validation_labels is not None:
            own_validation = _examples("validation", validation_inputs, validation_labels)
        elif validation_inputs is not None or validation_labels is not None:
            raise InputError("validation inputs and labels must come together; give both or none")
        if own_validation is not None and num_validation:
            raise InputError(
                "num_validation must be 0 when the data bring their own validation set, "
                f"got {num_validation}; leave one of the two out"
            )
        parts = [train, test] if own_validation is None else [train, test, own_validation]
        names = ("train", "test", "validation")
        check_one_unit({name: part[0] for name, part in zip(names, parts, strict=False)})
        classes = max(int(labels.max()) for _, labels in parts) + 1
        split = split_training(
            train[1], num_train=num_train, num_validation=num_validation, seed=seed
        )
        test_rows = stratified_subset(test[1], num_test, seed=seed)
        prepared = {
            "train": _select(train, split.train),
            "test": _select(test, test_rows),
        }
        if own_validation is not None:
            prepared["validation"] = _select(own_validation, np.arange(len(own_validation[1])))
        elif num_validation:
            prepared["validation"] = _select(train, split.validation)
        if preprocessing == "center-scale":
            _check_prepared(prepared)
            transform = fit_center_scale(prepared["train"][0])
            prepared = {part: (transform(x), y) for part, (x, y) in prepared.items()}
        validation = prepared.get("validation", (None, None))
        return cls(
            name=name,
            num_classes=classes if num_classes is None else num_classes,
            train_inputs=prepared["train"][0],
            train_labels=prepared["train"][1],
            test_inputs=prepared["test"][0],
            test_labels=prepared["test"][1],
            validation_inputs=validation[0],
            validation_labels=validation[1],
        )

    def save(self, path: str | Path) -> Path:
        """Write a compressed .npz; a reader sees the old file or the new one, never a part of it.

        The file also loads as DataSpec(name="npz", path=..., preprocessing="none").
        """
        target = Path(path)
        metadata = {
            "format": np.array(_FORMAT),
            "name": np.array(self.name),
            "num_classes": np.array(self.num_classes),
            "fingerprint": np.array(self.fingerprint),
        }
        with written_atomically(target) as file:
            np.savez_compressed(file, **metadata, **dict(self._arrays()))  # type: ignore[arg-type]
        return target

    @classmethod
    def read(cls, path: str | Path) -> Self:
        """Read what `save` wrote and check it against the fingerprint inside.

        Files of 0.1.0 may hold examples (height, width) and their fingerprint. They are checked as
        they are stored; the data set that is read has the channel axis, and a fingerprint of its
        own.

        Raises:
            DataNotFoundError: if there is no such file.
            InputError: if the file is damaged or something else.
        """
        content = open_npz(Path(path))
        if str(content.pop("format", "")) != _FORMAT:
            raise InputError(
                f"{path} must be a data set written by Dataset.save, but its format field is not "
                f"{_FORMAT!r}; load other .npz files with DataSpec(name='npz', path=...)"
            )
        try:
            fingerprint = str(content.pop("fingerprint"))
            name = str(content.pop("name"))
            num_classes = whole_number(content.pop("num_classes"), f"{path}: num_classes")
            dataset = cls(name=name, num_classes=num_classes, **content)
        except (KeyError, TypeError) as error:
            raise InputError(
                f"{path} must hold every field of a data set: {error}; save it again"
            ) from error
        fields = [field for field, _ in dataset._arrays()]
        stored = _fingerprint(num_classes, ((field, content[field]) for field in fields))
        if stored != fingerprint:
            raise InputError(
                f"{path} must match its fingerprint {fingerprint}, got {stored}; "
                "the content was changed: save it again"
            )
        return dataset

    def _parts(self) -> Iterator[tuple[str, Inputs, Labels]]:
        yield "train", self.train_inputs, self.train_labels
        yield "test", self.test_inputs, self.test_labels
        if self.validation_inputs is not None and self.validation_labels is not None:
            yield "validation", self.validation_inputs, self.validation_labels

    def _arrays(self) -> Iterator[tuple[str, NDArray[Any]]]:
        for part, inputs, labels in self._parts():
            yield f"{part}_inputs", inputs
            yield f"{part}_labels", labels


def _fingerprint(num_classes: int, arrays: Iterable[tuple[str, NDArray[Any]]]) -> str:
    digest = hashlib.sha256(f"num_classes {num_classes}\n".encode())
    for field, array in arrays:
        little_endian = array.astype(array.dtype.newbyteorder("<"), copy=False)
        digest.update(f"{field} {array.dtype.name} {array.shape}\n".encode())
        digest.update(np.ascontiguousarray(little_endian).data)
    return digest.hexdigest()


_Examples = tuple[NDArray[Any], NDArray[np.int64]]


def _examples(part: str, inputs: object, labels: object) -> _Examples:
    x = to_numpy(f"{part}_inputs", inputs)
    y = to_numpy(f"{part}_labels", labels)
    check_inputs(f"{part}_inputs", x)
    check_labels(f"{part}_labels", y, num_examples=len(x))
    return x, y.astype(np.int64)


def _select(examples: _Examples, rows: NDArray[np.int64]) -> tuple[Inputs, Labels]:
    # Indexing copies, so a Dataset never shares memory with the caller's arrays.
    return to_float(examples[0][rows]), examples[1][rows]


def _check_prepared(parts: dict[str, tuple[Inputs, Labels]]) -> None:
    expected = parts["train"][0].shape[1:]
    for part, (inputs, _) in parts.items():
        check_inputs(f"{part}_inputs", inputs)  # again: the conversion to float32 may overflow
        if inputs.shape[1:] != expected:
            raise InputError(
                f"{part}_inputs must have examples of the training shape {expected}, "
                f"got {inputs.shape[1:]}; use one shape throughout"
            )


def _check_final(what: str, array: object, dtype: np.dtype[Any]) -> None:
    if not isinstance(array, np.ndarray) or array.dtype != dtype or not array.flags.c_contiguous:
        raise InputError(
            f"{what} must be a C-contiguous {dtype} array, got "
            f"{getattr(array, 'dtype', type(array).__name__)}; use Dataset.from_arrays"
        )
