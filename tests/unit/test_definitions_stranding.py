"""What a deployment would break in versions that stay, and that it is refused while transactions need them."""

from __future__ import annotations

from collections.abc import Iterable

from kantor_orchestrator.definitions.bundle import Bundle, bundle
from kantor_orchestrator.definitions.catalogue import Definitions
from kantor_orchestrator.definitions.children import children_of
from kantor_orchestrator.definitions.stranding import Broken, Stranded, broken
from kantor_schemas import Schema
from unit import definitions_kit
from unit.definitions_kit import order, record
from unit.deploying_kit import (
    CHILD,
    GIFT,
    MOVED,
    NUMBERED,
    OPTIONAL,
    OTHER,
    PARENT,
    SHELFLESS,
    V1,
    V2,
    V2_GIFT,
    V2_SHELFLESS,
    catalog,
)


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
    assert found.problems[0].startswith("keys: the key note is a field neither of")


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
        "steps.stock.succeeds_on: stock.Reserved is an event, but is sent to warehouse: Kantor reads events only from evt.* topics",
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
