"""The one in-memory form that every data set takes."""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from widthwise.data.arrays import (
    Inputs,
    Labels,
    RawData,
    check_inputs,
    check_label_range,
    check_labels,
    check_num_classes,
    to_numpy,
    with_channel_axis,
)
from widthwise.data.given import read_given
from widthwise.data.preparing import prepared
from widthwise.data.preprocessing import Preprocessing
from widthwise.data.readers.npz import open_npz, whole_number
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
    types, and `of` for those of other kinds.

    Attributes:
        preparation: in words, what was done to the inputs and where the test set comes from; ""
            if that is not known. No part of the fingerprint.
    """

    name: str
    num_classes: int
    train_inputs: Inputs
    train_labels: Labels
    test_inputs: Inputs
    test_labels: Labels
    validation_inputs: Inputs | None = None
    validation_labels: Labels | None = None
    preparation: str = ""

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
        raw = RawData(
            train_inputs=to_numpy("train_inputs", train_inputs),
            train_labels=to_numpy("train_labels", train_labels),
            test_inputs=to_numpy("test_inputs", test_inputs),
            test_labels=to_numpy("test_labels", test_labels),
            validation_inputs=_optional("validation_inputs", validation_inputs),
            validation_labels=_optional("validation_labels", validation_labels),
            num_classes=num_classes,
        )
        return cls.of_raw(
            raw,
            name=name,
            num_train=num_train,
            num_test=num_test,
            num_validation=num_validation,
            seed=seed,
            preprocessing=preprocessing,
        )

    @classmethod
    def of(
        cls,
        data: Any,
        *,
        name: str | None = None,
        num_train: int | None = None,
        num_test: int | None = None,
        num_validation: int = 0,
        seed: int = 0,
        preprocessing: Preprocessing = "center-scale",
    ) -> Self:
        """Build a data set from what other tools call one.

        Args:
            data: (train, test), or a mapping with "train", "test" and perhaps "validation", as a
                DatasetDict of Hugging Face is. Each is a map-style data set of PyTorch whose items
                are (input, label), a data set of Hugging Face with a column of images or arrays and
                one of labels, or (inputs, labels) of arrays or tensors. One of them alone has a
                test set held out of it. Or a path: a folder of images, a folder a class, perhaps
                beneath train and test; what ``save_to_disk`` of Hugging Face wrote; an .npz file.
                Images are read as unsigned bytes, channels first.
            name: what to call it in reports; None takes the name of the class, folder or file.
            num_train: as for :meth:`from_arrays`, like the other arguments.
            num_test: of a test set that is held out, its size; None takes a fifth.
            num_validation: as there.
            seed: decides the subsets and which examples are held out.
            preprocessing: as there.

        Raises:
            InputError: if the data are no such thing, differ from one reading to the next as under
                random augmentation, have no labels, or would not fit in memory.
            DataNotFoundError: if there is no such path, or a package that reads it is missing.

        >>> import torch
        >>> from torch.utils.data import TensorDataset
        >>> images, labels = torch.rand(20, 3, 8, 8), torch.arange(20) % 2
        >>> Dataset.of(TensorDataset(images, labels))
        Dataset('TensorDataset', input_shape=(3, 8, 8), num_classes=2, num_train=16, num_test=4,
                num_validation=0)
        """
        found, raw = read_given(data)
        return cls.of_raw(
            raw,
            name=found if name is None else name,
            num_train=num_train,
            num_test=num_test,
            num_validation=num_validation,
            seed=seed,
            preprocessing=preprocessing,
        )

    @classmethod
    def of_raw(
        cls,
        raw: RawData,
        *,
        name: str,
        num_train: int | None,
        num_test: int | None,
        num_validation: int,
        seed: int,
        preprocessing: Preprocessing,
    ) -> Self:
        """Choose the examples and prepare them; arguments and errors as of :meth:`of`."""
        ready = prepared(
            raw,
            num_train=num_train,
            num_test=num_test,
            num_validation=num_validation,
            seed=seed,
            preprocessing=preprocessing,
        )
        validation = ready.parts.get("validation", (None, None))
        return cls(
            name=name,
            num_classes=ready.num_classes,
            train_inputs=ready.parts["train"][0],
            train_labels=ready.parts["train"][1],
            test_inputs=ready.parts["test"][0],
            test_labels=ready.parts["test"][1],
            validation_inputs=validation[0],
            validation_labels=validation[1],
            preparation=ready.preparation,
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
            "preparation": np.array(self.preparation),
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
            said = str(content.pop("preparation", ""))
            dataset = cls(name=name, num_classes=num_classes, preparation=said, **content)
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


def _optional(what: str, array: object | None) -> NDArray[Any] | None:
    return None if array is None else to_numpy(what, array)


def _check_final(what: str, array: object, dtype: np.dtype[Any]) -> None:
    if not isinstance(array, np.ndarray) or array.dtype != dtype or not array.flags.c_contiguous:
        raise InputError(
            f"{what} must be a C-contiguous {dtype} array, got "
            f"{getattr(array, 'dtype', type(array).__name__)}; use Dataset.from_arrays"
        )
