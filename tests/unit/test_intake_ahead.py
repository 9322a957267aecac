"""Intake reads on while the broker has yet to confirm a few records, and takes none of them for done (journal-7)."""

from __future__ import annotations

import pytest

from kantor.errors import KantorError
from kantor.testing.consumer import MemoryConsumer
from kantor_orchestrator.config import INTAKE_GROUP
from kantor_orchestrator.formats import topics
from kantor_orchestrator.intake.loop import AHEAD
from unit.intake_kit import EVENT, OTHER, Running

FIRST = (EVENT, 0)


@pytest.fixture
def running() -> Running:
    """Its broker has confirmed nothing since it began to be slow."""
    running = Running()
    running.turn()
    running.aside.slow = True
    return running


def committed(running: Running) -> dict[tuple[str, int], int]:
    return running.broker.clients().admin().group_offsets(INTAKE_GROUP)


def test_the_next_event_does_not_wait_for_the_one_before_it(running: Running) -> None:
    """Both reach the journal with one confirmation, in the order of their topic."""
    running.send()
    running.turn(1)
    running.send()
    running.turn(1)
    running.aside.confirm()
    assert running.journaled() == [f"{EVENT}/0/0", f"{EVENT}/0/1"]


def test_nothing_is_committed_before_the_broker_has_it(running: Running) -> None:
    """Whoever takes over would pass over it."""
    running.send()
    running.turn()
    assert committed(running) == {}
    running.aside.slow = False
    running.aside.confirm()
    running.turn()
    assert committed(running) == {FIRST: 1}


def test_what_came_while_the_broker_was_asked_has_a_question_of_its_own(running: Running) -> None:
    """Its answer to the first may be older than the second."""
    running.send()
    running.turn(1)
    producer = running.intake._appender._producer
    running.aside.confirm()
    running.intake._appender.produce(topics.JOURNAL, b"", b"t-2", [], 0)
    running.intake._appender.send()
    assert not running.intake._appender.is_done()
    running.aside.confirm()
    assert running.intake._appender.is_done()
    assert producer.done() == 2


def test_many_wait_for_the_broker(running: Running) -> None:
    """No more than a few are read ahead, so that its memory and what comes twice after a crash stay small."""
    for _ in range(AHEAD):
        running.send()
    running.turn(1)
    running.send()
    running.turn(1)
    assert len(running.journaled()) == AHEAD
    assert running.value("journaled_total") == AHEAD


def test_a_refusal_that_comes_later_ends_intake_all_the_same(running: Running) -> None:
    """And nothing of what was under way is committed by leaving the group."""
    running.send()
    running.turn(1)
    running.broker.unwritable.add(topics.JOURNAL)
    running.aside.confirm()
    with pytest.raises(KantorError, match="not delivered"):
        running.turn(1)
    running.intake.close()
    assert committed(running) == {}


def test_a_partition_that_is_given_away_takes_what_is_under_way_with_it(running: Running) -> None:
    """Whoever reads it now commits for it; a late confirmation here must not."""
    running.send()
    running.send(OTHER)
    running.turn(1)
    running.intake._revoked([FIRST])
    running.aside.confirm()
    running.turn(1)
    assert FIRST not in running.intake._reached
    assert running.intake._reached[OTHER, 0] == 1


def test_a_broker_that_confirms_nothing_is_told(running: Running) -> None:
    """The loop turns all the same; what it has read stands still."""
    running.turn(3_000)
    assert running.wellness.reasons() == []
    running.send()
    running.turn(3_000)
    (reason,) = running.wellness.reasons()
    assert "intake (records confirmed by the broker) has been at 0" in reason
    running.aside.confirm()
    running.turn(1)
    assert running.wellness.reasons() == []


def test_what_was_given_away_is_not_waited_for(running: Running) -> None:
    """A partition that is another's now, with all that was under way: intake does not stand still for it."""
    running.send()
    running.turn(1)
    running.intake._revoked([FIRST])
    running.aside.confirm()
    running.turn(3_000)
    assert running.wellness.reasons() == []
    assert running.intake._under_way.records == 0


def test_records_that_come_without_a_pause_are_no_standstill(running: Running) -> None:
    """One is always under way, and none of them for long."""
    for _ in range(300):
        running.broker.clock.sleep(0.1)
        running.aside.confirm()
        running.send()
        running.turn(1)
        assert running.intake._under_way.records == 1
        assert running.wellness.reasons() == []


def test_each_event_wakes_the_client(running: Running) -> None:
    """While it is being flushed, librdkafka lets what is produced lie until the broker has answered, also if another broker would
    take it; but no more than five flushes wait at a time."""
    for count in (1, 2, 3, 4, 5, 5):
        running.send()
        running.turn(1)
        assert len(running.aside.waiting) == count
    running.aside.confirm()
    running.turn(1)
    assert len(running.aside.waiting) == 1
    running.aside.confirm()
    running.turn(1)
    assert running.intake._under_way.records == 0


def test_an_intake_that_its_group_has_lost_is_not_ready(running: Running) -> None:
    """It reads nothing, and said that it was ready. Nobody replaces it: another one would be let in no sooner."""
    running.intake._lost([FIRST])
    running.turn(3_000)
    (reason,) = running.wellness.waits()
    assert reason.startswith("the group kantor-intake has lost this process")
    assert running.wellness.reasons() == []
    consumer = running.intake._consumer
    assert isinstance(consumer, MemoryConsumer)
    assert consumer._on_assign is not None
    consumer._on_assign([])  # the group's answer, though it gives it nothing
    assert running.wellness.waits() == []
