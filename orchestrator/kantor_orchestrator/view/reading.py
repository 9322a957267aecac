"""Reading ``sys.kantor.history`` on the hot path of the view: the moves that ``evolve`` folds, without what it never looks at.

The writer's schema becomes the source of one function, made once for each schema id, as ``kantor.compiled`` makes them for
whole records; here moves come out as the core's own ``Transition``, payloads, fingerprints and the messages (the larger half
of a record) are passed over, and what is stored of a record ends where its messages begin. Records that the function can't be
made for are left to the codec.

Avro 1.12, "Binary encoding": ints and longs are zigzag varints, strings a length and their bytes, records their fields
one after the other, arrays blocks of a count and that many items, ended by a count of 0.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

from kantor.codec import Codec, SchemaStore
from kantor.compiled import UNEXPECTED, _unlong
from kantor.errors import UndecodableError
from kantor_orchestrator.core.transaction import TRANSITIONS, Early, Kind, SentCommand, Status, Transition
from kantor_orchestrator.core.values import load
from kantor_orchestrator.snapshots import decided_from
from kantor_schemas import Schema

DECISION = "kantor.Decision"


@dataclass(slots=True)
class Said:
    """One decision, as far as the view folds it. ``captured``: fields of its messages, JSON as ``core.values`` writes it.
    ``record``: what is stored of it, a whole ``kantor.Decision`` without its messages."""

    transaction_id: str
    epoch: int
    journal_offset: int
    at: int
    saga: str
    version: int
    status: Status
    moves: list[Transition]
    captured: list[str]
    record: bytes


class HistoryReader:
    """Decodes records of the history. ``on_schema`` is told each schema that is new, once. Not thread-safe."""

    def __init__(
        self, codec: Codec, schemas: SchemaStore, on_schema: Callable[[int, Schema], None] | None = None
    ) -> None:
        self._codec = codec
        self._schemas = schemas
        self._on_schema = on_schema
        self._readers: dict[bytes, Callable[[bytes], Said]] = {}

    def read(self, value: bytes | None) -> Said:
        """A decision. Raises ``UndecodableError``, ``UnknownSchemaError`` or
        ``RegistryUnavailableError``."""
        if value is None or len(value) < 5 or value[0] != 0:
            raise UndecodableError("no Avro in Confluent wire format")
        reader = self._readers.get(value[:5])
        if reader is None:
            reader = self._learn(value[:5])
        try:
            return reader(value)
        except (*UNEXPECTED, RecursionError) as error:
            raise UndecodableError(
                f"bytes do not fit schema {int.from_bytes(value[1:5], 'big')}: {error}"
            ) from error

    def _learn(self, prefix: bytes) -> Callable[[bytes], Said]:
        id_ = int.from_bytes(prefix[1:], "big")
        schema = self._schemas.schema_of(id_)
        name = _full_name(schema)
        reader: Callable[[bytes], Said]
        if name != DECISION:
            raise UndecodableError(f"schema {id_} is {name}, no {DECISION}")
        try:
            reader = compile_reader(schema)
        except LookupError:
            reader = self._whole
        if self._on_schema is not None:
            self._on_schema(id_, schema)
        self._readers[prefix] = reader
        return reader

    def _whole(self, value: bytes) -> Said:
        record = self._codec.decode(value)
        decided = decided_from(record)
        captured = [move["captured"] for move in record["transitions"] if move["captured"]]
        return Said(
            decided.transaction_id, decided.epoch, decided.journal_offset, decided.at, decided.saga, decided.version,
            Status(decided.status), decided.transitions, captured, value,
        )  # fmt: skip


def _full_name(schema: Schema) -> str:
    name, namespace = str(schema.get("name", schema.get("type"))), schema.get("namespace")
    return f"{namespace}.{name}" if namespace and "." not in name else name


#: Of a move and of its command: what ``evolve`` never looks at.
_PASSED_OVER = {
    "captured",
    "fingerprint",
    "fields",
    "topic",
    "causation_id",
    "key",
    "about",
    "format",
    "held",
}
_SCALARS = {"int", "long", "string", "boolean"}


def compile_reader(schema: Schema) -> Callable[[bytes], Said]:
    """A function from a decision's bytes, in wire format. It raises one of ``kantor.compiled.UNEXPECTED`` if they do not fit.
    Raises ``LookupError`` for a schema that it can't be made for."""
    source = _Source()
    lines = source.lines
    lines.append("i = 5")
    found = schema["fields"]
    names = [field["name"] for field in found]
    try:
        end = names.index("transitions")
    except ValueError:
        raise LookupError("there are no transitions") from None
    before = {"transaction_id", "epoch", "journal_offset", "at", "actor", "saga", "version", "status"}
    if not before <= set(names[:end]):
        raise LookupError("what all moves share does not come before them")
    for field in found[:end]:
        source.field("", field["name"], field["type"], field["name"] in before)
    source.moves(found[end]["type"])
    lines.append("if i > len(b): raise IndexError('cut off')")
    kept = "b[:i] + b'\\0'" if names[end + 1 :] == ["messages"] else "b"
    lines.append(
        "return Said(v_transaction_id, v_epoch, v_journal_offset, v_at, v_saga, v_version,"
        f" Status(v_status), moves, captured, {kept})"
    )
    names_of = {
        "long": _unlong, "Said": Said, "Status": Status, "Transition": Transition, "SentCommand": SentCommand,
        "early_from": _early, "check": _check, "above": _above,
        "kinds": {kind.value.encode(): (kind, _RULES[kind]) for kind in Kind},
        "statuses": {b"": None} | {status.value.encode(): status for status in Status},
    }  # fmt: skip
    exec("\n ".join(["def read(b):", *lines]), names_of)  # noqa: S102 - our text; the schema adds nothing but known names
    read: Callable[[bytes], Said] = names_of["read"]  # type: ignore[assignment]
    return read


