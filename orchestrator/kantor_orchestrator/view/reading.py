"""Reading ``sys.kantor.history`` for the view: the moves that ``evolve`` folds, without what nobody is shown."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from kantor.codec import Codec, SchemaStore
from kantor.errors import UndecodableError
from kantor_orchestrator.core.transaction import TRANSITIONS, Kind, Status, Transition
from kantor_orchestrator.snapshots import transitions_from
from kantor_schemas import Schema

DECISION = "kantor.Decision"


@dataclass(slots=True)
class Said:
    """One decision, as far as the view folds it. ``captured``: fields of its messages, which its moves do not have any more.
    ``record``: what is stored of it, a whole ``kantor.Decision`` without its messages."""

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


class HistoryReader:
    """Decodes records of the history. ``on_schema`` is told each schema that is new, once. Not thread-safe."""

    def __init__(
        self, codec: Codec, schemas: SchemaStore, on_schema: Callable[[int, Schema], None] | None = None
    ) -> None:
        self._codec = codec
        self._schemas = schemas
        self._on_schema = on_schema
        self._ends_with_messages: dict[bytes, bool] = {}  # by the schema's place in the value

    def read(self, value: bytes | None) -> Said:
        """A decision. Raises ``UndecodableError``, ``UnknownSchemaError`` or ``RegistryUnavailableError``."""
        if value is None or len(value) < 5 or value[0] != 0:
            raise UndecodableError("no Avro in Confluent wire format")
        ends_with_messages = self._ends_with_messages.get(value[:5])
        if ends_with_messages is None:
            ends_with_messages = self._learn(value[:5])
        record = self._codec.decode(value)
        try:
            moves = transitions_from(record["transitions"])
            captured = [fields for move in moves if (fields := _seen(move)) is not None]
            status = Status(record["status"])
        except (ValueError, KeyError, TypeError) as error:
            raise UndecodableError(f"no decision that can be folded: {error}") from error
        kept = _without(record["messages"], value) if ends_with_messages else value
        return Said(
            record["transaction_id"], record["epoch"], record["journal_offset"], record["at"], record["saga"],
            record["version"], status, moves, captured, kept,
        )  # fmt: skip

    def _learn(self, prefix: bytes) -> bool:
        id_ = int.from_bytes(prefix[1:], "big")
        schema = self._schemas.schema_of(id_)
        name = _full_name(schema)
        if name != DECISION:
            raise UndecodableError(f"schema {id_} is {name}, no {DECISION}")
        if self._on_schema is not None:
            self._on_schema(id_, schema)
        last = schema["fields"][-1]
        found = bool(last["name"] == "messages" and last["type"] == "bytes")
        self._ends_with_messages[prefix] = found
        return found


def _full_name(schema: Schema) -> str:
    name, namespace = str(schema.get("name", schema.get("type"))), schema.get("namespace")
    return f"{namespace}.{name}" if namespace and "." not in name else name


def _without(messages: bytes, value: bytes) -> bytes:
    """The same record without its messages, which it ends with: a length (a zigzag varint) and so many bytes."""
    size = len(messages)
    length = max(1, (2 * size).bit_length() + 6) // 7
    return value[: -size - length] + b"\0" if size else value


#: What a move of a kind has besides: a step alone; a step and a command; a step or none; no step; no step, and what was kept.
_STEP, _COMMAND, _ANYTHING, _WHOLE, _EARLY = range(5)
_RULES = (
    dict.fromkeys(Kind, _WHOLE)
    | dict.fromkeys(TRANSITIONS, _STEP)
    | dict.fromkeys((Kind.COMMAND_SENT, Kind.COMPENSATION_SENT), _COMMAND)
    | dict.fromkeys((Kind.INCIDENT_OPENED, Kind.IGNORED), _ANYTHING)
    | {Kind.KEPT: _EARLY}
)


def _seen(move: Transition) -> dict[str, Any] | None:
    """Take what people are not shown out of a move; the fields that it captured. Raises ``ValueError`` for what no engine
    writes, and ``evolve`` does not expect."""
    kind, rule = move.kind, _RULES[move.kind]
    if move.step:
        if rule in (_WHOLE, _EARLY):
            raise ValueError(f"{kind} of a step")
    elif rule in (_STEP, _COMMAND):
        raise ValueError(f"{kind} of no step")
    if (rule == _COMMAND and move.command is None) or (rule == _EARLY and move.early is None):
        raise ValueError(f"{kind} of nothing")
    captured, move.captured, move.fingerprint = move.captured, None, 0
    if move.early is not None:
        move.early.payload = {}
    return captured
