"""Avro types as Python types: annotations, defaults, and the expressions that convert to and from what the codec reads."""

from __future__ import annotations

import datetime
import json
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any
from uuid import UUID

from kantor.errors import ConfigError
from kantor_schemas import Schema, full_name

Expression = Callable[[str], str]

_PRIMITIVES = {
    "null": "None",
    "boolean": "bool",
    "int": "int",
    "long": "int",
    "float": "float",
    "double": "float",
    "bytes": "bytes",
    "string": "str",
}
#: (Avro type, logical type) -> what fastavro reads it as. Others are read as their underlying type.
_LOGICAL = {
    ("int", "date"): "datetime.date",
    ("int", "time-millis"): "datetime.time",
    ("long", "time-micros"): "datetime.time",
    ("long", "timestamp-millis"): "datetime.datetime",
    ("long", "timestamp-micros"): "datetime.datetime",
    ("long", "local-timestamp-millis"): "datetime.datetime",
    ("long", "local-timestamp-micros"): "datetime.datetime",
    ("bytes", "decimal"): "Decimal",
    ("fixed", "decimal"): "Decimal",
    ("string", "uuid"): "UUID",
}
_IMPORTS = [
    ("datetime.", "import datetime"),
    ("Mapping[", "from collections.abc import Mapping"),
    ("@dataclass", "from dataclasses import dataclass"),
    ("Decimal", "from decimal import Decimal"),
    ("(StrEnum)", "from enum import StrEnum"),
    ("Any", "from typing import Any"),
    ("UUID", "from uuid import UUID"),
]


def _same(value: str) -> str:
    return value


@dataclass(frozen=True, slots=True)
class Type:
    """A field's type: its annotation, and how a value is written (to what the codec takes) and read."""

    annotation: str
    write: Expression = _same
    read: Expression = _same
    named: bool = False

    @property
    def plain(self) -> bool:
        """Nothing to convert."""
        return self.write is _same and self.read is _same


@dataclass(frozen=True, slots=True)
class Default:
    text: str
    immutable: bool = True


EMPTY = Default("")


