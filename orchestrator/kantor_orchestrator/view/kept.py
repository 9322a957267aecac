"""What an older view knows and Kafka does not any more: a rebuild begins with it, and goes on with what Kafka has."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from uuid import UUID

from kantor.clients import Partition
from kantor.codec import SchemaStore
from kantor.errors import UnknownSchemaError
from kantor_orchestrator.formats import topics
from kantor_orchestrator.view.database import PARTS
from kantor_orchestrator.view.facts import CommandPlace, EntryFacts, frames, messages_from_json
from kantor_orchestrator.view.rows import RowChanges
from kantor_orchestrator.view.sagas import SagaFacts, Sagas
from kantor_orchestrator.view.sql import Database
from kantor_orchestrator.view.status import NO_TRANSACTION
from kantor_schemas import Schema

#: Transactions in one question.
_PAGE = 500


@dataclass(frozen=True, slots=True)
class OlderFacts:
    """What of one transaction only the older view still has. ``moves``: history offsets and records. ``is_known``: see
    ``TransactionRow``."""

    id: str
    shard: int
    started_at: int
    messages: list[EntryFacts | CommandPlace]
    moves: list[tuple[int, bytes]]
    unread: str = ""
    is_known: bool = True


def told(old: Database, starts: Mapping[Partition, int]) -> Iterator[list[OlderFacts]]:
    """By pages, all that lies before ``starts``, where Kafka's partitions begin. What is of a topic that is not among them
    is gone, too."""
    last = 0
    while found := old.rows(
        "SELECT no, id, shard, started_at, unread, status FROM transactions WHERE no > ? ORDER BY no LIMIT ?",
        last,
        _PAGE,
    ):
        first, last = found[0][0], found[-1][0]
        parts: dict[int, list[tuple[str, bytes]]] = {}
        for place, messages, moves in old.rows(
            "SELECT place, messages, moves FROM timeline WHERE place >= ? AND place < ? ORDER BY place",
            first * PARTS,
            (last + 1) * PARTS,
        ):
            parts.setdefault(place // PARTS, []).append((messages, moves))
        page = []
        for no, id_, shard, started_at, unread, status in found:
            journal, history = starts.get((topics.JOURNAL, shard)), starts.get((topics.HISTORY, shard))
            is_lost = bool(unread) and _is_before(int(unread.partition(":")[0].rpartition("/")[2]), history)
            one = OlderFacts(
                id_, shard, started_at, [], [], unread if is_lost else "", status != NO_TRANSACTION
            )
            for text, moves in parts.get(no, ()):
                if text != "[]":
                    one.messages.extend(
                        m
                        for m in messages_from_json(text)
                        if (
                            _is_before(m.position, journal)
                            if isinstance(m, EntryFacts)
                            else _is_gone(m, starts)
                        )
                    )
                one.moves.extend(move for move in frames(moves) if _is_before(move[0], history))
            if one.messages or one.moves or one.unread:
                page.append(one)
        yield page


def _is_before(offset: int, start: int | None) -> bool:
    return start is None or offset < start


def _is_gone(command: CommandPlace, starts: Mapping[Partition, int]) -> bool:
    topic, partition, offset = command.origin.rsplit("/", 2)
    return _is_before(int(offset), starts.get((topic, int(partition))))


def told_of_all(old: Database) -> RowChanges:
    """What of no single transaction the older view has; what Kafka tells replaces it."""
    return RowChanges(
        uncorrelated=old.rows("SELECT topic, intake, count, reason, sample, at FROM uncorrelated"),
        refused=old.rows("SELECT topic, reason, at FROM refused"),
        holds=old.rows("SELECT saga, shard, reason, at FROM holds"),
    )


class OldSagas:
    """Sagas as they are deployed; those that are not any more, as the older view has them."""

    def __init__(self, deployed: Sagas, old: Database) -> None:
        self._deployed = deployed
        self._old = {
            (saga, version): SagaFacts.load(facts)
            for saga, version, facts in old.rows("SELECT saga, version, facts FROM sagas")
        }

    def get(self, saga: str, version: int) -> SagaFacts | None:
        return self._deployed.get(saga, version) or self._old.get((saga, version))


class OldSchemas:
    """Schemas of the store; those that it does not know, as the older view has them."""

    def __init__(self, store: SchemaStore, old: Database) -> None:
        self._store = store
        self._old: dict[int, Schema] = {
            id_: json.loads(schema) for id_, schema in old.rows("SELECT id, schema FROM schemas")
        }

    def schema_of(self, id_: int | UUID) -> Schema:
        try:
            return self._store.schema_of(id_)
        except UnknownSchemaError:
            if not isinstance(id_, int) or id_ not in self._old:
                raise
            return self._old[id_]

    def id_of(self, schema: Schema, topic: str) -> int:
        return self._store.id_of(schema, topic)
