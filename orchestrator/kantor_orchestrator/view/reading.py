"""Reading ``sys.kantor.history`` for the view: the transitions that ``evolve`` folds, without what nobody is shown."""

from __future__ import annotations

from collections.abc import Callable
from itertools import takewhile
from typing import Any, NamedTuple

from msgspec import Struct

from kantor.codec import Codec, SchemaStore
from kantor.compiled import UNEXPECTED, Read, compile_reader
from kantor.errors import UndecodableError
from kantor_orchestrator.core.transaction import TRANSITIONS, Kind, Status, Transition
from kantor_orchestrator.formats.snapshots import transitions_from
from kantor_schemas import Schema

DECISION = "kantor.Decision"


class UnfoldableError(UndecodableError):
    """A decision, which this version of Kantor can't fold: it has moves that are not known, say. ``epoch`` and ``journal_offset``
    say whether it counts."""

    def __init__(self, why: str, epoch: int, journal_offset: int) -> None:
        super().__init__(f"no decision that can be folded: {why}")
        self.epoch, self.journal_offset = epoch, journal_offset


#: The fields of a decision that :class:`Said` has.
_FIELDS = frozenset(
    (
        "transaction_id", "epoch", "journal_offset", "at", "saga", "version", "status", "transitions", "messages",
        "snapshot",
    )
)  # fmt: skip
#: What nobody is shown, and is not stored: bytes, all of them, at a record's end.
_LEFT_OUT = frozenset(("messages", "snapshot"))


class Said(Struct, gc=False):
    """One decision, as far as the view folds it. ``captured``: fields of its messages, which its transitions do not have any more.
    ``record``: what is stored of it, a whole ``kantor.Decision`` without its messages and its snapshot."""

    transaction_id: str
    epoch: int
    journal_offset: int
    at: int
    saga: str
    version: int
    status: Status
    moves: list[Transition]
    captured: list[dict[str, Any]]
    record: bytes

    @property
    def has_transaction(self) -> bool:
        """Whether there is one that it is about: an operator action on none (a ``start``, say) was ignored."""
        return bool(self.saga) or not all(move.kind is Kind.IGNORED and move.actor for move in self.moves)


class _Schema(NamedTuple):
    """What is known of one. ``read``: of a record the fields of a decision that are needed here; None if the codec must.
    ``left_out``: the fields that it ends with and that are not stored."""

    read: Read | None
    left_out: tuple[str, ...]


class HistoryReader:
    """Decodes records of the history. ``on_schema`` is told each schema that is new, once. Not thread-safe."""

    def __init__(
        self, codec: Codec, schemas: SchemaStore, on_schema: Callable[[int, Schema], None] | None = None
    ) -> None:
        self._codec = codec
        self._schemas = schemas
        self._on_schema = on_schema
        self._known: dict[bytes, _Schema] = {}  # by its place in the value

    def read(self, value: bytes | None) -> Said:
        """A decision. Raises ``UnfoldableError``, ``UndecodableError`` for anything else that is no decision, ``UnknownSchemaError``
        or ``RegistryUnavailableError``, ``CodecError`` if its schema is of no use."""
        if value is None or len(value) < 5 or value[0] != 0:
            raise UndecodableError("not Avro in Confluent wire format")
        read, left_out = self._known.get(value[:5]) or self._learn(value[:5])
        record = self._fields(read, value)
        captured = []
        epoch, entry = record.get("epoch"), record.get("journal_offset")
        if not (isinstance(epoch, int) and isinstance(entry, int)):
            raise UndecodableError("a decision of no epoch, or on no entry")
        try:
            moves = transitions_from(record["transitions"])
            for move in moves:
                _check(move)
                if move.captured is not None:
                    captured.append(move.captured)
                    move.captured = None
                move.fingerprint = 0
            return Said(
                record["transaction_id"], epoch, entry, record["at"], record["saga"], record["version"],
                _STATUSES[record["status"]], moves, captured, _without([record[name] for name in left_out], value),
            )  # fmt: skip
        except (ValueError, KeyError, TypeError) as error:
            raise UnfoldableError(str(error), epoch, entry) from error

    def _fields(self, read: Read | None, value: bytes) -> dict[str, Any]:
        if read is not None:
            try:
                return read(value, 5)
            except UNEXPECTED:
                pass  # the codec says what is wrong
        return self._codec.decode(value)

    def _learn(self, prefix: bytes) -> _Schema:
        id_ = int.from_bytes(prefix[1:], "big")
        schema = self._schemas.schema_of(id_)
        name = _full_name(schema)
        if name != DECISION:
            raise UndecodableError(f"schema {id_} is {name}, no {DECISION}")
        if self._on_schema is not None:
            self._on_schema(id_, schema)
        last = takewhile(
            lambda field: field["name"] in _LEFT_OUT and field["type"] == "bytes", reversed(schema["fields"])
        )
        found = _Schema(compile_reader(schema, _FIELDS), tuple(field["name"] for field in last))
        self._known[prefix] = found
        return found


def _full_name(schema: Schema) -> str:
    name, namespace = str(schema.get("name", schema.get("type"))), schema.get("namespace")
    return f"{namespace}.{name}" if namespace and "." not in name else name


def _without(fields: list[bytes], value: bytes) -> bytes:
    """The same record with these fields empty, which it ends with: each a length (a zigzag varint) and so many bytes."""
    end = len(value)
    for one in fields:
        size = len(one)
        end -= size + max(1, ((2 * size).bit_length() + 6) // 7)
    return value[:end] + bytes(len(fields)) if end + len(fields) < len(value) else value


_STATUSES = {status.value: status for status in Status}
#: What a transition of a kind has besides: a step alone; a step and a command; a step or none; no step; no step, and what was kept.
_STEP, _COMMAND, _ANYTHING, _WHOLE, _EARLY = range(5)
_RULES = (
    dict.fromkeys(Kind, _WHOLE)
    | dict.fromkeys(TRANSITIONS, _STEP)
    | dict.fromkeys((Kind.COMMAND_SENT, Kind.COMPENSATION_SENT), _COMMAND)
    | dict.fromkeys((Kind.INCIDENT_OPENED, Kind.IGNORED), _ANYTHING)
    | {Kind.KEPT: _EARLY}
)


def _check(move: Transition) -> None:
    """Raises ``ValueError`` for what no engine writes, and ``evolve`` does not expect. Takes the payload of what was kept early
    out of the transition: people are not shown it."""
    kind, rule = move.kind, _RULES[move.kind]
    if move.step:
        if rule >= _WHOLE:
            raise ValueError(f"{kind} of a step")
    elif rule <= _COMMAND:
        raise ValueError(f"{kind} of no step")
    if (rule == _COMMAND and move.command is None) or (rule == _EARLY and move.early is None):
        raise ValueError(f"{kind} of nothing")
    if move.early is not None:
        move.early.payload = {}
