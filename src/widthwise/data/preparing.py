"""From examples as they are stored to those that networks are trained and tested on."""

from dataclasses import dataclass
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from widthwise.data.arrays import (
    Inputs,
    Labels,
    RawData,
    check_begins_at_0,
    check_inputs,
    check_labels,
    check_one_unit,
    to_numpy,
)
from widthwise.data.preprocessing import Preprocessing, described, fit_center_scale, to_float
from widthwise.data.splits import hold_out, split_training, stratified_subset
from widthwise.errors import InputError, perhaps

_Examples = tuple[NDArray[Any], NDArray[np.int64]]


@dataclass(frozen=True, kw_only=True, eq=False)
class Prepared:
    """Examples that were chosen and prepared.

    Attributes:
        parts: "train", "test" and perhaps "validation" → inputs and labels.
        num_classes: of the labels.
        preparation: in words, what was done to the inputs and where the test set comes from.
    """

    parts: dict[str, tuple[Inputs, Labels]]
    num_classes: int
    preparation: str


def prepared(
    raw: RawData,
    *,
    num_train: int | None,
    num_test: int | None,
    num_validation: int,
    seed: int,
    preprocessing: Preprocessing,
) -> Prepared:
    """Choose the examples, and prepare them; arguments as of ``Dataset.of``.

    Raises:
        InputError: if anything is malformed; the message names the array.
    """
    if preprocessing not in get_args(Preprocessing):
        raise InputError(
            f"preprocessing must be one of {', '.join(get_args(Preprocessing))}, "
            f"got {preprocessing!r}{perhaps(preprocessing, get_args(Preprocessing))}"
        )
    train, test, held_out = _with_test(raw, num_test, seed)
    own_validation = _own_examples("validation", raw.validation_inputs, raw.validation_labels)
    if own_validation is not None and num_validation:
        raise InputError(
            "num_validation must be 0 when the data bring their own validation set, "
            f"got {num_validation}; leave one of the two out"
        )
    parts = [train, test] if own_validation is None else [train, test, own_validation]
    names = ("train", "test", "validation")
    check_one_unit({name: part[0] for name, part in zip(names, parts, strict=False)})
    classes = max(int(labels.max()) for _, labels in parts) + 1
    if raw.num_classes is None:
        check_begins_at_0({name: part[1] for name, part in zip(names, parts, strict=False)})
    split = split_training(train[1], num_train=num_train, num_validation=num_validation, seed=seed)
    test_rows = stratified_subset(test[1], num_test, seed=seed)
    found: dict[str, tuple[Inputs, Labels]] = {
        "train": _select(train, split.train),
        "test": _select(test, test_rows),
    }
    if own_validation is not None:
        found["validation"] = _select(own_validation, np.arange(len(own_validation[1])))
    elif num_validation:
        found["validation"] = _select(train, split.validation)
    if preprocessing == "center-scale":
        _check_prepared(found)
        transform = fit_center_scale(found["train"][0])
        found = {part: (transform(x), y) for part, (x, y) in found.items()}
    return Prepared(
        parts=found,
        num_classes=classes if raw.num_classes is None else raw.num_classes,
        preparation=described(train[0].dtype, preprocessing) + held_out,
    )


def _examples(part: str, inputs: object, labels: object) -> _Examples:
    x = to_numpy(f"{part}_inputs", inputs)
    y = to_numpy(f"{part}_labels", labels)
    check_inputs(f"{part}_inputs", x)
    check_labels(f"{part}_labels", y, num_examples=len(x))
    return x, y.astype(np.int64)


def _own_examples(part: str, inputs: object | None, labels: object | None) -> _Examples | None:
    if (inputs is None) != (labels is None):
        raise InputError(f"{part} inputs and labels must come together; give both or none")
    return None if inputs is None else _examples(part, inputs, labels)


def _with_test(raw: RawData, num_test: int | None, seed: int) -> tuple[_Examples, _Examples, str]:
    """Training and test examples, and what to say if the latter are held out of the former."""
    train = _examples("train", raw.train_inputs, raw.train_labels)
    test = _own_examples("test", raw.test_inputs, raw.test_labels)
    if test is not None:
        return train, test, ""
    split = hold_out(train[1], num_test, seed=seed)
    held, kept = ((train[0][rows], train[1][rows]) for rows in (split.validation, split.train))
    said = f"; the test set is {len(held[1])} of the {len(train[1])} examples, held out by seed"
    return kept, held, f"{said} {seed}"


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
