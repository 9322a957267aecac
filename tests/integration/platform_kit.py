"""Kantor and the services of ``chaos_services``, each a real process, for tests that break them.

:class:`Platform` starts them, places orders, waits for conditions (never for a time), and reads what really happened:
effects from the services' databases, moves from the history, snapshots from the state topic.
"""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
import urllib.request
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psutil

from integration.chaos_services import (
    DEFINITION,
    ENV_FOLDER,
    MESSAGES,
    SERVICES,
    Order,
    OrderPlaced,
    database,
)
from integration.decisions import Log
from kantor.clients import BEGINNING, Partition, Record, TopicSpec
from kantor.codec import Codec
from kantor.envelope import shard_of
from kantor.errors import KafkaUnavailableError, NotFoundError
from kantor.kafka import KafkaSettings
from kantor.publisher import Publisher
from kantor.schemas import schema_store
from kantor_orchestrator import journal, topics, watermarks
from kantor_orchestrator.acts import moves_of
from kantor_orchestrator.config import INTAKE_GROUP
from kantor_orchestrator.core.transaction import ENDED, Kind, Status, Transaction, Transition, evolve
from kantor_orchestrator.definitions import deploy, yaml_source
from kantor_orchestrator.definitions.reading import Reading
from kantor_orchestrator.snapshots import decided_from, transaction_from
from kantor_orchestrator.view.queries import Trace, View
from kantor_orchestrator.watermarks import Uncorrelated
from kantor_schemas import Catalog
from waiting import PATIENCE, patiently, until

TESTS = Path(__file__).parents[1]
SHARDS = 4
FLOOD = "evt.chaos.flood.v1"
#: What becomes of ten orders.
PLANS = ("good", "no_money", "good", "good", "no_parcel", "good", "no_points", "good", "no_stock", "good")


class Program:
    """One process, in its own session: a signal reaches it by its pid only."""

    def __init__(
        self, name: str, command: Sequence[str], folder: Path, environment: Mapping[str, str]
    ) -> None:
        self.name = name
        self._command = [sys.executable, "-m", *command]
        self._environment = _environment({"KANTOR_LOG": "json", **environment})
        self._log = folder / f"{name}.log"
        self._log_start = 0
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> Self:
        """Start it; see :meth:`await_ready`."""
        assert self._process is None, f"{self.name} runs already"
        self._log_start = self._log.stat().st_size if self._log.exists() else 0
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command, env=self._environment, stdout=log, stderr=log, start_new_session=True
            )
        return self

    def await_ready(self) -> Self:
        """Until it says that it has its partitions."""
        until(lambda: self._said("ready") is not None or self._ended(), f"{self.name} is ready", self.tail)
        return self

    def kill(self) -> None:
        """``kill -9``."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """SIGTERM, and wait until it has finished what it had in hand."""
        self._end(signal.SIGTERM)

    def freeze(self) -> None:
        """SIGSTOP: it does nothing any more, but does not know."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._signal(signal.SIGCONT)

    def start_again(self) -> int | None:
        """Start it if it has ended by itself, as a supervisor does; the code that it ended with. None: it runs."""
        if self._process is None or (code := self._process.poll()) is None:
            return None
        self._process = None
        self.start()
        return code

    def metric(self, name: str) -> float:
        """A sample's value; 0 if it is not (yet) there."""
        started = self._said("started")
        assert started is not None, f"{self.name} has not started"
        with urllib.request.urlopen(
            f"http://127.0.0.1:{started['port']}/metrics", timeout=PATIENCE
        ) as answer:
            lines = answer.read().decode().splitlines()
        return next((float(line.rpartition(" ")[2]) for line in lines if line.startswith(f"{name} ")), 0.0)

    def tail(self) -> str:
        """The end of its log."""
        text = self._log.read_text(errors="replace") if self._log.exists() else ""
        return f"--- {self.name}\n" + "\n".join(line[:400] for line in text.splitlines()[-15:])

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, type_: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._process is not None:
            self._end(signal.SIGTERM, grace=15 if type_ is None else 1)

    def ask_to_stop(self) -> None:
        """SIGTERM, without waiting; nothing if it does not run."""
        if self._process is not None and self._process.poll() is None:
            self._signal(signal.SIGTERM)
            self._signal(signal.SIGCONT)

    def child(self, role: str) -> psutil.Process:
        """The process that runs a role for this ``kantor run``."""
        assert self._process is not None
        started = psutil.Process(self._process.pid).children()
        return next(one for one in started if one.cmdline()[-2:] == ["--role", role])

    def said(self, action: str, **facts: str) -> list[dict[str, Any]]:
        """The lines of this life's log with this action, and these facts."""
        found = []
        with self._log.open("rb") as log:
            log.seek(self._log_start)
            for line in log:
                with suppress(ValueError):
                    one: dict[str, Any] = json.loads(line)
                    if (facts | {"action": action}).items() <= one.items():
                        found.append(one)
        return found

    def _said(self, action: str) -> dict[str, Any] | None:
        """The first of them."""
        return next(iter(self.said(action)), None)

    def _ended(self) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            raise AssertionError(f"{self.name} ended with {self._process.returncode}\n{self.tail()}")
        return False

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None, f"{self.name} does not run"
        os.kill(self._process.pid, number)

    def _end(self, number: signal.Signals, grace: float = PATIENCE) -> None:
        assert self._process is not None, f"{self.name} does not run"
        process, self._process = self._process, None
        if process.poll() is None:
            os.kill(process.pid, number)
        try:
            process.wait(grace)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


