"""JSON objects that carry a checksum of their own content."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from widthwise.runs.key import canonical, sha256

_SEAL = "sha256"


class BrokenSealError(ValueError):
    """Bytes that are not what was written; the message says why."""


def seal(fields: Mapping[str, Any], *, indent: int | None = None) -> bytes:
    """The object, with its checksum, in UTF-8.

    >>> seal({"a": 1})[:16]
    b'{"a":1,"sha256":'
    """
    whole = {**fields, _SEAL: sha256(canonical(fields))}
    if indent is None:
        return canonical(whole).encode() + b"\n"
    return json.dumps(whole, indent=indent, ensure_ascii=False).encode() + b"\n"


def unseal(content: bytes) -> dict[str, Any]:
    """The object without its checksum.

    Raises:
        BrokenSealError: if the bytes are no such object, or the checksum is not theirs.

    >>> unseal(seal({"a": 1}))
    {'a': 1}
    """
    try:
        fields = json.loads(content, object_pairs_hook=_once)
        kept = fields.pop(_SEAL)
        found = kept if _is_as_sealed(content, kept) else sha256(canonical(fields))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        said = f"{type(error).__name__}: {error}"
        raise BrokenSealError(f"it is no JSON object with a checksum ({said})") from None
    if kept != found:
        raise BrokenSealError("its content does not match its checksum")
    assert isinstance(fields, dict)
    return fields


def _is_as_sealed(content: bytes, kept: Any) -> bool:
    """Whether these are to the byte what :func:`seal` made, with the checksum as the last entry:
    then nothing need be written out again to see it."""
    if not isinstance(kept, str):
        return False
    body, _, end = content.rpartition(f',"{_SEAL}":'.encode())
    sealed = f'"{kept}"}}\n'.encode()
    return end == sealed and hashlib.sha256(body + b"}").hexdigest() == kept


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A name that stands twice in an object has two meanings."""
    fields = dict(pairs)
    if len(fields) < len(pairs):
        raise ValueError("a name stands twice in an object")
    return fields