#: Fields of a move that are looked at together: most moves have none of a group.
_GROUPS = (
    ("status", "saga", "version"),
    ("round", "attempt"),
    ("timer", "due"),
    ("code", "reason", "scope", "captured"),
    ("early", "parent", "parent_command"),
)
_EMPTY = {"string": "''", "int": "0", "long": "0"}


def _runs(found: list[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """The fields in their order; those of a group together, if they follow each other."""
    runs = []
    place = 0
    while place < len(found):
        group = next((g for g in _GROUPS if g == tuple(f["name"] for f in found[place : place + len(g)])), ())
        is_plain = all(isinstance(f["type"], str) for f in found[place : place + len(group)])
        size = len(group) if group and is_plain else 1
        runs.append(found[place : place + size])
        place += size
    return runs


class _Source:
    """Statements that read values from the bytes ``b`` at ``i``."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def moves(self, type_: Any) -> None:
        """The array of moves, into ``moves``; what they captured, into ``captured``."""
        item = self._items(type_, "moves", "")
        known = {field.name for field in fields(Transition)}
        given = ["at=v_at", "actor=v_actor"]
        indent = "  "
        for run in _runs(item):
            inner = indent
            if len(run) > 1:  # they are nearly always empty, all of them
                defaults = [(f"m_{f['name']}", _EMPTY[f["type"]]) for f in run if f["name"] in known]
                self._add(indent, f"if b[i:i + {len(run)}] == {bytes(len(run))!r}:", f" i += {len(run)}")
                for empty in dict.fromkeys(value for _, value in defaults):
                    self._add(indent, f" {' = '.join(n for n, v in defaults if v == empty)} = {empty}")
                if any(field["name"] == "status" for field in run):
                    self._add(indent, " m_status = None")
                if any(field["name"] == "early" for field in run):
                    self._add(indent, " m_early = None")
                self._add(indent, "else:")
                inner = indent + " "
            given += [text for field in run if (text := self._of_move(field, inner, known))]
        if {"kind=m_kind", "step=m_step", "early=m_early", "command=m_command"} - set(given):
            raise LookupError("moves are other ones")
        self._add(
            indent,
            "if rule or not m_step: check(m_kind, rule, m_step, m_command, m_early)",
            f"moves.append(Transition({', '.join(given)}))",
        )
        self._add("", "i += 1")
        self.lines.insert(1, "captured = []")

    def _of_move(self, field: dict[str, Any], indent: str, known: set[str]) -> str:
        """One field of a move; the argument that it is for its ``Transition``, empty: none."""
        name = field["name"]
        if name == "kind":
            self._text(indent, "kinds[b[i:j]]", "m_kind, rule")
        elif name == "status":
            self._text(indent, "statuses[b[i:j]]", "m_status", "None")
        elif name == "captured":
            self._text(indent, "b[i:j].decode()", "text", "''")
            self._add(indent, "if text: captured.append(text)")
            return ""
        elif name == "early":
            self._text(indent, "early_from(b[i:j].decode())", "m_early", "None")
        elif name == "commands":
            self._command(field["type"], indent)
            return "command=m_command"
        else:
            wanted = name in known and name not in _PASSED_OVER
            self.field(indent, name, field["type"], wanted, "m")
            if not wanted:
                return ""
        return f"{name}=m_{name}"

    def _command(self, type_: Any, indent: str) -> None:
        self._add(indent, "m_command = None")
        item = self._items(type_, "", indent)
        known = {field.name for field in fields(SentCommand)}
        given = dict.fromkeys(("id", "type", "topic", "kind", "idempotency_key", "causation_id"), "''")
        given["fields"] = "{}"
        inner = indent + "  "
        for field in item:
            name = field["name"]
            wanted = name in known and name not in _PASSED_OVER
            self.field(inner, name, field["type"], wanted, "c")
            if wanted:
                given[name] = f"c_{name}"
        self._add(inner, f"m_command = SentCommand({', '.join(f'{n}={v}' for n, v in given.items())})")
        self._add(indent, "i += 1")

    def _items(self, type_: Any, into: str, indent: str) -> list[dict[str, Any]]:
        """Begins the loops over an array's items; what reads one comes two deeper."""
        if not isinstance(type_, dict) or type_["type"] != "array" or type_["items"]["type"] != "record":
            raise LookupError(f"{type_} is no array of records")
        if into:
            self._add(indent, f"{into} = []")
        count = f"n{len(indent)}"
        self._add(
            indent,
            "while b[i]:",
            f" {count}, i = long(b, i)",
            f" if {count} < 0: raise ValueError('a block with its size')",
            f" while {count}:",
            f"  {count} -= 1",
            "  if i > len(b): raise IndexError('cut off')",
        )
        found: list[dict[str, Any]] = type_["items"]["fields"]
        return found

    def field(self, indent: str, name: str, type_: Any, wanted: bool, prefix: str = "v") -> None:
        """One field, which starts at ``i``."""
        variable = f"{prefix}_{name}"
        if not isinstance(type_, str) or type_ not in _SCALARS or not name.isidentifier():
            raise LookupError(f"field {name} is a {type_}")
        if type_ == "boolean":
            self._add(indent, *([f"{variable} = b[i] == 1"] if wanted else []), "i += 1")
        elif type_ == "string" and wanted:
            self._text(indent, "b[i:j].decode()", variable, "''")
        elif type_ == "string":
            self._no_text(indent)
        elif wanted:
            self._add(
                indent,
                "n = b[i]",
                f"if n < 128: i += 1; {variable} = (n >> 1) ^ -(n & 1)",
                f"else: {variable}, i = long(b, i)",
            )
        else:
            self._add(indent, "while b[i] > 127: i += 1", "i += 1")

    def _text(self, indent: str, value: str, variable: str, empty: str = "") -> None:
        """A text, whose bytes are ``b[i:j]``; ``empty``: what it is without any."""
        inner = indent
        if empty:
            self._add(indent, "n = b[i]", f"if not n: {variable} = {empty}; i += 1", "else:")
            inner = indent + " "
        else:
            self._add(indent, "n = b[i]")
        self._add(
            inner,
            "if n < 128: i += 1; j = i + (n >> 1)",
            "else: j, i = long(b, i); j = above(j) + i",
            f"{variable} = {value}",
            "i = j",
        )

    def _no_text(self, indent: str) -> None:
        self._add(
            indent, "n = b[i]", "if n < 128: i += 1 + (n >> 1)", "else: n, i = long(b, i); i += above(n)"
        )

    def _add(self, indent: str, *lines: str) -> None:
        self.lines += [indent + line for line in lines]


#: What a move of a kind has besides: a step alone; a step and a command; a step or none; no step; no step, and what was kept.
_STEP, _COMMAND, _ANYTHING, _WHOLE, _EARLY = range(5)
_RULES = (
    dict.fromkeys(Kind, _WHOLE)
    | dict.fromkeys(TRANSITIONS, _STEP)
    | dict.fromkeys((Kind.COMMAND_SENT, Kind.COMPENSATION_SENT), _COMMAND)
    | dict.fromkeys((Kind.INCIDENT_OPENED, Kind.IGNORED), _ANYTHING)
    | {Kind.KEPT: _EARLY}
)


def _check(kind: Kind, rule: int, step: str, command: SentCommand | None, early: Early | None) -> None:
    """Raises ``ValueError`` for what no engine writes, and ``evolve`` does not expect."""
    if step and rule in (_WHOLE, _EARLY):
        raise ValueError(f"{kind} of a step")
    if not step and rule in (_STEP, _COMMAND):
        raise ValueError(f"{kind} of no step")
    if (rule == _COMMAND and command is None) or (rule == _EARLY and early is None):
        raise ValueError(f"{kind} of nothing")


def _above(length: int) -> int:
    if length < 0:
        raise ValueError("a length below 0")
    return length


def _early(text: str) -> Early:
    """What was kept, without its payload."""
    found = load(text)
    kind, type_, id_, source, causation_id, at, origin, _, sent_at, key = found
    return Early(kind, type_, id_, source, causation_id, at, origin, {}, sent_at, key)
