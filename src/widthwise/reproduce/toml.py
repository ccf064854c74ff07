"""Specifications as TOML text, which the standard library can read but not write."""

import json
from collections.abc import Mapping
from typing import Any


def dump(fields: Mapping[str, Any]) -> str:
    """Plain values, then tables, then arrays of tables; None is left out.

    >>> print(dump({"title": "a", "grid": [{"seeds": 2}], "data": {"num_train": 8, "path": None}}))
    title = "a"
    <BLANKLINE>
    [data]
    num_train = 8
    <BLANKLINE>
    [[grid]]
    seeds = 2
    """
    plain = {key: value for key, value in fields.items() if not _is_table(value)}
    tables = [(key, value) for key, value in fields.items() if isinstance(value, Mapping)]
    arrays = [
        (key, child)
        for key, value in fields.items()
        if isinstance(value, list) and _is_table(value)
        for child in value
    ]
    parts = [
        _lines(plain),
        *(f"[{key}]\n{_lines(table)}" for key, table in tables),
        *(f"[[{key}]]\n{_lines(table)}" for key, table in arrays),
    ]
    return "\n\n".join(part for part in parts if part)


def _is_table(value: Any) -> bool:
    return isinstance(value, Mapping) or (
        isinstance(value, list) and bool(value) and isinstance(value[0], Mapping)
    )


def _lines(table: Mapping[str, Any]) -> str:
    return "\n".join(
        f"{key} = {_value(value)}" for key, value in table.items() if value is not None
    )


def _value(value: Any) -> str:
    """One value.

    >>> _value([1, 2.5]), _value({"from": 1, "num": 3}), _value(True), _value("ḡ")
    ('[1, 2.5]', '{from = 1, num = 3}', 'true', '"ḡ"')
    """
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key} = {_value(child)}" for key, child in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_value(child) for child in value) + "]"
    return json.dumps(value, ensure_ascii=False)
