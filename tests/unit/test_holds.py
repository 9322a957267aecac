"""Holds and releases of whole sagas: each request is carried out once, whatever comes between."""

from __future__ import annotations

from pathlib import Path

import pytest

from kantor_orchestrator.core.entry import Entry
from kantor_orchestrator.formats import journal, topics
from kantor_orchestrator.formats.holds import MOST_ACTS, Holds
from unit.engine_place import CATALOG, PLACED, Place, start_anew


def told(holds: Holds, id_: str, act: str, saga: str = "order") -> tuple[str, str]:
    """The kind and the code of what it comes to."""
    entry = Entry("act", 1, type=act, id=id_, actor="ann", payload={"saga": saga, "why": "because"})
    done = holds.decide(entry)
    holds.fold(done, act, id_)
    return str(done.kind), done.code


def reason(holds: Holds, id_: str, act: str) -> str:
    return holds.decide(Entry("act", 1, type=act, id=id_, actor="ann", payload={"saga": "order"})).reason


def act(place: Place, id_: str, what: str) -> None:
    """What a person does to the whole saga."""
    value = journal.ActEntry(id_, what, "ann", "because", saga="checkout").dump()
    producer = place.broker.clients().producer("people")
    producer.produce(topics.JOURNAL, value, None, journal.ACT_HEADERS, 0)
    producer.flush()


def test_a_hold_that_comes_again_after_the_release_holds_nothing() -> None:
    """Whoever repeats a request for which the answer was lost must not stop what somebody else has released."""
    holds = Holds()
    assert told(holds, "k1", "hold") == ("held", "")
    assert told(holds, "k2", "release") == ("released", "")
    assert told(holds, "k1", "hold") == ("ignored", "done_already")
    assert holds.of("order") == ""


def test_a_refused_release_that_comes_again_is_refused_again() -> None:
    """Although there is something to release by now."""
    holds = Holds()
    assert told(holds, "k1", "release") == ("ignored", "act_impossible")
    told(holds, "k2", "hold")
    assert told(holds, "k1", "release") == ("ignored", "act_impossible")
    assert "nothing to release" in reason(holds, "k1", "release")
    assert holds.of("order")


def test_a_key_of_another_act_is_refused() -> None:
    """It says which operator action it belongs to."""
    holds = Holds()
    told(holds, "k1", "hold")
    assert told(holds, "k1", "release") == ("ignored", "act_impossible")
    assert (
        reason(holds, "k1", "release")
        == "the key k1 belongs to another operator action: hold of order; use a new one"
    )
    assert told(holds, "k1", "hold", saga="") == ("ignored", "act_impossible")


def test_it_is_known_from_the_shard_record_and_for_so_many_acts() -> None:
    """What is kept does not grow for ever."""
    holds = Holds()
    for number in range(MOST_ACTS + 1):
        told(holds, f"k{number}", "hold")
    again = Holds(**{"found" if name == "holds" else name: value for name, value in holds.record().items()})
    assert again.record() == holds.record()
    assert told(again, f"k{MOST_ACTS}", "hold") == ("ignored", "done_already")
    assert told(again, "k0", "hold") == ("held", "")


def test_another_engine_knows_it(tmp_path: Path) -> None:
    """From the shard record, and from the log."""
    place = Place(tmp_path)
    act(place, "k1", "hold")
    act(place, "k2", "release")
    place.turn_until(lambda: place.kinds("") == ["held", "released"])
    place.engine.close()
    start_anew(place, tmp_path)
    act(place, "k1", "hold")
    place.turn_until(lambda: len(place.kinds("")) == 3)
    assert place.told("")[-1]["code"] == "done_already"
    place.engine.close()


@pytest.mark.parametrize("is_taken_anew", [False, True])
def test_a_message_that_could_not_be_read_during_a_hold_is_asked_for_again(
    tmp_path: Path, *, is_taken_anew: bool
) -> None:
    """Its schema is published while the saga is held: after the release the transaction goes on by itself, whoever has the shard."""
    place = Place(tmp_path)
    place.schemas.id_of(PLACED, "t")
    act(place, "k1", "hold")
    place.event("t", "shop.OrderPlaced")
    place.event("t", "inventory.StockReserved")
    place.turn_until(lambda: place.kinds("t") == ["started", "held", "put_off"])
    for _ in range(50):
        place.broker.clock.sleep(0.1)
        place.engine.turn()
    for schema in CATALOG.values():
        place.schemas.id_of(schema, "t")
    if is_taken_anew:
        place.engine.close()
        start_anew(place, tmp_path)
    act(place, "k2", "release")
    place.turn_until(lambda: ("t", "succeeded", "stock") in place.history())
    place.engine.close()


def test_a_message_that_stays_unreadable_during_a_hold_is_an_incident(tmp_path: Path) -> None:
    """Whoever holds the saga sees it before the release."""
    place = Place(tmp_path)
    place.schemas.id_of(PLACED, "t")
    act(place, "k1", "hold")
    place.event("t", "shop.OrderPlaced")
    place.event("t", "inventory.StockReserved")
    place.turn_until(lambda: "incident_opened" in place.kinds("t"))
    place.engine.close()
