"""Clients that hang: each blocking call of ``kantor.kafka`` has a limit of ours."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Any

import pytest

from kantor.clients import deliver
from kantor.clock import SYSTEM_CLOCK
from kantor.errors import StuckError
from kantor.kafka import KafkaSettings, Producer, edge

SETTINGS = KafkaSettings("nowhere:1")
PLACE = ("evt.a.v1", 0)


class Frozen:
    """A client of librdkafka of which nothing returns, until the test is over."""

    def __init__(self, *_: object) -> None:
        self.called: list[str] = []

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def call(*_: object, **__: object) -> None:
            self.called.append(name)
            OVER.wait(30)

        return call

    def __len__(self) -> int:
        return 1


OVER = threading.Event()


@pytest.fixture(autouse=True)
def frozen(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(edge, "GRACE", 0.05)
    monkeypatch.setattr(edge, "PATIENCE", 0.05)
    monkeypatch.setattr("confluent_kafka.Producer", Frozen)
    monkeypatch.setattr("confluent_kafka.Consumer", Frozen)
    monkeypatch.setattr("kantor.kafka.admin.AdminClient", Frozen)
    OVER.clear()
    yield
    OVER.set()


def called(client: object) -> list[str]:
    assert isinstance(client, Frozen)
    return client.called


def producer() -> Producer:
    return SETTINGS.producer("kantor-p", transactional_id="id")


@pytest.mark.parametrize(
    ("name", "call"),
    [
        ("flush", lambda: producer().flush(0)),
        ("flush", lambda: deliver(producer(), SYSTEM_CLOCK)),
        ("init_transactions", lambda: producer().init_transactions(0)),
        ("send_offsets_to_transaction", lambda: producer().send_offsets({PLACE: 1}, None, 0)),
        ("commit_transaction", lambda: producer().commit(0)),
        ("abort_transaction", lambda: producer().abort(0)),
        ("commit", lambda: SETTINGS.consumer("c").commit({PLACE: 1}, wait=True)),
        ("committed", lambda: SETTINGS.consumer("c").committed([PLACE], 0)),
        ("get_watermark_offsets", lambda: SETTINGS.consumer("c").end(PLACE, 0)),
        ("close", lambda: SETTINGS.consumer("c").close()),
        ("list_topics", lambda: SETTINGS.admin().topics(0)),
        ("list_offsets", lambda: SETTINGS.admin().ends([PLACE], 0)),
        ("list_offsets", lambda: SETTINGS.admin().starts([PLACE], 0)),
        ("describe_topics", lambda: SETTINGS.admin().topic_ids(["t"], 0)),
        ("describe_configs", lambda: SETTINGS.admin().config("t", 0)),
        ("describe_configs", lambda: SETTINGS.admin().configs(["t"], 0)),
        ("incremental_alter_configs", lambda: SETTINGS.admin().set_config("t", "n", "v", 0)),
        ("describe_consumer_groups", lambda: SETTINGS.admin().group_members("g", 0)),
    ],
)
def test_a_blocking_call_that_does_not_return_says_so(name: str, call: Callable[[], None]) -> None:
    """The caller is told which call of which client hangs; it does not wait for it."""
    with pytest.raises(StuckError, match=rf"^{name} of the .* did not return"):
        call()


def test_nothing_is_called_of_a_producer_that_hangs() -> None:
    """Not even what does not block: it may keep the interpreter's lock, and so the whole process."""
    stuck = producer()
    with pytest.raises(StuckError):
        stuck.commit(0)
    stuck.purge()
    for call in (stuck.poll, stuck.begin, stuck.abort, stuck.flush):
        with pytest.raises(StuckError, match="commit_transaction"):
            call()
    assert called(stuck._producer) == ["commit_transaction"]


def test_a_consumer_that_hangs_is_not_closed() -> None:
    """Closing it would hang, too, and would take away what its stuck thread is using."""
    stuck = SETTINGS.consumer("c")
    with pytest.raises(StuckError):
        stuck.commit({PLACE: 1}, wait=True)
    stuck.close()
    assert called(stuck._consumer) == ["commit"]


def test_an_admin_client_that_hangs_is_left_behind() -> None:
    """An engine has one for as long as it lives: it is asked for the journal's end, before which no timeout goes off."""
    admin = SETTINGS.admin()
    for _ in range(2):
        asked = admin._client[0]
        with pytest.raises(StuckError, match="list_offsets"):
            admin.ends([PLACE], 0)
        assert called(asked) == ["list_offsets"]
        assert admin._client[0] is not asked


class Unanswered:
    """An admin client whose requests are never answered."""

    def __init__(self, *_: object) -> None:
        pass

    def list_offsets(self, request: Any, **_: object) -> Any:
        return {place: Future[Any]() for place in request}


def test_an_admin_request_without_an_answer_costs_its_client(monkeypatch: pytest.MonkeyPatch) -> None:
    """The call returned, and nothing comes: as if it hung."""
    monkeypatch.setattr("kantor.kafka.admin.AdminClient", Unanswered)
    admin = SETTINGS.admin()
    asked = admin._client[0]
    with pytest.raises(StuckError, match="did not return within"):
        admin.ends([PLACE], 0)
    assert admin._client[0] is not asked


class Leaving:
    """A consumer that runs its callback when it is closed, as librdkafka does."""

    def __init__(self, *_: object) -> None:
        self.threads: list[int] = []

    def subscribe(self, _: object, *, on_revoke: Callable[..., None], **__: object) -> None:
        self.on_revoke = on_revoke

    def incremental_unassign(self, _: object) -> None:
        pass

    def resume(self, _: object) -> None:
        pass

    def commit(self, **_: object) -> None:
        self.threads.append(threading.get_ident())

    def close(self) -> None:
        self.threads.append(threading.get_ident())
        self.on_revoke(self, [])


def test_a_callback_calls_its_client_in_its_own_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """From another one librdkafka would answer when the callback is over, which waits for the answer."""
    monkeypatch.setattr("confluent_kafka.Consumer", Leaving)
    consumer = SETTINGS.consumer("c", group="g")
    consumer.subscribe(["t"], on_revoke=lambda _: consumer.commit({PLACE: 1}, wait=True))
    consumer.close()
    inner: Any = consumer._consumer
    closed, committed = inner.threads
    assert closed == committed != threading.get_ident()
