"""What a deployment would break in versions that stay, and that it is refused while transactions need them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest

from kantor.codec import Codec
from kantor.errors import DefinitionError, NotFoundError
from kantor.schemas import KafkaSchemas
from kantor.testing import MemoryBroker
from kantor_orchestrator import topics
from kantor_orchestrator.core.transaction import Status, Transaction
from kantor_orchestrator.definitions import living
from kantor_orchestrator.definitions.bundle import Bundle, bundle
from kantor_orchestrator.definitions.catalogue import Definitions
from kantor_orchestrator.definitions.children import children_of
from kantor_orchestrator.definitions.deploy import Deployment, deploy, read
from kantor_orchestrator.definitions.stranding import Broken, Stranded, StrandingError, broken
from kantor_orchestrator.definitions.undeploy import undeploy
from kantor_orchestrator.snapshots import transaction_record
from kantor_schemas import Catalog, Schema, system
from unit import definitions_kit
from unit.definitions_kit import SCHEMAS, order, record

V1, V2 = order(), order(line_2="version: 2")
WISHED = record("shop.Wished", "evt.shop.wish.v1", order_id="string", sku="string", price="long")
OTHER = order(line_1="saga: other", line_3="starts_on: shop.Wished")
#: `parcel.Book` with a field that nothing fills.
GIFT = record("parcel.Book", order_id="string", sku="string", shelf="string", gift="boolean")
#: The same, compatible.
OPTIONAL = record("parcel.Book", order_id="string", sku="string", shelf="string", gift=("boolean", False))
#: With what `parcel.Book` needs of it in another type.
NUMBERED = record("stock.Reserved", "evt.stock.stock.v1", order_id="string", shelf="long", price="long")
SHELFLESS = record("stock.Reserved", "evt.stock.stock.v1", order_id="string", price="long")
MOVED = record("parcel.Book", "cmd.carrier.v1", order_id="string", sku="string", shelf="string")
#: A version 2 that fills what `GIFT` asks for.
V2_GIFT = V2.replace("    command: parcel.Book", "    command: {type: parcel.Book, fields: {gift: true}}")
#: A version 2 that can live without a shelf.
V2_SHELFLESS = V2.replace(
    "    command: parcel.Book", "    command: {type: parcel.Book, fields: {shelf: \"'?'\"}}"
)


def catalog(*schemas: Schema) -> Catalog:
    return Catalog([*SCHEMAS.values(), WISHED, *schemas])


def bundles(text: str, *schemas: Schema, at: int = 1_000, there: Iterable[Bundle] = ()) -> list[Bundle]:
    models = [one.model for one in definitions_kit.read(text).models()]
    known = children_of([*(b.model for b in there), *models], catalog(*schemas))
    return [bundle(model, catalog(*schemas), at, known) for model in models]


def change(there: list[Bundle], text: str, *schemas: Schema) -> list[Broken]:
    added = bundles(text, *schemas, at=2_000, there=there)
    return broken(Definitions(there), Definitions([*there, *added]))


# -- what breaks


def test_a_compatible_deployment_breaks_nothing() -> None:
    """A new field with a default is no reason."""
    assert change(bundles(V1), V2, OPTIONAL) == []


def test_a_new_required_field_breaks_the_version_that_does_not_fill_it() -> None:
    """Its command could not be built any more."""
    (found,) = change(bundles(V1), V2_GIFT, GIFT)
    assert (found.saga, found.version, found.is_in_force) == ("order", 1, False)
    assert found.problems == (
        "steps.parcel.command: nothing fills the field gift: no such field in stock.Reserved, shop.Ordered",
    )


def test_a_field_of_another_type_breaks_who_fills_a_command_with_it() -> None:
    """What the event will bring does not fit."""
    numbered = V2.replace(
        "    command: parcel.Book", "    command: {type: parcel.Book, fields: {shelf: \"'?'\"}}"
    )
    (found,) = change(bundles(V1), numbered, NUMBERED)
    assert "stock.shelf is long, but parcel.Book.shelf wants string" in found.problems[0]


def test_a_field_that_is_gone_from_an_event_breaks_who_captures_it() -> None:
    """It is named."""
    (found,) = change(bundles(V1), V2_SHELFLESS, SHELFLESS)
    assert "nothing fills the field shelf" in found.problems[0]


def test_a_field_that_is_gone_from_a_command_breaks_who_says_how_to_fill_it() -> None:
    """It is written in the definition."""
    filled = V1.replace("    command: parcel.Book", "    command: {type: parcel.Book, fields: {gift: true}}")
    (found,) = change(bundles(filled, GIFT), V2)
    assert found.problems == ("steps.parcel.command.fields.gift: parcel.Book has no field gift",)


def test_a_search_key_that_is_gone_breaks_its_version() -> None:
    """People search by it."""
    keyed = V1.replace("keys: [order_id]", "keys: [note]")
    noteless = record("shop.Ordered", "evt.shop.order.v1", order_id="string", sku="string", price="long")
    (found,) = change(bundles(keyed), V2, noteless)
    assert found.problems[0].startswith("keys: the key note is a field of neither")


def test_a_command_that_moves_breaks_the_version_that_sends_it_to_the_old_topic() -> None:
    """Its service listens elsewhere."""
    (found,) = change(bundles(V1), V2, MOVED)
    assert found.problems == ("it sends parcel.Book to cmd.parcel.v1, but that moves to cmd.carrier.v1",)


def test_commands_of_the_same_saga_that_move_break_its_older_version() -> None:
    """`commands:` says where the service listens, too."""
    routed = f"{V2}\ncommands:\n  parcel.Book: {{topic: old.parcels}}"
    (found,) = change(bundles(V1), routed)
    assert found.problems == ("it sends parcel.Book to cmd.parcel.v1, but that moves to old.parcels",)


def test_commands_of_another_saga_concern_nobody_else() -> None:
    """Each saga says itself where its commands go."""
    assert change(bundles(V1), f"{OTHER}\ncommands:\n  parcel.Book: {{topic: old.parcels}}") == []


def test_an_event_may_move_to_another_topic_that_intake_reads() -> None:
    """But not to one that nobody reads."""
    near = record("stock.Reserved", "evt.stock.two.v1", order_id="string", shelf="string", price="long")
    far = record("stock.Reserved", "warehouse", order_id="string", shelf="string", price="long")
    assert change(bundles(V1), V2, near) == []
    assert change(bundles(V1), V2, far)[0].problems == (
        "stock.Reserved moves to warehouse, which nobody reads",
    )


def test_another_saga_in_force_is_broken_too() -> None:
    """Transactions may start on it any time."""
    there = [*bundles(OTHER), *bundles(V1)]
    found = change(there, V2_GIFT, GIFT)
    assert [(one.saga, one.version, one.is_in_force) for one in found] == [
        ("order", 1, False),
        ("other", 1, True),
    ]


def test_what_was_broken_before_does_not_count() -> None:
    """Only what this deployment breaks is told."""
    there = [*bundles(V1), *bundles(V2_GIFT, GIFT, at=2_000)]
    assert change(there, V2_GIFT.replace("version: 2", "version: 3"), GIFT) == []


CHILD = order(line_1="saga: child", line_3="starts_on: shop.Wished") + "\nreturns: {where: stock.shelf}"
PARENT = """
saga: parent
version: 1
starts_on: shop.Ordered
deadline: 1h
steps:
  inner: {saga: child}
  parcel:
    after: inner
    command: {type: parcel.Book, fields: {shelf: inner.where}}
    succeeds_on: parcel.Booked
