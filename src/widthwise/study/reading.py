"""Reading a specification: files, overrides, and one clear line about what is wrong."""

import copy
import difflib
import json
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from widthwise.errors import InputError


def read_fields(source: Any) -> dict[str, Any]:
    """The fields of a dict, or of the TOML or JSON file at a path.

    Raises:
        InputError: if the file cannot be read or parsed.
    """
    if isinstance(source, Mapping):
        # Not deepcopy: a family may be a function, and values are never changed in place.
        return dict(source)
    path = Path(source)
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(f"the specification {path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise InputError(f"the specification {path} is not UTF-8 text: {error}") from None
    try:
        fields = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
    except ValueError as error:
        raise InputError(f"the specification {path} cannot be parsed: {error}") from None
    if not isinstance(fields, dict):
        raise InputError(f"the specification {path} must be a table of keys, got {fields!r}")
    return fields


def with_whole_path(fields: dict[str, Any], source: Any) -> dict[str, Any]:
    """A family "file.py:function" is sought beside the specification, then kept by its full path,
    so that workers and later sessions find it wherever they stand."""
    family = fields.get("family")
    if not isinstance(family, Mapping):
        return fields
    kind = family.get("kind")
    if not isinstance(kind, str) or ".py:" not in kind:
        return fields
    file, _, function = kind.rpartition(":")
    beside = Path(source).parent if isinstance(source, str | Path) else Path()
    whole = f"{(beside / Path(file).expanduser()).resolve()}:{function}"
    return {**fields, "family": {**family, "kind": whole}}


def override_fields(fields: dict[str, Any], override: str) -> dict[str, Any]:
    """``grid.seeds=3``; the value is TOML, or a bare word taken as text."""
    key, separator, text = override.partition("=")
    if not separator or not key.strip():
        raise InputError(f"an override is written key=value, got {override!r}")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text.strip()
    result = copy.copy(fields)
    node: Any = result
    *parents, last = key.strip().split(".")
    for parent in parents:
        child = node.get(parent, {})
        if isinstance(child, list | tuple) and len(child) == 1:
            child = child[0]
        if isinstance(child, str) and parent == "family":
            child = {"kind": child}
        if not isinstance(child, Mapping):
            raise InputError(
                f"the override {override!r} needs {parent!r} to be one table, got {child!r}; "
                "edit the file instead"
            )
        node[parent] = dict(child)
        node = node[parent]
    node[last] = value
    return result


def explain(error: ValidationError, model: type[BaseModel]) -> str:
    """The first thing that is wrong, in one line."""
    first = error.errors(include_url=False)[0]
    where = ".".join(str(part) for part in first["loc"])
    message = first["msg"].removeprefix("Value error, ")
    if first["type"] == "extra_forbidden":
        known = _known_keys(model, first["loc"][:-1])
        close = difflib.get_close_matches(str(first["loc"][-1]), known, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"known keys: {', '.join(known)}"
        return f"unknown key {where!r} in the specification; {hint}"
    if first["type"] == "missing":
        return f"the specification needs {where!r}"
    if first["type"] == "value_error":
        return f"{where}: {message}" if where else message
    return f"{where}: {message[0].lower()}{message[1:]}, got {first['input']!r}"


def _known_keys(model: type[BaseModel], location: Iterable[Any]) -> list[str]:
    for part in location:
        if isinstance(part, int):
            continue
        annotation: Any = model.model_fields[str(part)].annotation
        arguments = [a for a in getattr(annotation, "__args__", ()) if isinstance(a, type)]
        candidates = [annotation, *arguments]
        model = next(c for c in candidates if isinstance(c, type) and issubclass(c, BaseModel))
    return list(model.model_fields)
