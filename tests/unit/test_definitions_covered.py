"""Whoever is about to drop an entry knows every definition that was deployed before it came (shard-21)."""

from __future__ import annotations

from typing import Any

import pytest

from kantor.codec import Codec
from kantor.errors import KafkaUnavailableError
from kantor_orchestrator.definitions.catalogue import Definitions, DefinitionsTopic
from unit.deploying_kit import OTHER, V1, Platform

STARTED_BY_OTHER = "shop.Wished"


@pytest.fixture
def platform() -> Platform:
    found = Platform()
    found.deploy(V1, now=1_000)
    return found


def read(platform: Platform) -> tuple[Definitions, Any]:
    """As an engine reads them, with its reader's consumer."""
    topic = DefinitionsTopic(
        platform.clients, Codec(platform.schemas), "test-definitions", platform.broker.clock
    )
    return topic.load(), topic._consumer


def test_what_was_deployed_a_moment_before(platform: Platform) -> None:
    """A definition that the engine has not been sent yet is read before the entry is dropped."""
    definitions, _ = read(platform)
    platform.deploy(OTHER, now=2_000)
    assert STARTED_BY_OTHER not in definitions.named
    assert definitions.covers(2_001)
    assert definitions.named[STARTED_BY_OTHER] == 2_000


def test_asked_once_for_all_that_has_been_heard_of(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The broker is asked once for all entries that were read together, and for none that came before."""
    definitions, consumer = read(platform)
    asked: list[object] = []
    end = consumer.end

    def counted(*args: Any) -> int:
        asked.append(args)
        return int(end(*args))

    monkeypatch.setattr(consumer, "end", counted)
    definitions.refresh(5_000)
    assert all(definitions.covers(at) for at in (4_000, 4_500, 5_000, 1))
    assert len(asked) == 1
    assert definitions.covers(5_001)
    assert len(asked) == 2


def test_an_end_that_can_not_be_asked_for(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is taken for known then: the entry has to wait. Nor do the other shards ask, each of them, the next moment: the
    thread that does all the work would wait for each of them."""
    definitions, consumer = read(platform)
    asked: list[object] = []

    def unavailable(*arguments: object) -> int:
        asked.append(arguments)
        raise KafkaUnavailableError("no broker")

    with monkeypatch.context() as patch:
        patch.setattr(consumer, "end", unavailable)
        assert not any(definitions.covers(2_001) for _ in range(10))
    assert len(asked) == 1
    platform.broker.clock.sleep(3)
    assert definitions.covers(2_001)


def test_an_end_that_does_not_come_is_not_waited_for_long(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half a second in all: the engine's thread waits with it."""
    definitions, consumer = read(platform)
    monkeypatch.setattr(consumer, "end", lambda *_: 1_000)
    began = platform.broker.clock.monotonic()
    assert not definitions.covers(2_001)
    assert platform.broker.clock.monotonic() - began < 0.7


def test_without_a_topic() -> None:
    """Definitions that were given, as in tests, are all there are."""
    assert Definitions().covers(1)
