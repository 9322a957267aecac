"""Deploying and undeploying are refused while transactions need what would change."""

from __future__ import annotations

from typing import Any

import pytest

from kantor.errors import DefinitionError, FencedError, NotFoundError
from kantor_orchestrator.core.transaction import Status, Transaction
from kantor_orchestrator.definitions import living
from kantor_orchestrator.definitions.deploy import writer
from kantor_orchestrator.definitions.stranding import StrandingError
from kantor_orchestrator.formats import topics
from kantor_orchestrator.formats.snapshots import transaction_record
from unit.deploying_kit import (
    CHILD,
    GIFT,
    OPTIONAL,
    OTHER,
    PARENT,
    V1,
    V2,
    V2_GIFT,
    Platform,
)


@pytest.fixture
def platform() -> Platform:
    """With version 1 deployed."""
    found = Platform()
    found.deploy(V1, now=1_000)
    return found


ALIVE = [Status.RUNNING, Status.PARKED, Status.COMPENSATING]


def test_a_deployment_that_would_strand_live_transactions_is_refused_with_their_count(
    platform: Platform,
) -> None:
    """Whatever they wait for; ended ones and those of other versions don't count."""
    for number, status in enumerate([*ALIVE, Status.COMPLETED, Status.COMPENSATED, Status.CLOSED]):
        platform.put(f"t{number}", status, shard=number % 2)
    platform.put("gone", Status.RUNNING)
    platform.put("gone", None)
    platform.put("other", Status.RUNNING, version=7)
    with pytest.raises(StrandingError) as raised:
        platform.deploy(V2_GIFT, GIFT, now=2_000)
    (stranded,) = raised.value.stranded
    assert stranded.count == len(ALIVE)
    assert stranded.as_json()["saga"] == "order"
    assert platform.deployed() == ["order/1"]
    assert "3 transactions that run on order version 1 could not go on" in str(raised.value)


def test_it_is_allowed_when_they_have_ended(platform: Platform) -> None:
    """Nobody needs the old schemas then."""
    platform.put("t1", Status.RUNNING)
    with pytest.raises(StrandingError):
        platform.deploy(V2_GIFT, GIFT, now=2_000)
    platform.put("t1", Status.COMPLETED)
    platform.deploy(V2_GIFT, GIFT, now=3_000)
    assert platform.deployed() == ["order/1", "order/2"]


def test_a_compatible_deployment_passes_whoever_is_alive(platform: Platform) -> None:
    """They go on."""
    platform.put("t1", Status.RUNNING)
    platform.deploy(V2, OPTIONAL, now=2_000)
    assert platform.deployed() == ["order/1", "order/2"]


def test_breaking_another_saga_in_force_is_refused_though_nothing_runs_on_it(platform: Platform) -> None:
    """The next one could start right after; deployed together with its new version it is fine."""
    platform.deploy(OTHER, now=1_500)
    with pytest.raises(StrandingError, match="other version 1 is in force"):
        platform.deploy(V2_GIFT, GIFT, now=2_000)
    other = V2_GIFT.replace("saga: order", "saga: other").replace("shop.Ordered", "shop.Wished")
    platform.deploy(f"{V2_GIFT}\n---\n{other}", GIFT, now=2_000)
    assert platform.deployed() == ["order/1", "order/2", "other/1", "other/2"]


def test_the_count_waits_for_a_batch_that_is_under_way(platform: Platform) -> None:
    """What it starts counts once it is committed."""
    producer = platform.clients.producer("engine", transactional_id="slow")
    producer.init_transactions()
    producer.begin()
    txn = Transaction("t1", saga="order", version=1, status=Status.RUNNING)
    producer.produce(topics.STATE, platform._state(transaction_record(txn)), b"t1", None, 0)
    producer.flush()
    began = platform.broker.clock.monotonic()
    platform.deploy(V2_GIFT, GIFT, now=2_000)  # nobody commits it: after its timeout the broker aborts it
    assert platform.broker.clock.monotonic() - began > 9
    assert platform.deployed() == ["order/1", "order/2"]


# -- undeploying


def test_a_version_that_nothing_needs_is_removed(platform: Platform) -> None:
    """Once what was sent before its successor came is processed."""
    platform.deploy(V2, now=2_000)
    platform.processed(2_000)
    assert platform.undeploy("order", 1) == ["order/1"]
    assert platform.deployed() == ["order/2"]


