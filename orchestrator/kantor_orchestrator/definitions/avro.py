"""Whether a value that one Avro schema describes can be written with another (Avro 1.12, "Schema Resolution").

Stricter than Avro where a Python value passes from the one to the other: a logical type must stay what it is, because
its values are no plain numbers or texts any more.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

#: Types that a value of the first may be written as, besides its own.
_PROMOTIONS = {
    "int": {"long", "float", "double"},
    "long": {"float", "double"},
    "float": {"double"},
    "enum": {"string"},
}
_INT, _LONG = (-(2**31), 2**31 - 1), (-(2**63), 2**63 - 1)

Names = dict[str, Any]


def expand(schema: Any, names: Names | None = None, namespace: str = "") -> Any:
    """A copy of a type in which every name is replaced by what it names (recursive types become cyclic)."""
    names = {} if names is None else names
    if isinstance(schema, str):
        return names.get(schema, names.get(f"{namespace}.{schema}", {"type": schema}))
    if isinstance(schema, list):
        return [expand(branch, names, namespace) for branch in schema]
    kind = schema["type"]
    if not isinstance(kind, str):  # {"type": {"type": "string", ...}}
        return expand(kind, names, namespace)
    found = dict(schema)
    if kind in ("record", "enum", "fixed"):
        name: str = schema["name"]
        namespace = name.rpartition(".")[0] or schema.get("namespace", namespace)
        names[f"{namespace}.{name.rpartition('.')[2]}" if namespace else name] = found
    if kind == "record":
        found["fields"] = [f | {"type": expand(f["type"], names, namespace)} for f in schema["fields"]]
    elif kind == "array":
        found["items"] = expand(schema["items"], names, namespace)
    elif kind == "map":
        found["values"] = expand(schema["values"], names, namespace)
    elif kind in names or f"{namespace}.{kind}" in names:  # {"type": "Money"}
        return expand(kind, names, namespace)
    return found


def record(name: str, fields: Mapping[str, Any]) -> dict[str, Any]:
    """A record of fields of these (expanded) types."""
    return {"type": "record", "name": name, "fields": [{"name": n, "type": t} for n, t in fields.items()]}


def field_type(schema: dict[str, Any], field: str) -> Any:
    """The expanded type of a record's field."""
    return next(f["type"] for f in expand(schema)["fields"] if f["name"] == field)


def is_decimal(type_: Any) -> bool:
    """Whether a field of this type takes decimals, or null, and nothing else."""
    branches = [one for one in (type_ if isinstance(type_, list) else [type_]) if one["type"] != "null"]
    return bool(branches) and all(one.get("logicalType") == "decimal" for one in branches)


def fits(source: Any, target: Any, _seen: frozenset[tuple[int, int]] = frozenset()) -> bool:
    """Whether every value of ``source`` can be written as ``target``; both expanded."""
    if source is None or (id(source), id(target)) in _seen:  # None: not known before a transaction runs
        return True
    seen = _seen | {(id(source), id(target))}
    if isinstance(source, list):
        return all(fits(branch, target, seen) for branch in source)
    if isinstance(target, list):
        return any(fits(source, branch, seen) for branch in target)
    one, other = source["type"], target["type"]
    if _logical(source) != _logical(target):
        return False
    if one != other:
        return other in _PROMOTIONS.get(one, ())
    if one == "array":
        return fits(source["items"], target["items"], seen)
    if one == "map":
        return fits(source["values"], target["values"], seen)
    if one == "fixed":
        return bool(source["size"] == target["size"])
    if one == "enum":
        return set(source["symbols"]) <= set(target["symbols"])
    if one == "record":
        has = {f["name"]: f["type"] for f in source["fields"]}
        return all(
            fits(has[f["name"]], f["type"], seen) if f["name"] in has else "default" in f
            for f in target["fields"]
        )
    return True


def lookalikes(type_: Any, _seen: frozenset[int] = frozenset()) -> Any:
    """A union in a type whose branches can't be told apart once it is decoded: of several records, enums or fixeds, what is
    read does not say which it was, and the first that fits is written. None: there is none."""
    if type_ is None or id(type_) in _seen:
        return None
    seen = _seen | {id(type_)}
    if isinstance(type_, list):
        kinds = [branch["type"] for branch in type_ if branch is not None]
        if any(kinds.count(kind) > 1 for kind in ("record", "enum", "fixed")):
            return type_
        inner = list(type_)
    else:
        inner = [type_[part] for part in ("items", "values") if part in type_]
        inner += [field["type"] for field in type_.get("fields", ())]
    return next((found for one in inner if (found := lookalikes(one, seen)) is not None), None)


def literal_fits(value: object, target: Any) -> bool:
    """Whether a plain value can be written as ``target``."""
    if isinstance(target, list):
        return any(literal_fits(value, branch) for branch in target)
    kind = target["type"]
    if _logical(target):
        return False
    if isinstance(value, bool):
        return bool(kind == "boolean")
    if isinstance(value, int):
        low, high = _INT if kind == "int" else _LONG
        return kind in ("int", "long", "float", "double") and low <= value <= high
    if isinstance(value, float):
        return kind in ("float", "double")
    if isinstance(value, str):
        return bool(kind == "string" or (kind == "enum" and value in target["symbols"]))
    return bool(kind == "null")


def shown(type_: Any) -> str:
    """A type as people name it: ``string``, ``bytes (decimal 9.2)``, ``null or long``."""
    if isinstance(type_, list):
        return " or ".join(dict.fromkeys(shown(branch) for branch in type_))
    if type_ is None:
        return "anything"
    kind: str = type_["type"]
    if type_.get("text"):
        return "string"  # a text that is written in an expression
    if kind in ("record", "enum", "fixed"):
        kind = f"{kind} {type_['name']}"
    elif kind == "array":
        kind = f"array of {shown(type_['items'])}" if type_["items"] is not None else "array"
    logical = _logical(type_)
    return f"{kind} ({' '.join(str(part) for part in logical)})" if logical else kind


def _logical(type_: dict[str, Any]) -> tuple[Any, ...]:
    name = type_.get("logicalType")
    if name == "decimal":
        return name, f"{type_.get('precision')}.{type_.get('scale', 0)}"
    return (name,) if name else ()
