"""Marks of source topics that are gone: forgotten a day after the last member of intake read them, and nothing else is
(journal-15, watermarks-10)."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from kantor_orchestrator.engine.pruning import GONE, LOOK
from kantor_orchestrator.formats import marks, topics
from unit.engine_place import CATALOG, Place, start_anew
from unit.intake_kit import EVENT, OTHER, Running

OLD, NEW = "old", "new"
#: A day and two looks: one that finds the topic absent, and one after the day.
LATER = GONE / 1000 + 2 * LOOK


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """An engine that has applied a record of each of two topics, and one of a broker that gives no ids."""
    place = Place(tmp_path)
    for schema in CATALOG.values():
        place.schemas.id_of(schema, "t")
    for id_ in (OLD, "name:evt.t.v1", NEW):
        event(place, id_)
    assert marked(place) == {"old/0", "name:evt.t.v1/0", "new/0"}
    return place


def event(place: Place, id_: str) -> None:
    """One of the topic with this id is applied."""
    place.topic_id = id_.encode()
    place.event(f"t-{place._sent}", "shop.OrderPlaced")
    position = place.broker.topics[topics.JOURNAL].logs[0].end
    place.turn_until(lambda: 0 in place.engine._shards and place.engine._shards[0].position == position)


def marked(place: Place) -> set[str]:
    return set(place.engine._shards[0].marks)


def say(place: Place, key: str, value: bytes | None) -> None:
    producer = place.broker.clients().producer("intake")
    producer.produce(topics.WATERMARKS, value, key.encode(), None, 0)
    producer.flush()


def reads(place: Place, *ids: str, member: str = "i") -> None:
    """A member of intake says that it reads these; and which partitions, at what time."""
    about = marks.About({"evt.t.v1": 1}, {"evt.t.v1": [0]}).dump()
    say(place, f"about/{member}", about)
    say(place, f"ids/{member}", json.dumps(ids).encode())
    mark = marks.Mark(place.broker.clock.now(), marks.fingerprint(about))
    say(place, f"mark/{member}", mark.dump())


def wait(place: Place, seconds: float) -> None:
    """This long, with turns at its beginning and its end."""
    for pause in (0.0, LOOK + 1, seconds - LOOK - 1):
        place.broker.clock.sleep(pause)
        for _ in range(100):
            place.engine.turn()


def test_marks_of_a_topic_that_nobody_has_read_for_a_day_are_forgotten(place: Place, tmp_path: Path) -> None:
    """Also by whoever takes the shard later: they are out of the state. Not before a day, and not those of other topics."""
    reads(place, NEW)
    wait(place, GONE / 1000)
    event(place, NEW)
    assert "old/0" in marked(place)
    wait(place, 2 * LOOK + 2)
    event(place, NEW)
    wait(place, 2 * LOOK)
    assert marked(place) == {"name:evt.t.v1/0", "new/0"}
    place.engine.close()
    start_anew(place, tmp_path / "another")
    place.turn_until(lambda: 0 in place.engine._shards)
    assert marked(place) == {"name:evt.t.v1/0", "new/0"}


def test_nothing_is_forgotten_while_the_shard_may_have_its_records_before_it(place: Place) -> None:
    """No entry of after that day has been applied: what intake journaled again may lie before the next one."""
    reads(place, NEW)
    wait(place, 3 * LATER)
    assert "old/0" in marked(place)


@pytest.mark.parametrize("case", ["nobody", "read", "untold"])
def test_nothing_is_forgotten_while_somebody_may_read_the_topic(place: Place, case: str) -> None:
    """No intake has said anything; one reads it; one has not said what it reads."""
    if case != "nobody":
        reads(place, NEW)
    if case == "read":
        reads(place, OLD, member="j")
    elif case == "untold":
        say(place, "about/j", marks.About({"evt.t.v1": 1}, {}).dump())
    for _ in range(2):
        wait(place, LATER)
        event(place, NEW)
    wait(place, LATER)
    assert "old/0" in marked(place)


def test_a_topic_that_is_read_again_in_time_keeps_its_marks(place: Place) -> None:
    """Its partitions were nobody's for half a day: the day begins again."""
    reads(place, NEW)
    wait(place, GONE / 2000)
    reads(place, NEW, OLD)
    wait(place, 2 * LOOK)
    reads(place, NEW)
    wait(place, GONE / 1500)
    event(place, NEW)
    wait(place, 2 * LOOK)
    assert "old/0" in marked(place)


def test_a_timeout_waits_for_the_watermark_though_marks_are_forgotten(place: Place) -> None:
    """watermarks-10: that is all that it waits for, before and after."""
    reads(place, NEW)
    kinds = [place.kinds(f"t-{n}") for n in range(3)]
    for _ in range(2):
        wait(place, LATER)
        event(place, NEW)
    wait(place, 2 * LOOK)
    assert "old/0" not in marked(place)
    assert place.engine._shards[0].timers.verdicts.first()
    assert [place.kinds(f"t-{n}") for n in range(3)] == kinds
    reads(place, NEW)
    place.turn_until(lambda: all(place.kinds(f"t-{n}") != kinds[n] for n in range(3)))


def test_intake_says_which_topics_it_reads() -> None:
    """By their ids; and of one that was recreated the new one."""
    running = Running()
    running.send()
    running.send(OTHER)
    running.turn(100)
    told = running.intake._marker._watermarks.told
    assert set(running.topic_ids()) <= (told.topics_read() or set())
    assert len(set(running.topic_ids())) == 2
    old = running.broker.topics[EVENT].id
    running.make_again(EVENT, 4711)
    running.send()
    running.broker.clock.sleep(11)
    running.turn(200)
    read = told.topics_read()
    assert read is not None
    assert old not in read
    assert str(running.broker.topics[EVENT].id) in read
