"""Avro schemas: the platform's own records, the examples', and a loader for users' folders.

A schema file is a self-contained Avro record (``.avsc``, Avro 1.12) with one property of ours: ``kantor.topic``, the
topic that messages of this type are sent to. Commands may leave it out: they default to ``cmd.<namespace>.v1`` (wire-1).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

__all__ = [
    "Catalog",
    "Schema",
    "SchemaFileError",
    "canonical_json",
    "example",
    "full_name",
    "schema_id",
    "system",
    "topic_of",
]

Schema = dict[str, Any]

_HERE = Path(__file__).parent
SYSTEM_FOLDER = _HERE / "sys"
EXAMPLES_FOLDER = _HERE / "examples"


class SchemaFileError(ValueError):
    """A schema file can't be used. The message names the file, what is wrong and the remedy."""


def canonical_json(schema: Schema) -> str:
    """The whole schema as one JSON text: keys sorted, no blanks.

    Not Avro's parsing canonical form, which would strip PII tags and ``kantor.*`` properties.
    """
    return json.dumps(schema, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def schema_id(schema: Schema) -> int:
    """The id of a schema where no registry gives one: 31 bits of SHA-256 over its canonical JSON (wire-9)."""
    digest = hashlib.sha256(canonical_json(schema).encode()).digest()
    return int.from_bytes(digest[:4], "big") & 0x7FFFFFFF


def full_name(schema: Schema) -> str:
    """The record's Avro full name, which is also its CloudEvents type."""
    name: str = schema["name"]
    namespace = schema.get("namespace")
    return name if "." in name or not namespace else f"{namespace}.{name}"


def topic_of(schema: Schema) -> str:
    """The topic that messages of this type are sent to."""
    topic = schema.get("kantor.topic")
    return str(topic) if topic else f"cmd.{full_name(schema).rpartition('.')[0]}.v1"


class Catalog(Mapping[str, Schema]):
    """Schemas by full name."""

    def __init__(self, schemas: Iterable[Schema] = ()) -> None:
        self._schemas = {full_name(schema): schema for schema in schemas}

    @classmethod
    def load(cls, *folders: Path) -> Catalog:
        """All ``.avsc`` files below ``folders``. Raises ``SchemaFileError`` for the first bad or clashing one."""
        found: dict[str, tuple[Path, Schema]] = {}
        for folder in folders:
            if not folder.is_dir():
                raise SchemaFileError(
                    f"{folder}: no such folder; name the folder that holds your .avsc files"
                )
            for path in sorted(folder.rglob("*.avsc")):
                schema = _read(path)
                name = full_name(schema)
                if name in found and found[name][1] != schema:
                    raise SchemaFileError(
                        f"{path}: {name} is also defined, differently, in {found[name][0]}; keep one"
                    )
                found[name] = (path, schema)
        return cls(schema for _, schema in found.values())

    def __getitem__(self, name: str) -> Schema:
        return self._schemas[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._schemas)

    def __len__(self) -> int:
        return len(self._schemas)


def _read(path: Path) -> Schema:
    try:
        schema = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise SchemaFileError(f"{path}: no JSON: {error}") from error
    if (
        not isinstance(schema, dict)
        or schema.get("type") != "record"
        or not isinstance(schema.get("name"), str)
    ):
        raise SchemaFileError(
            f'{path}: no Avro record; a message\'s schema starts with {{"type": "record", "name": ...}}'
        )
    return schema


@cache
def system(name: str) -> Schema:
    """One of the platform's own records, by its short name (``Transition``, ``StepFailed``, ...)."""
    return _read(SYSTEM_FOLDER / f"{name}.avsc")


def example(domain: str) -> Catalog:
    """The schemas of one example domain (``checkout``)."""
    return Catalog.load(EXAMPLES_FOLDER / domain)
