"""Python classes from Avro schemas: ``python -m kantor.models <folder or file>... --out messages.py``.

One frozen dataclass for each record, one ``StrEnum`` for each enum, plain text that people read and check in. What a
field holds is what the codec reads: ``timestamp-millis`` is an aware ``datetime``, ``decimal`` a ``Decimal``.

Refused, with a message: a union of several named types (Avro's binary does not say in Python which one was meant),
and names that clash.
"""

from __future__ import annotations

import argparse
import keyword
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from kantor.errors import ConfigError
from kantor.models_types import EMPTY, Types
from kantor_schemas import Catalog, Schema, SchemaFileError, full_name, topic_of

#: Our own names in a class; a field of such a name gets an underscore.
_TAKEN = {"TYPE", "TOPIC", "SCHEMA", "to_avro", "from_avro"}
_WIDTH = 110


def generate(catalog: Mapping[str, Schema], title: str) -> str:
    """The module's text. The same schemas give the same text, byte by byte. Raises ``ConfigError``."""
    types = Types()
    for name in sorted(catalog):
        types.learn(catalog[name])
    parts = [_enum(types, schema) for schema in types.enums]
    messages = set(catalog)
    parts += [_record(types, schema, full_name(schema) in messages) for schema in types.records]
    body = "\n\n\n".join(parts)
    lines = [
        f'"""{title}: generated from Avro schemas, do not edit.',
        "",
        "Make it again: python -m kantor.models <folder> --out <this file>",
        '"""',
        "",
        "# fmt: off",
        "# ruff: noqa",
        "from __future__ import annotations",
        "",
        *types.imports(body),
    ]
    return "\n".join(lines) + "\n\n\n" + body + "\n"


def _enum(types: Types, schema: Schema) -> str:
    name = types.class_name(schema)
    lines = [f"class {name}(StrEnum):", *_docstring(schema.get("doc"), "One of a fixed set.")]
    lines += [f"    {_attribute(symbol)} = {symbol!r}" for symbol in schema["symbols"]]
    if "default" in schema:
        lines += [
            "",
            "    @classmethod",
            f"    def _missing_(cls, value: object) -> {name}:",
            f"        return cls.{_attribute(schema['default'])}",
        ]
    return "\n".join(lines)


def _record(types: Types, schema: Schema, is_message: bool) -> str:
    lines = [
        "@dataclass(frozen=True, slots=True, kw_only=True)",
        f"class {types.class_name(schema)}:",
        *_docstring(schema.get("doc"), "A message." if is_message else "Part of a message."),
    ]
    if is_message:
        lines += [
            "",
            f"    TYPE: ClassVar[str] = {_text(full_name(schema))}",
            f"    TOPIC: ClassVar[str] = {_text(topic_of(schema))}",
            f"    SCHEMA: ClassVar[dict[str, Any]] = {_literal(schema, 4)}",
        ]
    writes, reads = [], []
    if schema["fields"]:
        lines.append("")
    for field in schema["fields"]:
        name, type_ = _attribute(field["name"]), types.of(field["type"], schema)
        default = types.default(field, schema)
        if field.get("doc"):
            lines += [f"    #: {line}" for line in str(field["doc"]).splitlines()]
        value = f'value["{field["name"]}"]'
        read = type_.read(value)
        if default is EMPTY:
            lines.append(f"    {name}: {type_.annotation}")
        else:
            how = default.text if default.immutable else f"field(default_factory=lambda: {default.text})"
            lines.append(f"    {name}: {type_.annotation} = {how}")
            if type_.plain and default.immutable:
                read = f'value.get("{field["name"]}", {default.text})'
            else:
                read = f'({read}) if "{field["name"]}" in value else {default.text}'
        writes.append(f'"{field["name"]}": {type_.write(f"self.{name}")}')
        reads.append(f"{name}={read}")
    lines += [
        "",
        "    def to_avro(self) -> dict[str, Any]:",
        *_call("return {", writes, "}"),
        "",
        "    @classmethod",
        f"    def from_avro(cls, value: Mapping[str, Any]) -> {types.class_name(schema)}:",
        *_call("return cls(", reads, ")"),
    ]
    return "\n".join(lines)


def _call(opening: str, parts: Sequence[str], closing: str) -> list[str]:
    line = f"        {opening}{', '.join(parts)}{closing}"
    if len(line) <= _WIDTH:
        return [line]
    return [f"        {opening}", *(f"            {part}," for part in parts), f"        {closing}"]


def _attribute(name: str) -> str:
    return f"{name}_" if keyword.iskeyword(name) or name in _TAKEN else name


def _docstring(doc: object, otherwise: str) -> list[str]:
    text = str(doc or otherwise).replace("\\", "\\\\").replace('"""', "'''").strip()
    lines = text.splitlines()
    if len(lines) == 1 and not text.endswith('"'):
        return [f'    """{text}"""']
    return [f'    """{lines[0]}', *(f"    {line.strip()}".rstrip() for line in lines[1:]), '    """']


def _text(value: str) -> str:
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _literal(value: object, indent: int) -> str:
    """JSON as Python source: on one line where it fits, else one entry a line."""
    flat = _flat(value)
    if len(flat) + indent <= _WIDTH - 40 or not isinstance(value, dict | list) or not value:
        return flat
    pad = " " * (indent + 4)
    if isinstance(value, list):
        if all(len(_flat(entry)) + indent + 5 <= _WIDTH for entry in value):
            entries = [_flat(entry) for entry in value]
        else:
            entries = [_literal(entry, indent + 4) for entry in value]
        opening, closing = "[", "]"
    else:
        entries = [f"{_text(key)}: {_literal(entry, indent + 4)}" for key, entry in value.items()]
        opening, closing = "{", "}"
    inner = "".join(f"{pad}{entry},\n" for entry in entries)
    return f"{opening}\n{inner}{' ' * indent}{closing}"


def _flat(value: object) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_text(key)}: {_flat(entry)}" for key, entry in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(_flat(entry) for entry in value) + "]"
    return _text(value) if isinstance(value, str) and value.isprintable() else repr(value)


def load(paths: Iterable[Path]) -> Catalog:
    """The schemas of these folders and files. Raises ``ConfigError`` naming the file."""
    found: dict[str, Schema] = {}
    try:
        for path in paths:
            if path.is_dir():
                found |= Catalog.load(path)
            else:
                wanted = Catalog.load(path.parent)
                found |= {name: s for name, s in wanted.items() if name.rpartition(".")[2] == path.stem}
    except SchemaFileError as error:
        raise ConfigError(str(error)) from error
    if not found:
        raise ConfigError("no schema found; name a folder with .avsc files, or the files")
    return Catalog(found.values())


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line. 0: written, 1: refused (the reason is on stderr)."""
    parser = argparse.ArgumentParser(
        prog="python -m kantor.models", description="Python classes from .avsc files."
    )
    parser.add_argument("schemas", nargs="+", type=Path, help="folders or .avsc files")
    parser.add_argument("--out", type=Path, required=True, help="the module to write")
    parser.add_argument("--title", default="Messages", help="first words of the module's docstring")
    options = parser.parse_args(arguments)
    try:
        text = generate(load(options.schemas), options.title)
    except ConfigError as error:
        print(error, file=sys.stderr)  # noqa: T201 - a command line
        return 1
    options.out.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
