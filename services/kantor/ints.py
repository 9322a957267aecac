"""Avro's ``int`` has 32 bits (Avro 1.12, "Primitive types"); Python's has none."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

#: Raises ``OverflowError`` for a value that does not fit.
Check = Callable[[Any], None]


def int_check(schema: Any) -> Check | None:
    """What raises ``OverflowError`` for an Avro ``int`` beyond 32 bits; None if the schema has none.

    fastavro writes any Python int there, and readers in other languages then fail. Looked into: records, arrays, maps and
    optional ones of these; not: unions of several, and named types by name.
    """
    if isinstance(schema, list):
        branches = [branch for branch in schema if branch != "null"]
        check = int_check(branches[0]) if len(branches) == 1 else None
        return _optional(check) if check else None
    kind = schema.get("type") if isinstance(schema, dict) else schema
    if isinstance(kind, dict | list):
        return int_check(kind)
    if kind == "int":
        return None if isinstance(schema, dict) and "logicalType" in schema else _check_int
    if kind == "record":
        checks = [(f["name"], check) for f in schema["fields"] if (check := int_check(f["type"]))]
        return _each_field(checks) if checks else None
    if kind in ("array", "map"):
        check = int_check(schema["items" if kind == "array" else "values"])
        return _each_item(check, kind == "map") if check else None
    return None


def _optional(check: Check) -> Check:
    return lambda value: None if value is None else check(value)


def _each_field(checks: list[tuple[str, Check]]) -> Check:
    def check_fields(value: Any) -> None:
        for name, check in checks:
            if name in value:
                check(value[name])

    return check_fields


def _each_item(check: Check, is_map: bool) -> Check:
    def check_items(value: Any) -> None:
        for item in value.values() if is_map else value:
            check(item)

    return check_items


def _check_int(value: Any) -> None:
    if type(value) is int and not -0x8000_0000 <= value <= 0x7FFF_FFFF:
        raise OverflowError(f"{value} does not fit an int, which has 32 bits; make the field a long")
