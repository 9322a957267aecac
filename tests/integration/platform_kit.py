"""Kantor and the services of ``chaos_services``, each a real process, for tests that break them.

:class:`Platform` starts them, places orders, waits for conditions (never for a time), and reads what really happened:
effects from the services' databases, transitions from the history, snapshots from the state topic.
"""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from integration.chaos_services import (
    DEFINITION,
    ENV_FOLDER,
    MESSAGES,
    SERVICES,
    Order,
    OrderPlaced,
)
from integration.follower import Follower
from integration.program import Program, clean_environment
from kantor.clients import BEGINNING, Partition, Record, TopicSpec
from kantor.codec import Codec
from kantor.envelope import shard_of
from kantor.errors import KafkaUnavailableError, NotFoundError
from kantor.kafka import KafkaSettings
from kantor.publisher import Publisher
from kantor.schemas import schema_store
from kantor_orchestrator.config import INTAKE_GROUP
from kantor_orchestrator.core.transaction import ENDED, Kind, Status
from kantor_orchestrator.definitions import deploy, yaml_source
from kantor_orchestrator.definitions.reading import Reading
from kantor_orchestrator.formats import topics, watermarks
from kantor_orchestrator.formats.marks import Uncorrelated
from kantor_orchestrator.view.queries import Trace, View
from kantor_schemas import Catalog
from waiting import PATIENCE, patiently, until

TESTS = Path(__file__).parents[1]
SHARDS = 4
FLOOD = "evt.chaos.flood.v1"
#: What becomes of ten orders.
PLANS = ("good", "no_money", "good", "good", "no_parcel", "good", "no_points", "good", "no_stock", "good")


class Orders(dict[str, str]):
    """Transaction ids of orders, each with its plan."""


