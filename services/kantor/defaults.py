"""Defaults of Avro fields, and schemas that differ in nothing that matters to reading.

Avro 1.12, "Complex types": a default of bytes or fixed is written as text, one character (0 to 255) for each byte; that of a union is of
one of its branches. fastavro takes defaults as the JSON that they are, and then can't write them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kantor_schemas import Schema, full_name

_NUMBERS = {"int", "long", "float", "double"}


def raw_defaults(parsed: Any) -> None:
    """Make the defaults of a parsed schema values that can be written: texts of bytes become bytes, records are completed. One that does
    not fit its type stays as it is; who needs it learns that."""
    named: Mapping[str, Any] = parsed.get("__named_schemas", {})
    for record in named.values():
        for field in record.get("fields", ()):
            if "default" in field:
                try:
                    field["default"] = _raw(field["type"], field["default"], named)
                except _UnfitError:
                    continue


class _UnfitError(ValueError):
    pass


def _raw(type_: Any, value: Any, named: Mapping[str, Any]) -> Any:
    if isinstance(type_, list):
        for branch in type_:
            try:
                return _raw(branch, value, named)
            except _UnfitError:
                continue
        raise _UnfitError
    if isinstance(type_, str) and type_ in named:
        type_ = named[type_]
    kind = type_["type"] if isinstance(type_, dict) else type_
    if isinstance(kind, dict | list):
        return _raw(kind, value, named)
    if kind in ("bytes", "fixed"):
        return _bytes(value)
    if kind == "array" and isinstance(value, list):
        return [_raw(type_["items"], item, named) for item in value]
    if kind == "map" and isinstance(value, dict):
        return {key: _raw(type_["values"], item, named) for key, item in value.items()}
    if kind in ("record", "error") and isinstance(value, dict):
        return _record(type_, value, named)
    fits = {
        "null": value is None,
        "boolean": isinstance(value, bool),
        "string": isinstance(value, str),
        "enum": isinstance(value, str),
    }
    if not fits.get(
        kind, kind in _NUMBERS and isinstance(value, int | float) and not isinstance(value, bool)
    ):
        raise _UnfitError
    return value


def _bytes(value: Any) -> bytes:
    if isinstance(value, bytes):
        return value
    if not isinstance(value, str):
        raise _UnfitError
    try:
        return value.encode("latin-1")
    except UnicodeEncodeError as error:
        raise _UnfitError from error


def _record(type_: Any, value: Mapping[str, Any], named: Mapping[str, Any]) -> dict[str, Any]:
    found = {}
    for field in type_["fields"]:
        if field["name"] in value:
            found[field["name"]] = _raw(field["type"], value[field["name"]], named)
        elif "default" in field:
            found[field["name"]] = _raw(field["type"], field["default"], named)
        else:
            raise _UnfitError
    return found


def same_shape(writer: Schema, reader: Schema) -> bool:
    """Whether what is written by ``writer`` reads the same by ``reader``: documentation, defaults and properties of ours may
    differ. False also where nobody can say."""
    if writer is reader:
        return True
    try:
        return full_name(writer) == full_name(reader) and _shape(writer) == _shape(reader)
    except (KeyError, TypeError, AttributeError):
        return False


#: What reading depends on, besides types: of fixed, enum and logical types.
_TELLING = ("size", "symbols", "logicalType", "precision", "scale", "name", "namespace")


def _shape(type_: Any) -> Any:
    if isinstance(type_, str):
        return type_
    if isinstance(type_, list):
        return [_shape(branch) for branch in type_]
    found: list[Any] = [(name, type_[name]) for name in _TELLING if name in type_]
    found += [(part, _shape(type_[part])) for part in ("type", "items", "values") if part in type_]
    if "fields" in type_:
        found.append([(field["name"], _shape(field["type"])) for field in type_["fields"]])
    return found if len(found) > 1 or found[0][0] != "type" else found[0][1]