"""


def family() -> list[Bundle]:
    return bundles(f"{CHILD}\n---\n{PARENT}")


def test_a_child_that_returns_less_breaks_its_parent() -> None:
    """The parent's command is filled with it."""
    less = CHILD.replace("version: 1", "version: 2").replace("{where:", "{place:")
    (found,) = change(family(), less)
    assert (found.saga, found.is_in_force) == ("parent", True)
    assert "inner.where" in found.problems[0]


def test_a_child_that_returns_another_type_breaks_its_parent() -> None:
    """It would not fit."""
    other = CHILD.replace("version: 1", "version: 2").replace("stock.shelf", "stock.price")
    (found,) = change(family(), other)
    assert "inner.where is long, but parcel.Book.shelf wants string" in found.problems[0]


def test_a_child_with_another_start_breaks_its_parent() -> None:
    """Nobody would answer the parent's start."""
    hoped = record("shop.Hoped", "evt.shop.hope.v1", order_id="string", sku="string", price="long")
    moved = CHILD.replace("version: 1", "version: 2").replace("shop.Wished", "shop.Hoped")
    (found,) = change(family(), moved, hoped)
    assert found.problems == ("it starts the saga child by shop.Wished, but version 2 starts on shop.Hoped",)


def test_the_refusal_says_how_many_why_and_what_to_do() -> None:
    """One line each."""
    one = Stranded(Broken("order", 1, False, ("keys: gone",)), 3)
    assert str(one) == (
        "3 transactions that run on order version 1 could not go on: keys: gone; "
        "keep what it needs, or let them end first: `kantor list --saga order --version 1`"
    )
    assert str(Stranded(Broken("order", 1, True, ("keys: gone",)), 0)) == (
        "order version 1 is in force (0 transactions alive on it) and could not go on: keys: gone; "
        "keep what it needs, or deploy a new version of order that does not need it"
    )