class Types:
    """The named types of some schemas, each with its class name; nested ones before those that use them."""

    def __init__(self) -> None:
        self.records: list[Schema] = []
        self.enums: list[Schema] = []
        self._named: dict[str, Schema] = {}
        self._classes: dict[str, str] = {}

    def learn(self, schema: Any, space: str = "") -> None:
        """Take in a schema and all that is nested in it. Raises ``ConfigError`` if two differ under one name."""
        if isinstance(schema, list):
            for branch in schema:
                self.learn(branch, space)
        elif isinstance(schema, dict):
            kind = schema["type"]
            if kind in ("record", "error", "enum", "fixed"):
                self._learn_named(schema, space)
            elif kind in ("array", "map"):
                self.learn(schema["items" if kind == "array" else "values"], space)
            else:
                self.learn(kind, space)

    def _learn_named(self, schema: Schema, space: str) -> None:
        schema = schema if "." in schema["name"] or "namespace" in schema else {**schema, "namespace": space}
        name = full_name(schema)
        if name in self._named:
            if self._named[name] != schema:
                raise ConfigError(f"{name} is defined twice, differently; keep one definition")
            return
        self._named[name] = schema
        if schema["type"] == "fixed":
            return
        inner = name.rpartition(".")[0]
        for field in schema.get("fields", ()):
            self.learn(field["type"], inner)
        class_name = name.rpartition(".")[2]
        if class_name in self._classes.values():
            class_name = "".join(part.capitalize() for part in inner.split(".")) + class_name
        if class_name in self._classes.values():
            raise ConfigError(f"{name}: the class name {class_name} is taken; rename one of the two records")
        self._classes[name] = class_name
        (self.enums if schema["type"] == "enum" else self.records).append(schema)

    def class_name(self, schema: Schema) -> str:
        return self._classes[full_name(schema)]

    def of(self, schema: Any, inside: Schema, depth: int = 0) -> Type:
        """The type of a field of the record ``inside``."""
        if isinstance(schema, list):
            return self._union(schema, inside, depth)
        if isinstance(schema, str):
            return Type(_PRIMITIVES[schema]) if schema in _PRIMITIVES else self._named_type(schema, inside)
        kind = schema["type"]
        if isinstance(kind, dict | list):
            return self.of(kind, inside, depth)
        logical = _LOGICAL.get((kind, schema.get("logicalType", "")))
        if logical is not None:
            return Type(logical)
        if kind == "array":
            return _collection(
                "list[{}]", "[{} for {} in {}]", self.of(schema["items"], inside, depth + 1), depth
            )
        if kind == "map":
            inner = self.of(schema["values"], inside, depth + 1)
            return _collection("dict[str, {}]", "{{key: {} for key, {} in {}.items()}}", inner, depth)
        if kind in _PRIMITIVES:
            return Type(_PRIMITIVES[kind])
        return self._named_type(schema["name"], inside, schema.get("namespace"))

    def _named_type(self, name: str, inside: Schema, namespace: str | None = None) -> Type:
        if "." not in name:
            space = namespace if namespace is not None else full_name(inside).rpartition(".")[0]
            name = f"{space}.{name}" if space else name
        schema = self._named.get(name)
        if schema is None:
            raise ConfigError(
                f"{full_name(inside)} uses {name}, which it does not define; a schema file must be self-contained"
            )
        if schema["type"] == "fixed":
            return Type("Decimal" if schema.get("logicalType") == "decimal" else "bytes", named=True)
        class_name = self._classes.get(name, name.rpartition(".")[2])
        if schema["type"] == "enum":
            return Type(class_name, lambda v: f"{v}.value", lambda v: f"{class_name}({v})", named=True)
        return Type(
            class_name, lambda v: f"{v}.to_avro()", lambda v: f"{class_name}.from_avro({v})", named=True
        )

    def _union(self, branches: list[Any], inside: Schema, depth: int) -> Type:
        types = [self.of(branch, inside, depth) for branch in branches if branch != "null"]
        null = "null" in branches
        if len(types) > 1 and not all(type_.plain and not type_.named for type_ in types):
            raise ConfigError(
                f"{full_name(inside)}: a union of several named types can't be told apart in Python; "
                f"make it one record with optional fields"
            )
        annotation = " | ".join(dict.fromkeys([type_.annotation for type_ in types] + ["None"] * null))
        if all(type_.plain for type_ in types):
            return Type(annotation)
        only = types[0]
        if not null:
            return only
        return Type(
            annotation,
            lambda v: f"None if {v} is None else {only.write(v)}",
            lambda v: f"None if {v} is None else {only.read(v)}",
        )

    def default(self, field: dict[str, Any], inside: Schema) -> Default:
        """A field's default as Python source; ``EMPTY`` if it has none."""
        if "default" not in field:
            return EMPTY
        return self._default(field["default"], field["type"], inside)

    def _default(self, value: Any, schema: Any, inside: Schema) -> Default:
        if isinstance(schema, list):
            # Avro: a union's default belongs to its first branch (since 1.12, to any that fits: null is the usual one).
            return Default("None") if value is None else self._default(value, schema[0], inside)
        if isinstance(schema, dict) and schema["type"] == "array":
            return Default(
                "[" + ", ".join(self._default(v, schema["items"], inside).text for v in value) + "]", False
            )
        if isinstance(schema, dict) and schema["type"] == "map":
            pairs = (f"{k!r}: {self._default(v, schema['values'], inside).text}" for k, v in value.items())
            return Default("{" + ", ".join(pairs) + "}", False)
        type_ = self.of(schema, inside)
        kind = schema.get("type") if isinstance(schema, dict) else schema
        logical = schema.get("logicalType") if isinstance(schema, dict) else None
        if type_.named and type_.read is not _same:
            return Default(type_.read(repr(value)), immutable=not isinstance(value, dict))
        if type_.annotation in _LOGICAL.values():
            return Default(repr(_logical_value(value, str(logical), schema)))
        if type_.annotation == "bytes" or kind == "fixed":
            return Default(repr(value.encode("latin-1")))
        if isinstance(value, str):
            return Default(json.dumps(value, ensure_ascii=False))
        return Default(repr(float(value)) if type_.annotation == "float" else repr(value))

    def imports(self, body: str) -> list[str]:
        """The import lines that ``body`` needs."""
        lines = [line for word, line in _IMPORTS if word in body]
        if "field(default_factory" in body:
            lines = [line.replace("import dataclass", "import dataclass, field") for line in lines]
        if "ClassVar[" in body:
            lines = [line.replace("import Any", "import Any, ClassVar") for line in lines]
        return lines


def _collection(annotation: str, loop: str, inner: Type, depth: int) -> Type:
    if inner.plain:
        return Type(annotation.format(inner.annotation))
    item = "item" if depth == 0 else f"item{depth}"
    return Type(
        annotation.format(inner.annotation),
        lambda v: loop.format(inner.write(item), item, v),
        lambda v: loop.format(inner.read(item), item, v),
    )


def _logical_value(value: Any, logical: str, schema: dict[str, Any]) -> object:
    """An Avro default of a logical type (its underlying JSON value) as the Python value that the codec reads."""
    if logical == "decimal":
        number = int.from_bytes(value.encode("latin-1"), "big", signed=True)
        return Decimal(number).scaleb(-int(schema.get("scale", 0)))
    if logical == "uuid":
        return UUID(value)
    if logical == "date":
        return datetime.date(1970, 1, 1) + datetime.timedelta(days=value)
    step = datetime.timedelta(microseconds=value * (1000 if logical.endswith("millis") else 1))
    if logical.startswith("time-"):
        return (datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC) + step).time()
    if logical.startswith("local-"):
        return datetime.datetime(1970, 1, 1) + step  # noqa: DTZ001 - a local timestamp has no zone
    return datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC) + step
