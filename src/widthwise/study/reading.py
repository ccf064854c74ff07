"""Reading a specification: files, overrides, and one clear line about what is wrong."""

import copy
import difflib
import json
import re
import sys
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from widthwise.errors import InputError, perhaps
from widthwise.mistaken import mistaken_for
from widthwise.runs.address import Address, is_address
from widthwise.text import listing

# Lists of a hundred thousand seeds are a megabyte.
_LARGEST_FILE = 100 * 10**6
_LONGEST_SHOWN = 120


def shown(value: Any) -> str:
    """A value in a message: as it is written in Python, and not longer than a line.

    >>> shown(True), len(shown("x" * 10**6)), shown(10**5000)
    ('True', 120, 'a number of more than 4300 digits')
    """
    try:
        text = repr(value)
    except RecursionError:
        return "something nested too deep"
    except ValueError:
        return f"a number of more than {sys.get_int_max_str_digits()} digits"
    return text if len(text) <= _LONGEST_SHOWN else f"{text[: _LONGEST_SHOWN - 1]}…"


def read_fields(source: Any, what: str = "the specification") -> dict[str, Any]:
    """The fields of a dict, or of the TOML or JSON file at a path.

    Args:
        source: the dict or the path.
        what: what messages call it.

    Raises:
        InputError: if the file cannot be read or parsed.
    """
    if isinstance(source, Mapping):
        # Not deepcopy: a family may be a function, and values are never changed in place.
        return dict(source)
    path = Path(source)
    other = mistaken_for("specification", path)
    if other is not None:
        raise InputError(f"{what} must be a TOML or JSON file, got {path}, {other}")
    try:
        with path.open("rb") as file:
            content = file.read(_LARGEST_FILE + 1)
        text = content.decode("utf-8-sig")  # Windows writes a byte order mark
    except OSError as error:
        raise InputError(f"{what} {path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{what} {path} is not UTF-8 text: {error}") from None
    except ValueError as error:  # a null character in the path
        raise InputError(f"{what} {str(path)!r} cannot be read: {error}") from None
    if len(content) > _LARGEST_FILE:
        raise InputError(
            f"{what} {path} must be at most {_LARGEST_FILE // 10**6} MB, got more; is it one?"
        )
    try:
        fields = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
    except RecursionError:
        raise InputError(
            f"{what} {path} cannot be parsed: its arrays or tables are nested too deep"
        ) from None
    except ValueError as error:
        raise InputError(f"{what} {path} cannot be parsed: {error}") from None
    if not isinstance(fields, dict):
        raise InputError(f"{what} {path} must be a table of keys, got {shown(fields)}")
    return fields


def with_whole_paths(fields: dict[str, Any], source: Any) -> dict[str, Any]:
    """Every path of a specification, whole: those in a file are sought beside the file, others from
    where the program runs; then workers and later sessions find them wherever they stand.

    These are a family "file.py:function", the path of data, and a store.

    Raises:
        InputError: if one cannot be a path.
    """
    beside = Path(source).parent if isinstance(source, str | Path) else Path()
    return with_paths(fields, lambda path: (beside / Path(path).expanduser()).resolve())


def with_paths(fields: dict[str, Any], change: Callable[[str], object]) -> dict[str, Any]:
    """A specification with other paths.

    Args:
        fields: of the specification; those that hold no path, and what is no text, stay. So does
            the address of an object store.
        change: path as it is written → as it is to be.

    Raises:
        InputError: if a path is none.
    """

    def changed(key: str, path: str) -> str:
        try:
            return str(change(path))
        except (OSError, RuntimeError, ValueError) as error:  # no home, a null character, a loop
            raise InputError(f"{key} {path!r} must name a file: {error}") from None

    result = dict(fields)
    family, data, store = (fields.get(key) for key in ("family", "data", "store"))
    if isinstance(family, Mapping) and _names_file(family.get("kind")):
        file, _, function = family["kind"].rpartition(":")
        kind = f"{changed('family.kind', file)}:{function}"
        result["family"] = {**family, "kind": kind}
    if isinstance(data, Mapping) and isinstance(data.get("path"), str):
        result["data"] = {**data, "path": changed("data.path", data["path"])}
    if isinstance(store, str):
        is_path = not is_address(store)
        result["store"] = changed("store", store) if is_path else str(Address.parse(store))
    return result


def _names_file(kind: Any) -> bool:
    return isinstance(kind, str) and ".py:" in kind


