"""Who starts transactions: what becomes of a producer that delivers nothing (kit-7, wire-13)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import pytest

from kantor.clients import BEGINNING, STUCK, Clients, Producer, deliver
from kantor.errors import KafkaUnavailableError, KantorError
from kantor.publisher import Publisher
from kantor.testing import MemoryBroker
from kantor_examples.checkout.messages import OrderPlaced

ORDER = OrderPlaced(order_id="1", customer_id="ada", sku="mug", quantity=1, amount_cents=100)


class Stubborn:
    """A producer that never delivers; ``broken``: and says so."""

    def __init__(self, broker: MemoryBroker, *, broken: bool = False) -> None:
        self._broker = broker
        self._broken = broken
        self._verdicts: list[Callable[[Any, Any], None]] = []
        self.delivered = 0
        self.purged = False

    def produce(
        self,
        topic: str,
        value: bytes | None,
        key: bytes | None,
        headers: Sequence[tuple[str, bytes | None]] | None,
        partition: int = -1,
        on_delivery: Callable[[Any, Any], None] | None = None,
    ) -> None:
        self._verdicts += [on_delivery] if on_delivery else []

    def poll(self, timeout: float = 0) -> None:
        self._broker.clock.sleep(timeout)
        if self._broken:
            raise KantorError("the producer is broken")

    def flush(self, timeout: float = 30.0) -> None:
        self.poll(timeout)
        raise KafkaUnavailableError("not delivered")

    def done(self) -> int:
        return self.delivered

    def purge(self) -> None:
        self.purged = True
        for told in self._verdicts:
            told("purged", None)


class Cluster:
    """Of its producers the first ones are of no use."""

    def __init__(self, broker: MemoryBroker, *useless: Stubborn) -> None:
        self._clients: Clients = broker.clients()
        self._useless = list(useless)

    def producer(
        self,
        client_id: str,
        *,
        transactional_id: str | None = None,
        linger_ms: float = 5,
        extra: Mapping[str, Any] | None = None,
    ) -> Any:
        if client_id.endswith("-publisher") and self._useless:
            return self._useless.pop(0)
        return self._clients.producer(client_id, transactional_id=transactional_id, extra=extra)

    def consumer(self, client_id: str, **options: Any) -> Any:
        return self._clients.consumer(client_id, **options)

    def admin(self, client_id: str = "kantor-admin") -> Any:
        return self._clients.admin(client_id)


@pytest.fixture
def broker() -> MemoryBroker:
    return MemoryBroker()


def publisher(broker: MemoryBroker, *useless: Stubborn, wait: bool) -> Publisher:
    return Publisher("shop", Cluster(broker, *useless), [OrderPlaced], wait=wait, clock=broker.clock)


def arrived(broker: MemoryBroker) -> list[bytes | None]:
    """The keys of what was delivered."""
    consumer = broker.clients().consumer("test", ends=True)
    consumer.assign({(OrderPlaced.TOPIC, number): BEGINNING for number in range(4)})
    return [record.key() for _ in range(4) for record in consumer.poll(0).records]


def test_a_stuck_producer_is_replaced_and_the_message_sent_by_the_next(broker: MemoryBroker) -> None:
    """Whoever waits for it learns nothing of that."""
    stuck, began = Stubborn(broker), broker.clock.monotonic()
    publish = publisher(broker, stuck, wait=True)
    assert publish(ORDER, transaction_id="t1") == "t1"
    assert STUCK < broker.clock.monotonic() - began < STUCK + 1
    assert (arrived(broker), stuck.purged) == ([b"t1"], True)
    publish(ORDER, transaction_id="t2")
    assert sorted(arrived(broker)) == [b"t1", b"t2"]  # type: ignore[type-var]


def test_if_the_next_one_is_stuck_too_the_broker_is_unavailable(broker: MemoryBroker) -> None:
    """It is told in the end; later calls have another chance."""
    publish = publisher(broker, Stubborn(broker), Stubborn(broker), wait=True)
    with pytest.raises(KafkaUnavailableError, match="not delivered within 30 s"):
        publish(ORDER, transaction_id="t1")
    publish(ORDER, transaction_id="t1")
    assert arrived(broker) == [b"t1"]


def test_a_broken_producer_is_told_and_replaced(broker: MemoryBroker) -> None:
    """It may or may not have sent: the caller sends again."""
    broken = Stubborn(broker, broken=True)
    publish = publisher(broker, broken, wait=True)
    with pytest.raises(KantorError, match="broken"):
        publish(ORDER, transaction_id="t1")
    publish(ORDER, transaction_id="t1")
    assert (arrived(broker), broken.purged) == ([b"t1"], True)


def test_a_flush_gives_a_stuck_producer_up(broker: MemoryBroker) -> None:
    """What was published since the last flush is published again, by another one."""
    publish = publisher(broker, Stubborn(broker), wait=False)
    publish(ORDER, transaction_id="t1")
    with pytest.raises(KafkaUnavailableError):
        publish.flush()
    assert arrived(broker) == []
    publish(ORDER, transaction_id="t1")
    publish.flush()
    assert arrived(broker) == [b"t1"]


def test_a_producer_that_broke_while_nothing_was_published_is_replaced(broker: MemoryBroker) -> None:
    """Its housekeeping finds out."""
    publish = publisher(broker, Stubborn(broker, broken=True), wait=False)
    with pytest.raises(KantorError, match="broken"):
        publish.poll()
    publish(ORDER, transaction_id="t1")
    publish.flush()
    assert arrived(broker) == [b"t1"]


class Slow(Stubborn):
    """Delivers one record in 15 s."""

    def flush(self, timeout: float = 30.0) -> None:
        self._broker.clock.sleep(15)
        self.delivered += 1
        if self.delivered < 5:
            raise KafkaUnavailableError("not delivered")


def test_a_producer_that_delivers_slowly_is_not_stuck(broker: MemoryBroker) -> None:
    """As long as there is progress, it is waited for."""
    slow = Slow(broker)
    deliver(cast("Producer", slow), broker.clock)
    assert broker.clock.monotonic() == 75
