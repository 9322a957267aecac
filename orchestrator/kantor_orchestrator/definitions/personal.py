"""Personal data: which fields a schema tags (``confluent:tags: ["PII"]``), and values without them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from kantor_orchestrator.core.saga import MASK
from kantor_schemas import Schema

__all__ = ["MASK", "has_personal_data", "masked", "personal_names"]

#: The property of a field, or of a type, that lists its tags; and the tag.
TAGS, PERSONAL = "confluent:tags", "PII"


def masked(value: Any, schema: Schema) -> tuple[Any, bool]:
    """``value`` (JSON, written with ``schema``) with tagged fields masked; and whether there was nothing to mask."""
    names: dict[str, Any] = {}
    _learn(schema, names, "")
    clean = not has_personal_data(schema)
    return (value if clean else _masked(value, schema, names)), clean


def has_personal_data(schema: Any) -> bool:
    """Whether anything in a schema is tagged."""
    if isinstance(schema, Mapping):
        return _is_tagged(schema) or any(
            has_personal_data(part)
            for name, part in schema.items()
            if name in ("type", "fields", "items", "values")
        )
    return isinstance(schema, list) and any(has_personal_data(part) for part in schema)


def personal_names(schemas: Iterable[Schema]) -> frozenset[str]:
    """Names of the top-level fields that are personal data in any of these: captured fields keep their names."""
    return frozenset(
        field["name"] for schema in schemas for field in schema.get("fields", ()) if has_personal_data(field)
    )


def _is_tagged(schema: Mapping[str, Any]) -> bool:
    tags = schema.get(TAGS)
    return isinstance(tags, list) and PERSONAL in tags


def _learn(schema: Any, names: dict[str, Any], space: str) -> None:
    """Named types, which may be used by name further on."""
    if isinstance(schema, list):
        for part in schema:
            _learn(part, names, space)
    elif isinstance(schema, Mapping):
        inner = space
        if schema.get("type") in ("record", "enum", "fixed", "error"):
            name = str(schema.get("name", ""))
            inner = name.rpartition(".")[0] if "." in name else str(schema.get("namespace", space))
            names[name if "." in name or not inner else f"{inner}.{name}"] = schema
            names.setdefault(name.rpartition(".")[2], schema)
        for part in ("type", "items", "values"):
            if isinstance(schema.get(part), list | Mapping):
                _learn(schema[part], names, inner)
        for field in schema.get("fields", ()):
            _learn(field, names, inner)


def _masked(value: Any, schema: Any, names: Mapping[str, Any]) -> Any:
    if value is None:
        return None
    if isinstance(schema, str):
        named = names.get(schema)
        return value if named is None else _masked(value, named, names)
    if isinstance(schema, list):
        return _in_union(value, schema, names)
    if _is_tagged(schema):
        return MASK
    kind = schema.get("type")
    if isinstance(kind, list | Mapping):
        return _masked(value, kind, names)
    if kind in ("record", "error") and isinstance(value, Mapping):
        fields = {field["name"]: field for field in schema["fields"]}
        return {
            name: _of_field(part, fields[name], names) if name in fields else part
            for name, part in value.items()
        }
    if kind == "array" and isinstance(value, list):
        return [_masked(part, schema["items"], names) for part in value]
    if kind == "map" and isinstance(value, Mapping):
        return {name: _masked(part, schema["values"], names) for name, part in value.items()}
    return value if kind not in names else _masked(value, names[kind], names)


def _of_field(value: Any, field: Mapping[str, Any], names: Mapping[str, Any]) -> Any:
    return MASK if _is_tagged(field) else _masked(value, field["type"], names)


def _in_union(value: Any, branches: list[Any], names: Mapping[str, Any]) -> Any:
    """The value does not say which branch it is of: where several could be, what any of them tags is masked."""
    resolved = [names.get(b, b) if isinstance(b, str) else b for b in branches]
    shapes = [b for b in resolved if not isinstance(b, str)]
    if isinstance(value, Mapping | list):
        for branch in shapes:
            value = _masked(value, branch, names)
        return value
    return MASK if any(_is_tagged(b) for b in shapes) else value