@pytest.mark.parametrize("status", [Status.RUNNING, Status.COMPENSATED])
def test_a_version_with_transactions_stays(platform: Platform, status: Status) -> None:
    """Also with ended ones, as long as they are kept: what comes late for them needs it."""
    platform.deploy(V2, now=2_000)
    platform.processed(2_000)
    platform.put("t1", status)
    with pytest.raises(DefinitionError, match=r"1 transaction is (alive|ended) on order version 1"):
        platform.undeploy("order", 1)
    assert platform.deployed() == ["order/1", "order/2"]
    platform.put("t1", None)
    platform.undeploy("order", 1)
    assert platform.deployed() == ["order/2"]


def test_a_version_stays_while_starts_that_count_by_it_may_be_under_way(platform: Platform) -> None:
    """They were sent before its successor was deployed."""
    platform.deploy(V2, now=2_000)
    platform.processed(1_999)
    with pytest.raises(
        DefinitionError, match=r"what was sent before 1970-01-01T00:00:02\.000Z counts for order"
    ):
        platform.undeploy("order", 1)


def test_the_version_in_force_stays(platform: Platform) -> None:
    """Without it the one before would be in force again, or nothing."""
    with pytest.raises(
        DefinitionError, match=r"order version 1 is in force: shop\.Ordered starts it; .*--all"
    ):
        platform.undeploy("order", 1)


def test_a_whole_saga_is_removed_at_once(platform: Platform) -> None:
    """All of its versions."""
    platform.deploy(V2, now=2_000)
    assert platform.undeploy("order", None) == ["order/1", "order/2"]
    assert platform.deployed() == []


def test_a_saga_that_starts_something_while_it_is_removed_is_deployed_again(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The engine may have read its start before it heard of the removal."""
    count = living.count

    def late(*arguments: Any) -> living.Living:
        if not platform.deployed():
            platform.put("t1", Status.RUNNING)
        return count(*arguments)

    monkeypatch.setattr(living, "count", late)
    with pytest.raises(
        DefinitionError, match=r"1 transaction is alive on order version 1;.*; it is deployed again"
    ):
        platform.undeploy("order", None)
    assert platform.deployed() == ["order/1"]


@pytest.mark.parametrize("position", [0, 1])
def test_a_saga_stays_while_what_may_have_started_it_is_not_in_the_state(
    platform: Platform, monkeypatch: pytest.MonkeyPatch, position: int
) -> None:
    """No shard has told a position, or one before the journal's end: an engine that was killed may have started a transaction,
    and its shard would wait for the definition for ever."""
    monkeypatch.setattr(living, "_CATCHING_UP", 0.0)
    producer = platform.clients.producer("intake")
    for _ in range(2):
        producer.produce(topics.JOURNAL, b"", b"t1", None, 1)
    producer.flush()
    if position:
        platform.processed(2_000, position)
    with pytest.raises(
        DefinitionError, match=r"order: not all that was sent has been processed.*try again when"
    ):
        platform.undeploy("order", None)
    assert platform.deployed() == ["order/1"]
    platform.processed(2_000, position=2)
    assert platform.undeploy("order", None) == ["order/1"]


def test_a_child_that_a_parent_starts_stays() -> None:
    """The parent would wait for ever."""
    platform = Platform()
    platform.deploy(f"{CHILD}\n---\n{PARENT}", now=1_000)
    with pytest.raises(StrandingError, match="it starts the saga child, which is removed"):
        platform.undeploy("child", None)
    assert platform.deployed() == ["child/1", "parent/1"]


def test_what_is_not_deployed_is_not_found(platform: Platform) -> None:
    """What there is, is told."""
    with pytest.raises(NotFoundError, match="no saga oder is deployed; there are: order"):
        platform.undeploy("oder", 1)
    with pytest.raises(NotFoundError, match="order version 7 is not deployed; there are: 1"):
        platform.undeploy("order", 7)


def test_who_is_overtaken_by_another_deployment_is_told_what_to_do(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of two at the same moment one writes; the other is told so, with the remedy, and has done nothing."""
    known = platform.schemas.id_of

    def overtaken(schema: Any, topic: str) -> Any:
        writer(platform.clients)
        return known(schema, topic)

    monkeypatch.setattr(platform.schemas, "id_of", overtaken)
    with pytest.raises(FencedError, match=r"at the same moment.*run it again"):
        platform.deploy(V2, now=2_000)
    assert platform.deployed() == ["order/1"]
