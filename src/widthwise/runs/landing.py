"""One run as it lands: a JSON object that names what it is, what was measured, and where.

It says by itself which run it is: the key follows from the fields inside, and a checksum from all
of them.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from types import NoneType
from typing import Any

import polars as pl

from widthwise.runs.key import RUN_FIELDS, Group, Run, canonical, recipe_of, sha256
from widthwise.runs.schema import MEASURED, MEASURED_SCHEMA, PROVENANCE, RUN_SCHEMA
from widthwise.runs.sealed import BrokenSealError, seal, unseal
from widthwise.sgd.evaluations import EVALUATED

_FORMAT = "widthwise-run-1"
# JSON writes a float that is whole as one, and Python reads it so; true is no number.
_KINDS: dict[Any, tuple[type, ...]] = {
    pl.String: (str,),
    pl.Int64: (int,),
    pl.Float64: (float, int),
}
_ENTRIES = {kind: {*known, NoneType} for kind, known in _KINDS.items()}
_LARGEST = 2**63
# What differs between two trainings of one run, if anything does.
_OUTCOME = (
    "status",
    "diverged_at_step",
    "initial_train_loss",
    "final_train_loss",
    "curve_step",
    *(f"curve_{name}" for name in MEASURED),
)
_MAY_BE_ABSENT = (
    "diverged_at_step",
    "initial_train_loss",
    "final_train_loss",
    *(f"curve_{name}" for name in MEASURED),
)


@dataclass(frozen=True, kw_only=True)
class Landing:
    """One run with its result.

    Attributes:
        group: what it shares with others.
        run: its hyper-parameters.
        measured: column of :data:`widthwise.runs.schema.MEASURED_SCHEMA` → value.
        provenance: column of :data:`widthwise.runs.schema.PROVENANCE` → value.
    """

    group: Group
    run: Run
    measured: Mapping[str, Any]
    provenance: Mapping[str, Any]

    @property
    def key(self) -> str:
        return self.group.key(self.run)

    def encode(self) -> bytes:
        """The bytes that land under its key."""
        return seal(
            {
                "format": _FORMAT,
                "group": self.group.fields(),
                "run": {name: getattr(self.run, name) for name in RUN_FIELDS},
                "measured": {name: _plain(self.measured[name]) for name in MEASURED_SCHEMA},
                "provenance": {name: self.provenance[name] for name in PROVENANCE},
            }
        )

    def row(self) -> dict[str, Any]:
        """Of :data:`widthwise.runs.schema.LANDED_SCHEMA`."""
        return {
            "key": self.key,
            "group": canonical(self.group.fields()),
            **{name: getattr(self.run, name) for name in RUN_FIELDS},
            **{name: self.measured[name] for name in MEASURED_SCHEMA},
            **{name: self.provenance[name] for name in PROVENANCE},
        }


def digest_of(measured: Mapping[str, Any]) -> str:
    """Tells what was measured of one training of a run from every other: 16 hexadecimal digits.

    Args:
        measured: columns of :data:`widthwise.runs.schema.MEASURED_SCHEMA`, or a row of the results
            with curves.
    """
    return sha256(canonical({name: _plain(measured[name]) for name in _OUTCOME}))[:16]


def decode(content: bytes, key: str) -> Landing:
    """The run that lies in these bytes.

    Args:
        content: of a landing object.
        key: that its name promises.

    Raises:
        BrokenSealError: if they are not that run, whole and once.
    """
    fields = unseal(content)
    try:
        if fields["format"] != _FORMAT:
            raise BrokenSealError(f"its format is {fields['format']!r}, not {_FORMAT!r}")
        landing = Landing(
            group=group_of(canonical(fields["group"])),
            run=Run(**_run(fields["run"])),
            measured=_measured(fields["measured"]),
            provenance=_all_of(fields["provenance"], PROVENANCE, absent=tuple(PROVENANCE)),
        )
        found = landing.key
    except BrokenSealError:
        raise
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError) as error:
        said = f"{type(error).__name__}: {error}"
        raise BrokenSealError(f"it is no landing of a run ({said})") from None
    if found != key:
        raise BrokenSealError(f"it holds the run {found}")
    return landing


@lru_cache(maxsize=64)  # runs of a group say the same, and there are many of them
def group_of(text: str) -> Group:
    """What runs share, from its JSON.

    Raises:
        BrokenSealError: if it is none.
    """
    try:
        group = Group(**json.loads(text))
        sound = (
            type(group.arithmetic) is type(group.evaluations) is int
            and type(group.data) is type(group.sampling) is str
            and type(group.family["parameterization"]) is str
        )
        recipe_of(group.recipe)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise BrokenSealError(f"what it shares with others is none ({error})") from None
    if not sound:
        raise BrokenSealError("what it shares with others has values of other types")
    return group


def _run(given: Any) -> dict[str, Any]:
    fields = _all_of(given, RUN_SCHEMA)
    if not (
        all(math.isfinite(value) for value in fields.values())
        and min(fields["widening_factor"], fields["learning_rate"]) > 0
        and min(fields["batch_size"], fields["steps"]) >= 1
        and 0 <= fields["momentum"] < 1
    ):
        raise BrokenSealError("its hyper-parameters are out of range")
    return fields


def _measured(given: Any) -> dict[str, Any]:
    fields = _all_of(given, MEASURED_SCHEMA, absent=_MAY_BE_ABSENT)
    steps = fields["curve_step"]
    if steps != sorted(set(steps)) or min(steps, default=0) < 0:
        raise BrokenSealError("its steps do not rise")
    length = len(steps)
    curves = [fields[f"curve_{name}"] for name in MEASURED]
    if any(curve is not None and len(curve) != length for curve in curves):
        raise BrokenSealError("its curves are of different lengths")
    sound = fields["status"] == "ok"
    if fields["status"] not in ("ok", "diverged") or (fields["diverged_at_step"] is None) != sound:
        raise BrokenSealError(f"its status is {fields['status']!r}")
    if sound and not (length and all(fields[f"curve_{name}"] for name in EVALUATED)):
        raise BrokenSealError("it was never evaluated")
    if not (0 < fields["init_variance"] < math.inf and fields["num_train"] >= 1):
        raise BrokenSealError("what was measured is out of range")
    return fields


def _all_of(given: Any, schema: Mapping[str, Any], *, absent: Sequence[str] = ()) -> dict[str, Any]:
    """Values of exactly these columns; those of `absent` may be null."""
    if set(given) != set(schema):
        odd = sorted(set(given) ^ set(schema))[0]
        raise BrokenSealError(f"its columns are others ({odd!r})")
    return {
        name: None if given[name] is None and name in absent else _typed(name, given[name], kind)
        for name, kind in schema.items()
    }


def _typed(name: str, value: Any, kind: Any) -> Any:
    if isinstance(kind, pl.List):
        inner = kind.inner
        sound = type(value) is list and _ENTRIES[inner].issuperset(map(type, value))
        values = value if sound else [None]
    else:
        inner, values, sound = kind, [value], type(value) in _KINDS[kind]
    if not (sound and all(type(v) is not int or abs(v) < _LARGEST for v in values)):
        raise BrokenSealError(f"its {name!r} is of another type")
    if inner == pl.Float64 and int in map(type, values):
        values = [None if v is None else float(v) for v in values]
    return values if isinstance(kind, pl.List) else values[0]


def _plain(value: Any) -> Any:
    """NaN is null; arrays are lists."""
    if isinstance(value, float):
        return None if math.isnan(value) else value
    if isinstance(value, list):
        return [_plain(v) for v in value]
    return value