# -- starts that are given up or taken over


def test_a_start_that_was_sent_before_it_was_given_up_starts_what_was_in_force() -> None:
    """Others may have acted on it already; what is sent later starts nothing."""
    given_up = order(line_2="version: 2", line_3="starts_on: shop.Wished")
    found = Definitions([*bundles(V1, at=1_000), *bundles(given_up, at=2_000)])
    before, after = found.starting_with("shop.Ordered", 1_999), found.starting_with("shop.Ordered", 2_000)
    assert (before and (before.version, before.deployed_at), after) == ((1, 1_000), None)


def test_a_start_that_another_saga_took_over_starts_the_one_before_if_it_was_sent_before() -> None:
    """From then on the new one."""
    given_up = order(line_2="version: 2", line_3="starts_on: shop.Wished")
    taken = order(line_1="saga: other")
    found = Definitions([*bundles(V1, at=1_000), *bundles(f"{given_up}\n---\n{taken}", at=2_000)])
    names = [
        saga and saga.name for saga in (found.starting_with("shop.Ordered", at) for at in (500, 1_500, 2_500))
    ]
    assert names == ["order", "order", "other"]


# -- the count, and the refusal


class Platform:
    """A cluster in memory, with transactions in its state."""

    def __init__(self) -> None:
        self.broker = MemoryBroker()
        self.clients = self.broker.clients()
        self.schemas = KafkaSchemas(self.clients)
        self.heard: list[str] = []
        self.clients.admin().create_topics(topics.specs(2, 1 << 20))
        codec = Codec(self.schemas)
        self._state = codec.encoder(system("TransactionState"), topics.STATE)
        self._shard = codec.encoder(system("ShardRecord"), topics.STATE)

    def deploy(self, text: str, *schemas: Schema, now: int) -> Deployment:
        written = definitions_kit.read(text).models()
        return deploy(written, catalog(*schemas), self.clients, self.schemas, now=now)

    def undeploy(self, saga: str, version: int | None) -> list[str]:
        removed = undeploy(saga, version, self.clients, self.schemas, tell=self.heard.append)
        return [bundle.key for bundle in removed]

    def put(self, id_: str, status: Status | None, version: int = 1, shard: int = 0) -> None:
        """A snapshot as the engine commits it; None: its tombstone."""
        value = None
        if status is not None:
            txn = Transaction(id_, saga="order", version=version, status=status)
            value = self._state(transaction_record(txn))
        self._commit(id_.encode(), value, shard)

    def processed(self, clock: int) -> None:
        """What was sent up to then has been processed."""
        for shard in range(2):
            record = {"position": 1, "clock": clock, "watermarks": {"evt.a.v1/0": clock}, "holds": {}}
            self._commit(topics.SHARD_KEY, self._shard(record), shard)

    def _commit(self, key: bytes, value: bytes | None, shard: int) -> None:
        producer = self.clients.producer("engine", transactional_id=f"engine-{shard}")
        producer.init_transactions()
        producer.begin()
        producer.produce(topics.STATE, value, key, None, shard)
        producer.commit()

    def deployed(self) -> list[str]:
        return [b.key for b in read(self.clients, Codec(self.schemas)).bundles()]


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
