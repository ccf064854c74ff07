"""One run as it lands: a JSON object that names what it is, what was measured, and where.

It says by itself which run it is: the key follows from the fields inside, and a checksum from all
of them.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from widthwise.runs.key import RUN_FIELDS, Group, Run, canonical
from widthwise.runs.schema import MEASURED_SCHEMA, PROVENANCE
from widthwise.runs.sealed import BrokenSealError, seal, unseal

_FORMAT = "widthwise-run-1"


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
            group=Group(**fields["group"]),
            run=Run(**fields["run"]),
            measured=_all_of(fields["measured"], MEASURED_SCHEMA),
            provenance=_all_of(fields["provenance"], PROVENANCE),
        )
        found = landing.key
    except BrokenSealError:
        raise
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        said = f"{type(error).__name__}: {error}"
        raise BrokenSealError(f"it is no landing of a run ({said})") from None
    if found != key:
        raise BrokenSealError(f"it holds the run {found}")
    return landing


def _all_of(given: Any, schema: Mapping[str, Any]) -> dict[str, Any]:
    if set(given) != set(schema):
        odd = sorted(set(given) ^ set(schema))[0]
        raise BrokenSealError(f"its columns are others ({odd!r})")
    return dict(given)


def _plain(value: Any) -> Any:
    """NaN is null; arrays are lists."""
    if isinstance(value, float):
        return None if math.isnan(value) else value
    if isinstance(value, list):
        return [_plain(v) for v in value]
    return value