class Platform:
    """Starts nothing by itself but the topics and the definition; a context manager that leaves nothing running."""

    def __init__(self, bootstrap_servers: str, folder: Path) -> None:
        self.folder = folder
        self.settings = KafkaSettings(bootstrap_servers)
        self.admin = self.settings.admin()
        self.schemas = schema_store(self.settings)
        self.codec = Codec(self.schemas)
        self._environment = {"KANTOR_BOOTSTRAP_SERVERS": bootstrap_servers, ENV_FOLDER: str(folder)}
        self._home = folder / "home"
        self._programs: list[Program] = []
        self._exit = ExitStack()
        self._placed = 0
        self._name = f"{folder.name[:40]}-{time.time_ns() // 1_000_000 % 100_000_000}"

    def __enter__(self) -> Self:
        patiently(lambda: topics.ensure(self.admin, 0, SHARDS))
        reading = Reading()
        yaml_source.parse(DEFINITION, "chaos.yaml", reading)
        catalog = Catalog(message.SCHEMA for message in MESSAGES)
        patiently(lambda: deploy.deploy(reading.models(), catalog, self.settings, self.schemas))
        names = sorted({message.TOPIC for message in MESSAGES})
        self.command_topics = [name for name in names if name.startswith("cmd.")]
        self.sources = [name for name in names if name.startswith(("evt.", "cmd."))]
        self.follower = Follower(self.settings, self.codec)
        self._exit.callback(self.follower.close)
        self.publisher = Publisher("chaos.shop", self.settings, [OrderPlaced])
        self._exit.callback(self.publisher.close)
        shards = self.admin.topics()[topics.JOURNAL]
        self.began = patiently(lambda: self.admin.ends([(topics.JOURNAL, shard) for shard in range(shards)]))
        return self

    def __exit__(
        self, type_: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for program in self._programs:
            program.ask_to_stop()
        self._exit.__exit__(type_, value, traceback)

    # -- programs

    def services(self, **environment: str) -> list[Program]:
        """Start the four services, and wait until they have their partitions."""
        started = [
            self._program(name, ["integration.chaos_services", name], **environment).start()
            for name in SERVICES
        ]
        for program in started:
            program.await_ready()
        return started

    def role(self, role: str, name: str = "", **environment: str) -> Program:
        """One role of the orchestrator, not started yet. Replicas need names of their own; they share one home."""
        command = ["kantor_orchestrator.cli.main", "run", "--role", role]
        return self._program(name or role, command, KANTOR_HOME=str(self._home), **environment)

    def kantor(self, *options: str, **environment: str) -> Program:
        """``kantor run``, which starts the roles that it is told, not started yet."""
        command = ["kantor_orchestrator.cli.main", "run", *options]
        return self._program("kantor", command, KANTOR_HOME=str(self._home), **environment)

    def _program(self, name: str, command: Sequence[str], **environment: str) -> Program:
        program = Program(name, command, self.folder, self._environment | environment)
        self._programs.append(program)
        return self._exit.enter_context(program)

    def tails(self) -> str:
        return "\n".join(program.tail() for program in self._programs)

    # -- orders

    def place(self, count: int = 1, plan: str = "", orders: Orders | None = None) -> Orders:
        """Place orders at once; without a plan they get all plans in turn."""
        orders = Orders() if orders is None else orders
        for _ in range(count):
            id_ = self.new_id()
            orders[id_] = plan or PLANS[self._placed % len(PLANS)]
            self.publisher(OrderPlaced(order_id=id_, plan=orders[id_]), transaction_id=id_)
        return orders

    @contextmanager
    def load(self, per_second: float, count: int = 1_000_000, plan: str = "") -> Iterator[Orders]:
        """Orders keep coming, up to ``count``. Leaving the block stops them, and waits until the broker has all."""
        orders, stop = Orders(), threading.Event()

        def run() -> None:
            while len(orders) < count and not stop.wait(1 / per_second):
                self.place(1, plan, orders)
                self.publisher.poll()

        thread = threading.Thread(target=run, name="load")
        thread.start()
        try:
            yield orders
            if count < 1_000_000:
                thread.join()
        finally:
            stop.set()
            thread.join()
        until(Delivered(self, orders), "all orders are delivered", self.tails)

    def send(
        self,
        message: type[Order],
        id_: str | None,
        value: bytes | None,
        *,
        key: bytes | None = b"any",
        **headers: bytes,
    ) -> str:
        """Put a record where messages of this type go: any bytes, any transaction id. Its ``topic/partition/offset``."""
        found = {
            "ce_specversion": b"1.0",
            "ce_id": f"{self._name}-{time.monotonic_ns()}".encode(),
            "ce_source": b"somebody",
            "ce_type": message.TYPE.encode(),
            "content-type": b"application/avro",
        }
        if id_ is not None:
            found["ce_correlationid"] = id_.encode()
        return self.send_to(message.TOPIC, value, key, found | headers)

    def send_to(
        self, topic: str, value: bytes | None, key: bytes | None, headers: Mapping[str, bytes]
    ) -> str:
        places: list[str] = []

        def delivered(error: Any, record: Any) -> None:
            assert error is None, error
            places.append(f"{record.topic()}/{record.partition()}/{record.offset()}")

        # Not idempotent: such a producer waits 500 ms before its first record.
        extra = {
            "enable.idempotence": False,
            "message.max.bytes": 20_000_000,
            "delivery.report.only.error": False,
        }
        producer = self.settings.producer("chaos-sender", linger_ms=0, extra=extra)
        producer.produce(topic, value, key, list(headers.items()), on_delivery=delivered)
        patiently(producer.flush)
        return places[0]

    def flood(self, count: int) -> None:
        """So many events that no saga names, all for shard 0."""
        self.admin.create_topics([TopicSpec(FLOOD, 1)])
        headers = {"ce_source": b"flood", "ce_type": b"chaos.flood.Rained"}
        ids = (self.new_id() for _ in range(10 * len(self.began) * count))
        for_shard_0 = (id_ for id_ in ids if shard_of(id_, len(self.began)) == 0)
        producer = self.settings.producer("chaos-flood", linger_ms=50)
        for id_ in islice(for_shard_0, count):
            found = headers | {"ce_id": id_.encode(), "ce_correlationid": id_.encode()}
            producer.produce(FLOOD, b"wet", None, list(found.items()))
        patiently(producer.flush)

    def await_journaled(self, topic: str) -> None:
        """Until intake has read all that is in this topic now."""
        partitions: list[Partition] = [(topic, p) for p in range(self.admin.topics()[topic])]
        ends = patiently(lambda: self.admin.ends(partitions))
        until(lambda: not self.behind(INTAKE_GROUP, ends), f"{topic} is in the journal", self.tails)

    def fence(self) -> None:
        """Take shard 0's producer from its engine, as another engine does that takes the shard."""
        id_ = "kantor-engine-0"
        self.settings.producer(id_, transactional_id=id_).init_transactions()

    def encode(self, message: Order) -> bytes:
        return self.codec.encoder(message.SCHEMA, message.TOPIC)(message.to_avro())

    def new_id(self) -> str:
        self._placed += 1
        return f"{self._name}-{self._placed}"

    # -- waiting

    def until(self, condition: Callable[[], bool], what: str) -> None:
        """Follow the history until ``condition``."""

        def met() -> bool:
            self.follower.poll()
            return condition()

        until(met, what, self.tails, pause=0)

    def ended(self, orders: Iterable[str]) -> int:
        return sum(self.follower.status(id_) in ENDED for id_ in list(orders))

    def await_ended(self, orders: Orders, count: int) -> None:
        """Until ``count`` of the orders have ended."""
        self.until(lambda: self.ended(orders) >= count, f"{count} of the orders have ended")

    def await_more(self, orders: Orders, count: int = 1) -> None:
        """Until ``count`` more orders have ended than have now."""
        until(self._caught_up, "the history can be read to its end", self.tails)
        self.await_ended(orders, self.ended(orders) + count)

    def await_shards(self, shards: Mapping[Program, int]) -> None:
        """Until each of these engines has so many shards."""

        def met() -> bool:
            return all(engine.metric("kantor_engine_shards") == count for engine, count in shards.items())

        until(met, f"shards are {[(engine.name, count) for engine, count in shards.items()]}", self.tails)

    def await_completed(self, orders: Collection[str]) -> None:
        """Until every one of these has completed."""
        self.until(
            lambda: all(self.follower.status(id_) is Status.COMPLETED for id_ in orders),
            "the orders have completed",
        )

    def behind(self, group: str, ends: Mapping[Partition, int]) -> dict[Partition, tuple[int, int]]:
        """Where a group's position is before these ends."""
        found = self.admin.group_offsets(group)
        return {p: (found.get(p, 0), end) for p, end in ends.items() if found.get(p, 0) < end}

    def _caught_up(self) -> bool:
        self.follower.catch_up()
        return True

    # -- what really happened

    def dead_letter(self, service: str, place: str) -> Record:
        """The dead letter of the record that was at ``place``, once it is there."""
        topic, found = f"dlq.chaos.{service}", list[Record]()

        def there() -> bool:
            found.extend(record for record in self.read(topic) if origin_of(record) == place)
            return bool(found)

        until(there, f"{topic} has {place}", self.tails)
        return found[0]

    def incident(self, id_: str) -> str:
        """Why this transaction needs a person, once it does: the history's word, which is also the view's."""

        def reasons() -> list[str]:
            return [m["reason"] for m in self.follower.moves[id_] if m["kind"] == Kind.INCIDENT_OPENED]

        self.until(lambda: bool(reasons()), f"{id_} has an incident")
        shown = self.seen(id_, lambda trace: bool(trace.incidents))
        assert [incident.reason for incident in shown.incidents] == reasons()
        return reasons()[0]

    def seen(self, id_: str, condition: Callable[[Trace], bool]) -> Trace:
        """What the view says of a transaction, once it fulfils the condition."""
        found: list[Trace] = []

        def there() -> bool:
            with View(self._home / "view.db") as view, suppress(NotFoundError):
                found[:] = [view.trace(id_)]
            return bool(found) and condition(found[0])

        until(there, f"the view shows {id_}", lambda: f"{found}\n{self.tails()}")
        return found[0]

    def uncorrelated(self, topic: str) -> dict[tuple[str, str], Uncorrelated]:
        """What intake says that it can't journal, of this topic: the latest word of each process, by reason."""
        told = watermarks.read(self.settings, "test")
        return {
            (member, reason): one
            for (member, name), found in told.uncorrelated.items()
            if name == topic
            for reason, one in found.items()
        }

    def cli(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """``kantor ARGUMENTS``, with this platform's home."""
        return subprocess.run(
            [sys.executable, "-m", "kantor_orchestrator.cli.main", *arguments],
            env=clean_environment(self._environment | {"KANTOR_HOME": str(self._home)} | environment),
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )

    def read(self, topic: str, start: Mapping[Partition, int] | None = None) -> list[Record]:
        """All committed records of a topic, from ``start`` (default: its beginning) to its end."""
        partitions: list[Partition] = [(topic, p) for p in range(self.admin.topics()[topic])]
        ends = self.admin.ends(partitions)
        positions = {p: start[p] if start else BEGINNING for p in partitions}
        consumer = self.settings.consumer("chaos-reader", ends=True)
        records: list[Record] = []
        try:
            consumer.assign(positions)
            deadline = time.monotonic() + PATIENCE
            while any(positions[p] < end for p, end in ends.items()):
                assert time.monotonic() < deadline, f"{topic} can't be read to its end"
                batch = consumer.poll(0.1, 5_000)
                records += batch.records
                positions |= {(r.topic(), r.partition()): r.offset() + 1 for r in batch.records} | batch.ends
        finally:
            consumer.close()
        return records


class Delivered:
    """Whether the broker has all of the orders. A publisher that delivers nothing for long drops what it has: then those are
    placed again that nobody has seen."""

    def __init__(self, platform: Platform, orders: Orders) -> None:
        self._platform = platform
        self._orders = orders
        self._some_were_dropped = False

    def __call__(self) -> bool:
        platform = self._platform
        if self._some_were_dropped:
            platform.follower.catch_up()
            for id_, plan in self._orders.items():
                if platform.follower.status(id_) is None:
                    platform.publisher(OrderPlaced(order_id=id_, plan=plan), transaction_id=id_)
            self._some_were_dropped = False
        try:
            platform.publisher.flush()
        except KafkaUnavailableError:
            self._some_were_dropped = True
        return not self._some_were_dropped


def origin_of(letter: Record) -> str:
    """Where a dead letter was before."""
    headers = dict(letter.headers() or ())
    return "/".join(
        (headers[f"__dlq.errors.{part}"] or b"").decode() for part in ("topic", "partition", "offset")
    )
