"""A whole engine in memory, with the topics that it works on: for tests of entries, turns and takings."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Executor, Future
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry

import kantor_schemas
from kantor.clients import TopicSpec
from kantor.codec import Codec, MemorySchemas
from kantor.envelope import Envelope
from kantor.errors import KantorError
from kantor.testing import MemoryBroker
from kantor_orchestrator.definitions import bundle as bundles
from kantor_orchestrator.definitions.catalogue import Changes, Definitions, Take
from kantor_orchestrator.definitions.dsl import Saga
from kantor_orchestrator.engine.loop import Engine
from kantor_orchestrator.formats import journal, topics
from kantor_orchestrator.formats.history import is_epoch
from kantor_orchestrator.metrics import EngineMetrics
from kantor_orchestrator.operations.acts import moves_of
from unit.core_kit import EXAMPLE, ORDER

CATALOG = kantor_schemas.example("checkout")
PLACED = CATALOG["shop.OrderPlaced"]
BUNDLE = bundles.bundle(Saga.load(EXAMPLE).model, CATALOG, 1)


class AtOnce(Executor):
    """Instead of threads."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:  # noqa: BLE001 - handed to whoever asks
            future.set_exception(error)
        return future


class Place:
    """A platform's topics in memory with one engine; ``schemas``: what it knows, ``others``: what its senders know."""

    def __init__(self, folder: Path, definitions: Definitions | None = None) -> None:
        self.broker = MemoryBroker()
        self.schemas, self.others = MemorySchemas(), MemorySchemas()
        specs = [spec for spec in topics.specs(1, 1 << 20) if spec.partitions == 1]
        self.broker.clients().admin().create_topics(
            [*specs, TopicSpec("cmd.inventory.v1", 1), TopicSpec("cmd.shipping.v1", 1)]
        )
        self._sent = 0
        self.topic_id = b"topic"
        self._producer = self.broker.clients().producer("test")
        self.engine = Engine(
            self.broker.clients(),
            1,
            folder,
            self.schemas,
            definitions or Definitions([BUNDLE]),
            EngineMetrics(CollectorRegistry()),
            clock=self.broker.clock,
            jobs=AtOnce(),
        )
        self.engine.start(lambda: None)

    def event(self, transaction: str, type_: str, sent: int | None = None) -> None:
        """As intake would journal it; ``sent``: the record's own time (ms), now unless given."""
        schema = CATALOG[type_]
        value = Codec(self.others).encoder(schema, "t")(
            {f["name"]: ORDER[f["name"]] for f in schema["fields"]}
        )
        self.journaled(transaction, type_, value, sent=sent)

    def journaled(
        self, transaction: str, type_: str, value: bytes, *, cause: str = "", sent: int | None = None
    ) -> None:
        """An event with this value, as intake would append it."""
        self._sent += 1
        envelope = Envelope(
            id=f"m-{self._sent}",
            source=type_.split(".")[0],
            type=type_,
            correlation_id=transaction,
            causation_id=cause or None,
        )
        headers: list[tuple[str, bytes | None]] = [
            *envelope.headers(),
            (journal.ENTRY, journal.EVENT),
            (journal.ORIGIN, f"evt.t.v1/0/{self._sent}".encode()),
            (journal.TOPIC_ID, self.topic_id),
            (journal.TIMESTAMP, str(self.broker.clock.now() if sent is None else sent).encode()),
        ]
        self._producer.produce(topics.JOURNAL, value, transaction.encode(), headers, 0)
        self._producer.flush()

    def act(self, transaction: str, act: str, step: str = "", **fields: Any) -> None:
        self._sent += 1
        value = journal.ActEntry(f"a-{self._sent}", act, "ann", "please", step, fields).dump()
        self._producer.produce(topics.JOURNAL, value, transaction.encode(), journal.ACT_HEADERS, 0)
        self._producer.flush()

    def history(self) -> list[tuple[str, str, str]]:
        """(transaction, transition, step) in order."""
        return [(move["transaction_id"], move["kind"], move["step"]) for move in self._moves()]

    def told(self, transaction: str) -> list[Mapping[str, Any]]:
        return [move for move in self._moves() if move["transaction_id"] == transaction]

    def _moves(self) -> list[Mapping[str, Any]]:
        found = self.broker.topics[topics.HISTORY].logs[0].read(0, 1_000, 1e12, committed=True)[0]
        decode = Codec(self.schemas).decode
        decisions = [decode(record.value()) for record in found if not is_epoch(record)]
        return [move for decision in decisions for move in moves_of(decision)]

    def kinds(self, transaction: str) -> list[str]:
        return [kind for id_, kind, _ in self.history() if id_ == transaction]

    def turn_until(self, condition: Callable[[], bool]) -> None:
        for _ in range(5_000):
            if condition():
                return
            self.engine.turn()
        raise AssertionError(f"it does not come: {self.history()}")


class UnderWay:
    """A saga that was just deployed: this engine has not been sent it; who asks for the topic's end gets it, once it answers."""

    answers = False

    def fresh(self) -> Changes:
        return Changes()

    def catch_up(self, take: Take) -> bool:
        if self.answers:
            take(Changes([BUNDLE]))
        return self.answers

    def close(self) -> None:
        pass


def recreated(place: Place, name: str) -> None:
    """The topic is deleted, and recreated."""
    del place.broker.topics[name]
    (spec,) = (spec for spec in topics.specs(1, 1 << 20) if spec.name == name)
    place.broker.create_topic(spec)


def refused(*_: object) -> float:
    raise KantorError("not now")


def start_anew(place: Place, folder: Path) -> None:
    place.engine = Engine(
        place.broker.clients(),
        1,
        folder,
        place.schemas,
        Definitions([BUNDLE]),
        EngineMetrics(CollectorRegistry()),
        clock=place.broker.clock,
        jobs=AtOnce(),
    )
    place.engine.start(lambda: None)
