"""Plain values are what JSON can hold, with every number that it can hold."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from widthwise.text import plain


@dataclasses.dataclass(frozen=True)
class Inner:
    ends: tuple[float, float]
    draws: tuple[float, ...] = ()


@dataclasses.dataclass(frozen=True)
class Outer:
    inner: Inner
    path: Path
    draws: np.ndarray


OUTER = Outer(Inner((0.5, float("inf")), (1.0,)), Path("a/b"), np.array([[1, 2]]))


def test_dataclasses_tuples_arrays_and_paths():
    assert plain(OUTER) == {
        "inner": {"ends": [0.5, None], "draws": [1.0]},
        "path": "a/b",
        "draws": [[1, 2]],
    }
    assert plain({"rows": [OUTER]})["rows"] == [plain(OUTER)]


def test_only_the_fields_of_the_value_itself_are_left_out():
    assert plain(OUTER, without=["draws"])["inner"]["draws"] == [1.0]
    assert "draws" not in plain(OUTER, without=["draws"])


def test_infinite_numbers_stay_where_asked():
    assert plain(OUTER, infinite=True)["inner"]["ends"] == [0.5, float("inf")]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (np.float64(2.0), 2.0),
        (np.float32("nan"), None),
        (np.int64(3), 3),
        (np.array([1.0, np.inf]), [1.0, None]),
        (np.bool_(True), True),
        (True, True),
        (None, None),
        ("text", "text"),
        ({1: {"a": float("-inf")}}, {"1": {"a": None}}),
    ],
)
def test_json_reads_back_what_was_written(value, expected):
    found = plain(value)
    assert found == expected
    assert type(found) is type(expected)
    assert json.loads(json.dumps(found, allow_nan=False)) == expected