class Follower:
    """Reads the history and our commands, valid decisions only, from where they ended when it was made."""

    def __init__(self, settings: KafkaSettings, codec: Codec, followed: Sequence[str]) -> None:
        self._admin = settings.admin()
        self._codec = codec
        self._consumer = settings.consumer("chaos-follower", ends=True)
        counts = self._admin.topics()
        partitions = [(name, p) for name in followed for p in range(counts[name])]
        self._positions = patiently(lambda: self._admin.ends(partitions))
        #: After the last record of each partition that brought one.
        self.reached: dict[Partition, int] = {}
        self.moves: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
        #: The same, as ``evolve`` takes them.
        self.transitions: defaultdict[str, list[Transition]] = defaultdict(list)
        self._log = Log(codec)
        self.commands: Counter[str] = Counter()
        self._consumer.assign(self._positions)

    def poll(self, timeout: float = 0.1) -> None:
        batch = self._consumer.poll(timeout, 5_000)
        for record in batch.records:
            partition = record.topic(), record.partition()
            self._positions[partition] = self.reached[partition] = record.offset() + 1
            if record.topic() == topics.HISTORY and (found := self._log.valid(record)) is not None:
                self._learn(found)
        self._positions.update(batch.ends)

    def _learn(self, decision: dict[str, Any]) -> None:
        id_ = decision["transaction_id"]
        self.moves[id_] += moves_of(decision)
        self.transitions[id_] += decided_from(decision).transitions

    def catch_up(self) -> None:
        """Read all that is committed now. What an open Kafka transaction has written is waited for."""
        ends = self._admin.ends(list(self._positions))
        deadline = time.monotonic() + PATIENCE
        while any(self._positions[partition] < end for partition, end in ends.items()):
            assert time.monotonic() < deadline, f"not caught up: {self._positions} of {ends}"
            self.poll()

    def folded(self, id_: str) -> Transaction:
        """The transaction that the history makes."""
        found = Transaction(id_)
        for transition in self.transitions.get(id_, ()):
            evolve(found, transition)
        return found

    def waits_for_a_person(self, id_: str) -> bool:
        """It has an open incident, so people see it in their lists."""
        return bool(self.folded(id_).incidents)

    def status(self, id_: str) -> Status | None:
        moves = self.moves.get(id_)
        return Status(moves[-1]["status"]) if moves else None

    def close(self) -> None:
        self._consumer.close()


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
        self._events = [name for name in names if name.startswith("evt.")]
        self.follower = Follower(self.settings, self.codec, [topics.HISTORY, *self.command_topics])
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
        until(lambda: not self._behind(INTAKE_GROUP, ends), f"{topic} is in the journal", self.tails)

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

    def settle(self, orders: Orders) -> None:
        """Until all orders have ended, or wait for a person, and nothing is under way any more: every group has read
        everything."""
        waiting_for = ""

        def settled() -> bool:
            nonlocal waiting_for
            self.follower.catch_up()
            open_ = {id_: self.follower.status(id_) for id_ in self._open(orders)}
            sources = self._sources()
            wanted = {f"chaos.{name}": self._read_by(name, sources) for name in SERVICES}
            wanted[INTAKE_GROUP] = sources
            behind = {group: found for group, ends in wanted.items() if (found := self._behind(group, ends))}
            if found := self._unprocessed():
                behind["the engine"] = found
            waiting_for = f"{len(open_)} of {len(orders)} orders {list(open_.items())[:5]}, groups {behind}"
            if open_ or behind:
                return False
            self.follower.catch_up()
            waiting_for = f"a pause: {sources} is {self._sources()} meanwhile"
            return not self._open(orders) and self._sources() == sources

        until(settled, "everything has settled", lambda: f"waiting for {waiting_for}\n{self.tails()}")

    def _open(self, orders: Orders) -> list[str]:
        return [id_ for id_ in orders if not self.ended([id_]) and not self.follower.waits_for_a_person(id_)]

    def _sources(self) -> dict[Partition, int]:
        """After the last record of each of our topics. (Commands are written in Kafka transactions, whose marks have
        offsets, too: what counts is the last record that was read.)"""
        counts = self.admin.topics()
        events = self.admin.ends([(name, p) for name in self._events for p in range(counts[name])])
        reached = self.follower.reached
        return events | {p: end for p, end in reached.items() if p[0] in self.command_topics}

    def _unprocessed(self) -> dict[Partition, tuple[int, int]]:
        """Where a shard's record is before its last entry that can change something. (The group's offsets are for lag
        tools, and follow when there is time.)"""
        entries = [record for record in self.read(topics.JOURNAL, self.began) if record.key() is not None]
        ends = {(topics.JOURNAL, record.partition()): record.offset() + 1 for record in entries}
        positions: dict[Partition, int] = {}
        for record in self.read(topics.STATE):
            if record.key() == topics.SHARD_KEY:
                positions[topics.JOURNAL, record.partition()] = self.codec.decode(record.value())["position"]
        return {p: (positions.get(p, 0), end) for p, end in ends.items() if positions.get(p, 0) < end}

    def _read_by(self, service: str, sources: Mapping[Partition, int]) -> dict[Partition, int]:
        read = {handler.topic for handler in SERVICES[service].handlers}
        return {partition: end for partition, end in sources.items() if partition[0] in read}

    def _caught_up(self) -> bool:
        self.follower.catch_up()
        return True

    def _behind(self, group: str, ends: Mapping[Partition, int]) -> dict[Partition, tuple[int, int]]:
        """Where a group's position is before these ends."""
        found = self.admin.group_offsets(group)
        return {p: (found.get(p, 0), end) for p, end in ends.items() if found.get(p, 0) < end}

    # -- what really happened

    def effects(self) -> dict[str, dict[str, list[int]]]:
        """By order and service, the changes that the services have made."""
        found: defaultdict[str, dict[str, list[int]]] = defaultdict(dict)
        for name in SERVICES:
            path = database(self.folder, name)
            with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as db:
                for order, change in db.execute('SELECT "order", change FROM effects ORDER BY rowid'):
                    found[order].setdefault(name, []).append(change)
        return dict(found)

    def broken_promises(self, orders: Orders, *, tolerate_incidents: bool = False) -> list[str]:
        """Orders that are half-done, or have an effect twice, or did not end as they had to. Those that wait for a person
        are among them, unless that is to be tolerated."""
        found, effects = [], self.effects()
        for id_, plan in orders.items():
            status = self.follower.status(id_)
            changes = {name: effects.get(id_, {}).get(name, []) for name in SERVICES}
            if status is Status.COMPLETED:
                kept = plan == "good" and all(change == [1] for change in changes.values())
            else:
                kept = status is Status.COMPENSATED and all(
                    change in ([], [1, -1]) for change in changes.values()
                )
            if not kept and not (tolerate_incidents and self.follower.waits_for_a_person(id_)):
                found.append(f"{id_} ({plan}) is {status}: {changes}")
        return found + [f"nobody placed {id_}" for id_ in effects.keys() - orders.keys()]

    def completed(self, orders: Orders) -> int:
        return sum(self.follower.status(id_) is Status.COMPLETED for id_ in orders)

    def repeated_moves(self, orders: Orders) -> list[str]:
        """Transactions whose history has a move twice, or moves out of the journal's order."""
        found = []
        for id_ in orders:
            moves = [(m["journal_offset"], m["kind"], m["step"]) for m in self.follower.moves[id_]]
            offsets = [offset for offset, _, _ in moves]
            if len(set(moves)) < len(moves) or offsets != sorted(offsets):
                found.append(f"{id_}: {moves}")
        return found

    def wrong_snapshots(self, orders: Orders) -> list[str]:
        """Transactions whose history, folded, is not what the state topic says."""
        state = {}
        for record in self.read(topics.STATE):
            key = (record.key() or b"").decode()
            if key in orders:
                state[key] = record.value()
        found = []
        for id_ in orders:
            folded = self.follower.folded(id_)
            value = state.get(id_)
            stored = transaction_from(id_, self.codec.decode(value)) if value else None
            if stored != folded:
                found.append(f"{id_}: history says {folded}, state says {stored}")
        return found

    def entries(self, transactions: Iterable[str]) -> list[tuple[str, dict[str, bytes]]]:
        """The journal's messages (not timers) of these transactions, with their headers."""
        wanted = set(transactions)
        found = []
        for record in self.read(topics.JOURNAL, self.began):
            id_ = (record.key() or b"").decode()
            headers = {name: value for name, value in record.headers() or () if value is not None}
            if id_ in wanted and journal.ORIGIN in headers:
                found.append((id_, headers))
        return found

    def replays(self, transactions: Iterable[str]) -> int:
        """How many messages intake has copied into the journal more often than once."""
        entries = self.entries(transactions)
        return len(entries) - len(
            {(headers[journal.TOPIC_ID], headers[journal.ORIGIN]) for _, headers in entries}
        )

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
            env=_environment(self._environment | {"KANTOR_HOME": str(self._home)} | environment),
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


def _environment(added: Mapping[str, str]) -> dict[str, str]:
    """Ours, without what a developer may have set for Kantor."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith("KANTOR_")}
    return ours | {"PYTHONPATH": str(TESTS)} | dict(added)
