"""What Kafka does under intake's feet: topics recreated, topics without ids, settings that may not be seen (journal-11,
journal-12).
"""

from __future__ import annotations

import logging
from typing import Any

import pytest

from kantor.clients import TopicSpec
from kantor.testing import MemoryBroker
from kantor.testing.admin import MemoryAdmin
from kantor.testing.log import Log
from kantor_orchestrator.formats import topics
from unit.intake_kit import EVENT, OTHER, Running

AGAIN = 4711


@pytest.fixture
def running(caplog: pytest.LogCaptureFixture) -> Running:
    caplog.set_level(logging.INFO, "kantor.intake")
    return Running()


def recreated(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [r.getMessage() for r in caplog.records if getattr(r, "action", "") == "topic_recreated"]


def test_a_topic_recreated_within_moments_loses_no_record(
    running: Running, caplog: pytest.LogCaptureFixture
) -> None:
    """Its records start over at low offsets: under the old topic's id they would be taken for replays."""
    for _ in range(20):
        running.send()
    running.turn()
    running.make_again(EVENT, AGAIN)
    for _ in range(5):
        running.send()
    running.turn()
    new = running.topic_ids()[-1]
    assert new.endswith("1267")  # 4711
    assert running.topic_ids().count(new) == 5
    assert running.journaled()[-5:] == [f"{EVENT}/0/{n}" for n in range(5)]
    assert len(recreated(caplog)) == 1
    assert running.broker.group("kantor-intake").offsets[EVENT, 0] == 5


def test_a_crash_right_after_a_topic_was_found_to_be_another_loses_no_record(running: Running) -> None:
    """What is committed counts in the old one: the next life would go on there, and pass over what is before."""
    running.send()
    running.send()
    running.turn()
    running.make_again(EVENT, AGAIN, reader=False)
    for _ in range(5):
        running.send()
    intake, found = running.intake, list[str]()
    begin_anew = intake._begin_anew

    def crashing(topic: str, id_: bytes) -> None:
        begin_anew(topic, id_)
        found.append(topic)
        raise SystemExit

    intake._begin_anew = crashing  # type: ignore[method-assign]
    with pytest.raises(SystemExit):
        running.turn(300)
    assert found == [EVENT]
    assert running.broker.group("kantor-intake").offsets[EVENT, 0] == 0


def test_a_topic_recreated_that_has_grown_past_the_old_one_is_read_from_its_beginning(
    running: Running, caplog: pytest.LogCaptureFixture
) -> None:
    """A reader that goes on where it was notices nothing, and would pass over what is before."""
    running.send()
    running.turn()
    running.make_again(EVENT, AGAIN, reader=False)
    for _ in range(5):
        running.send()
    running.turn(300)
    new = running.topic_ids()[-1]
    found = zip(running.topic_ids(), running.journaled(), strict=True)
    assert [origin for id_, origin in found if id_ == new] == [f"{EVENT}/0/{n}" for n in range(5)]
    assert len(recreated(caplog)) == 1


def test_without_topic_ids_each_topic_has_marks_of_its_own(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A broker without KIP-516 gives all topics the same id; their names tell them apart."""
    original = MemoryAdmin.topic_ids

    def zeros(self: MemoryAdmin, names: Any, timeout: float = 10.0) -> dict[str, str]:
        return dict.fromkeys(original(self, names, timeout), "AAAAAAAAAAAAAAAAAAAAAA")

    monkeypatch.setattr(MemoryAdmin, "topic_ids", zeros)
    running = Running()
    running.send()
    running.send(OTHER)
    running.send()
    running.turn()
    assert sorted(set(running.topic_ids())) == [f"name:{EVENT}", f"name:{OTHER}"]
    running.make_again(EVENT, 0)
    running.send()
    running.turn()
    last = running.topic_ids()[-1]
    assert last.startswith(f"name:{EVENT}@")  # no replay of the first record of the topic that was before
    assert len(recreated(caplog)) == 1


def test_offsets_that_go_back_in_the_same_topic_are_said(
    running: Running, caplog: pytest.LogCaptureFixture
) -> None:
    """Kafka has lost records (an unclean election); once for each partition."""
    for _ in range(3):
        running.send()
    running.turn()
    consumer: Any = running.intake._consumer
    running.intake._read[EVENT, 0] = 10
    consumer._positions[EVENT, 0], consumer._nothing_at = 1, -1
    running.turn()
    assert "continues at 1, although 10 was already read: Kafka lost records" in caplog.text
    assert recreated(caplog) == []


def test_partitions_that_are_added_are_read(running: Running) -> None:
    """From their beginning, when the metadata show them."""
    running.turn()
    running.broker.topics[EVENT].logs.append(Log((EVENT, 1)))
    running.send(partition=1)
    running.turn(100)
    assert running.journaled() == [f"{EVENT}/1/0"]


def test_a_topic_that_hides_its_settings_stops_no_start(caplog: pytest.LogCaptureFixture) -> None:
    """Only sources are asked, all at once; one that may not be asked counts as usual."""
    caplog.set_level(logging.INFO, "kantor.topics")
    broker = MemoryBroker()
    admin = broker.clients().admin()
    big = {"max.message.bytes": str(3 << 20)}
    admin.create_topics([TopicSpec(EVENT, 1, big), TopicSpec(OTHER, 1), TopicSpec("payroll", 1, big)])
    broker.refused.add(OTHER)
    assert topics.ensure(admin, 1) == 1
    assert int(admin.config(topics.JOURNAL)["max.message.bytes"]) == 6 << 20
    assert f"the max.message.bytes of 1 topics could not be read ({OTHER}: " in caplog.text


def test_a_start_asks_for_no_settings_once_the_journal_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many topics there are."""
    admin = MemoryBroker().clients().admin()
    topics.ensure(admin, 1)
    monkeypatch.setattr(MemoryAdmin, "configs", None)
    monkeypatch.setattr(MemoryAdmin, "config", None)
    assert topics.ensure(admin, 1) == 1
