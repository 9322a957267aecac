"""Slow handlers: a service stays a member of its group, commits in time, and stops in time, whatever waits (kit-5)."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from uuid import UUID

import pytest

from kantor import Retryable, Service, runner
from kantor.backlog import BATCH_SECONDS, Keeper, done_of
from kantor.clients import Record, TopicSpec, java_partition
from kantor.codec import Codec, MemorySchemas
from kantor.errors import KafkaUnavailableError, KantorError, RegistryUnavailableError
from kantor.metrics import Metrics
from kantor.runner import Session
from kantor.testing import MemoryBroker
from kantor.testing.clock import VirtualClock
from kantor.writing import Writer
from kantor_examples.checkout.messages import BookShipment, ShipmentBooked
from kantor_schemas import Schema
from unit.kit_harness import FakeRecord
from unit.kit_services import BOOK, BOOKED

PLACE = (BookShipment.TOPIC, 0)


class Shipping:
    """A service whose commands take time, and what it did."""

    def __init__(self, waiting: int, *, transactional: bool = False) -> None:
        self.clock = VirtualClock()
        self.broker = MemoryBroker(self.clock)
        self.broker.create_topic(TopicSpec(BookShipment.TOPIC, 1))
        self.broker.create_topic(TopicSpec(ShipmentBooked.TOPIC, 1))
        self.schemas = MemorySchemas()
        self.began: list[float] = []
        self.stop = threading.Event()
        self.act: Callable[[], None] = lambda: self.clock.sleep(1.0)
        self._clients = self.broker.clients()
        producer = self._clients.producer("kantor")
        writer = Writer("kantor", Codec(self.schemas), [BookShipment])
        for number in range(waiting):
            out = writer.start(writer.encode(BOOK, self.clock.now()), f"t{number}", 0)
            producer.produce(out.topic, out.value, out.key, out.headers, 0)
        producer.flush()
        service = Service("shipping", transactional=transactional)

        @service.handles(BookShipment)
        def book(command: BookShipment) -> ShipmentBooked:
            self.began.append(self.clock.monotonic())
            self.act()
            return BOOKED

        self.session = Session(
            service,
            self._clients,
            self.schemas,
            Metrics(),
            None,
            instance="0",
            stop=self.stop,
            clock=self.clock,
        )
        self.session.start(lambda _: None)

    @property
    def committed(self) -> int:
        return self.broker.group("shipping").offsets.get(PLACE, 0)

    @property
    def answered(self) -> int:
        log = self.broker.log((ShipmentBooked.TOPIC, 0))
        return len(log.read(0, 10_000, 1e12, committed=True)[0])


@pytest.mark.parametrize("transactional", [False, True])
def test_a_slow_handler_and_a_backlog(transactional: bool) -> None:
    """Between two polls lies one handler, not a batch of them; each command is handled once, and committed soon."""
    shipping = Shipping(60, transactional=transactional)
    longest = 0.0
    for _ in range(200):
        before = shipping.clock.monotonic()
        shipping.session.turn()
        longest = max(longest, shipping.clock.monotonic() - before)
        assert len(shipping.began) - shipping.committed <= 2
    assert longest <= 1.0 + BATCH_SECONDS
    assert len(shipping.began) == shipping.answered == 60


def test_a_fast_handler_is_not_cut_into_small_batches() -> None:
    """What is handled within half a second is one batch."""
    shipping = Shipping(300)
    shipping.act = lambda: shipping.clock.sleep(0.001)
    while not shipping.began:
        shipping.session.turn()
    assert len(shipping.began) == 300


def test_stopping_ends_with_the_message_in_hand() -> None:
    """What is answered is committed, nothing more is begun, and the rest is another's."""
    shipping = Shipping(100)

    def act() -> None:
        shipping.clock.sleep(0.1)
        if len(shipping.began) == 3:
            shipping.stop.set()

    shipping.act = act
    while not shipping.stop.is_set():
        shipping.session.turn()
    shipping.session.close()
    assert (len(shipping.began), shipping.answered, shipping.committed) == (3, 3, 3)


def test_what_waits_goes_with_its_partition() -> None:
    """Whoever gets the partition handles what was read of it here and not begun: each command is begun once."""
    shipping = Shipping(10)
    while not shipping.began:
        shipping.session.turn()
    shipping.session.close()
    begun = len(shipping.began)
    assert begun < 10
    assert shipping.committed == begun
    other = shipping.broker.clients().consumer("other", group="shipping")
    other.subscribe([BookShipment.TOPIC])
    records = [record for _ in range(20) for record in other.poll(0.1).records]
    assert [record.offset() for record in records] == list(range(begun, 10))