def override_fields(fields: dict[str, Any], override: str) -> dict[str, Any]:
    """``grid.seeds=3``; the value is TOML, or a bare word taken as text."""
    key, separator, text = override.partition("=")
    if not separator or not key.strip():
        raise InputError(f"an override is written key=value, got {override!r}")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text.strip()
    except RecursionError:
        raise InputError(f"the override {shown(override)} is nested too deep") from None
    except ValueError as error:  # more digits than Python reads
        raise InputError(f"the override {shown(override)} cannot be parsed: {error}") from None
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
                f"the override {override!r} needs {parent!r} to be one table, got {shown(child)}; "
                "edit the file instead"
            )
        node[parent] = dict(child)
        node = node[parent]
    node[last] = value
    return result


def explain(error: ValidationError, model: type[BaseModel], what: str = "the specification") -> str:
    """The first thing that is wrong, in one line.

    Args:
        error: what pydantic found.
        model: that was to be read.
        what: what messages call its source.
    """
    found = error.errors(include_url=False)
    first = found[0]
    where = ".".join(str(part) for part in first["loc"])
    message = first["msg"].removeprefix("Value error, ")
    if first["type"] == "extra_forbidden":
        known = _known_keys(model, first["loc"][:-1])
        close = difflib.get_close_matches(str(first["loc"][-1]), known, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"known keys: {', '.join(known)}"
        return f"unknown key {where!r} in {what}; {hint}"
    if first["type"] == "missing":
        return _needed(what, [one["loc"] for one in found if one["type"] == "missing"])
    if first["type"] == "value_error":
        return f"{where}: {message}" if where else message
    if first["type"] == "tuple_type":  # the grid's: a number alone has become a list
        return f"{where}: must be a number or a list of numbers, got {shown(first['input'])}"
    near = ""
    if first["type"] == "literal_error":
        near = perhaps(first["input"], re.findall("'([^']+)'", first["ctx"]["expected"]))
    return f"{where}: {message[0].lower()}{message[1:]}, got {shown(first['input'])}{near}"


# Table → what it must have, as one would write it.
_SMALLEST = {
    "grid": (
        "widening_factor = [1, 2, 4], and learning_rate = 0.1 with batch_size = [2, 8, 32], or "
        "normalized_noise_scale"
    ),
    "training": "one of steps = 5000, epochs = 100 and physical_time = 500",
}


def _needed(what: str, missing: Iterable[tuple[Any, ...]]) -> str:
    """What a specification lacks and, of its tables, what each must have.

    >>> _needed("the specification", [("training",)])
    "the specification needs 'training': [training] with one of steps = 5000, epochs = 100 and
    physical_time = 500"
    """
    # A place in a list, as of one grid among several, is none in the file.
    keys = [".".join(str(part) for part in place if isinstance(part, str)) for place in missing]
    written = "; ".join(f"[{key}] with {_SMALLEST[key]}" for key in keys if key in _SMALLEST)
    return f"{what} needs {listing([repr(key) for key in keys])}{written and f': {written}'}"


def refuse_truth_values(fields: Mapping[str, Any], model: type[BaseModel]) -> None:
    """`true` is no number, although Python counts with it.

    Raises:
        InputError: naming the first key that is true or false and should not be.
    """
    for where, key, value, owner in _entries(fields, model, ""):
        truths = [v for v in _within(value) if isinstance(v, bool)]
        annotation = str(owner.model_fields[key].annotation)
        if truths and "bool" not in annotation:
            kind = "a number" if re.search("int|float", annotation) else "of another kind"
            raise InputError(f"{where} must be {kind}, got {str(truths[0]).lower()}")


def _entries(
    fields: Mapping[str, Any], model: type[BaseModel], prefix: str
) -> Iterator[tuple[str, str, Any, type[BaseModel]]]:
    """Known keys, with the table they belong to: (whole key, key, value, model of the table)."""
    for key, value in fields.items():
        if key not in model.model_fields:
            continue
        where, table = f"{prefix}{key}", _table(model, key)
        if table is None:
            yield where, key, value, model
            continue
        for child in value if isinstance(value, list | tuple) else [value]:
            if isinstance(child, Mapping):
                yield from _entries(child, table, f"{where}.")
            else:
                yield where, key, child, model


def _within(value: Any) -> Iterable[Any]:
    """The value, or what a list or a range holds."""
    if isinstance(value, Mapping):
        return value.values()
    return value if isinstance(value, list | tuple) else (value,)


def _table(model: type[BaseModel], key: str) -> type[BaseModel] | None:
    """The model of a key that is a table, or a list of them."""
    annotation: Any = model.model_fields[key].annotation
    candidates = [annotation, *getattr(annotation, "__args__", ())]
    tables = (c for c in candidates if isinstance(c, type) and issubclass(c, BaseModel))
    return next(tables, None)


def _known_keys(model: type[BaseModel], location: Iterable[Any]) -> list[str]:
    for part in location:
        if isinstance(part, int):
            continue
        table = _table(model, str(part))
        assert table is not None  # only tables have keys
        model = table
    return list(model.model_fields)