def test_what_is_done_of_a_batch() -> None:
    """Of each partition, what lies before the first record that was left."""
    batch: Sequence[Record] = [
        FakeRecord(b"", [], "t", p, o) for p, o in ((0, 5), (1, 7), (0, 6), (1, 8), (0, 7))
    ]
    assert done_of(batch, []) == batch
    assert done_of(batch, [batch[2]]) == [batch[0], batch[1], batch[3]]
    assert done_of(batch, [batch[4], batch[1]]) == [batch[0], batch[2]]


@pytest.fixture
def polls() -> Iterator[threading.Semaphore]:
    yield threading.Semaphore(0)


def test_a_handler_that_takes_long_is_polled_for(polls: threading.Semaphore) -> None:
    """Another thread polls while a batch is handled, and only then."""
    keeper = Keeper(polls.release, 0.01)
    try:
        with keeper.handling():
            assert polls.acquire(timeout=10)
            assert polls.acquire(timeout=10)
        while polls.acquire(blocking=False):
            pass
        assert not polls.acquire(timeout=0.1)
    finally:
        keeper.close()


def test_trouble_while_keeping_is_told_to_who_handles() -> None:
    """A client that is fenced meanwhile ends the session, not the thread."""
    raised = threading.Event()

    def poll() -> None:
        raised.set()
        raise Retryable("no broker")

    def handle(keeper: Keeper) -> None:
        with keeper.handling():
            assert raised.wait(10)

    keeper = Keeper(poll, 0.01)
    try:
        with pytest.raises(Retryable, match="no broker"):
            handle(keeper)
        with keeper.handling():
            pass
    finally:
        keeper.close()


@pytest.mark.parametrize(
    ("key", "hash_"),
    [
        # Kafka's own test vectors (org.apache.kafka.common.utils.UtilsTest), made positive.
        (b"21", -973932308),
        (b"foobar", -790332482),
        (b"a-little-bit-long-string", -985981536),
        (b"a-little-bit-longer-string", -1486304829),
        (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
    ],
)
def test_javas_partitioner(key: bytes, hash_: int) -> None:
    """A key's hash is that of Kafka's own client."""
    assert java_partition(key, 1 << 31) == hash_ & 0x7FFF_FFFF


def test_a_registry_that_can_not_be_used_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """The service does not end, skips nothing and says meanwhile what it waits for; then it goes on by itself."""
    shipping, asked, said = Shipping(1), [], []
    learn = shipping.schemas.schema_of

    def refuse(id_: int | UUID) -> Schema:
        asked.append(id_)
        said.append(shipping.session.waits)
        if len(asked) < 3:
            raise RegistryUnavailableError("403 at GET /schemas/ids/7")
        return learn(id_)

    monkeypatch.setattr(runner, "_PAUSE", 0.0)
    monkeypatch.setattr(shipping.schemas, "schema_of", refuse)
    for _ in range(20):
        shipping.session.turn()
    assert said == ["", "403 at GET /schemas/ids/7", "403 at GET /schemas/ids/7"]
    assert shipping.session.waits == ""
    assert len(shipping.began) == shipping.answered == shipping.committed == 1


def test_readiness_names_what_is_waited_for() -> None:
    """Whoever looks at ``/readyz`` sees what to mend."""
    shipping = Shipping(0)
    running = runner.Runner(Service("shipping"), shipping.broker.clients())
    assert running.readiness().reasons == ["it has not begun yet, or is about to end"]
    running._ready.set()
    running._now = shipping.session
    assert running.readiness().reasons == []
    shipping.session.waits = "403 at GET /schemas/ids/7"
    assert running.readiness().reasons == ["it waits: 403 at GET /schemas/ids/7"]


def test_readiness_names_why_the_service_joins_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """The broker keeps it out, or is away: its probe says so, as its log does. It goes when the service has joined."""
    running = runner.Runner(Service("shipping"), MemoryBroker().clients())
    outcomes: list[KantorError | None] = [
        KafkaUnavailableError("the broker keeps this process out of the group shipping"),
        None,
    ]
    said: list[list[str]] = []

    def session(*_: object) -> None:
        said.append(running.readiness().reasons)
        if (outcome := outcomes.pop(0)) is not None:
            raise outcome
        running._assigned([])
        said.append(running.readiness().reasons)
        running.stop()

    monkeypatch.setattr(runner, "_PAUSE", 0.0)
    monkeypatch.setattr(running, "_session", session)
    running._sessions(MemorySchemas(), None, "")
    assert said[1:] == [["it restarts: the broker keeps this process out of the group shipping"], []]


def test_a_service_that_its_group_has_lost_is_not_ready() -> None:
    """It gets no message, and said that it was ready. It is as soon as the group has answered, though that may give it nothing."""
    running = runner.Runner(Service("shipping"), MemoryBroker().clients())
    running._assigned([])
    running._lost([("cmd.shipping.v1", 0)])
    (reason,) = running.readiness().reasons
    assert reason.startswith("the group shipping has lost it")
    running._assigned([])
    assert running.readiness().reasons == []
