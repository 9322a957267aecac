"""Up to when everything is in the journal: what members of intake say, and what follows from that (watermarks-3 to
watermarks-9).
"""

from __future__ import annotations

import pytest

from kantor.clients import TopicSpec
from kantor.testing import MemoryBroker
from kantor_orchestrator.formats import topics, watermarks
from kantor_orchestrator.formats.marks import (
    About,
    Mark,
    Uncorrelated,
    fingerprint,
    load_uncorrelated,
)
from kantor_orchestrator.formats.watermarks import Statements, Watermarks
from kantor_orchestrator.intake import marking
from unit.intake_kit import EVENT, Running

A, B = "evt.a.v1", "evt.b.v1"


class Story:
    """What members say, one after the other."""

    def __init__(self) -> None:
        self.told = Statements()
        self.at = 1_000

    def about(self, member: str, counts: dict[str, int], covers: dict[str, list[int]]) -> str:
        value = About(counts, covers).dump()
        self.told.take(f"about/{member}".encode(), value, self.at)
        return fingerprint(value)

    def mark(self, member: str, at: int, about: str) -> None:
        self.at += 1
        self.told.take(f"mark/{member}".encode(), Mark(at, about).dump(), self.at)

    def low(self) -> int:
        return self.told.low()


@pytest.fixture
def story() -> Story:
    return Story()


def test_nothing_is_known_at_first(story: Story) -> None:
    """So no verdict falls."""
    assert story.low() == 0


def test_the_lowest_of_all_partitions_counts(story: Story) -> None:
    """Whoever reads them."""
    first = story.about("i1", {A: 2, B: 1}, {A: [0, 1]})
    story.mark("i1", 20, first)
    assert story.low() == 0
    second = story.about("i2", {A: 2, B: 1}, {B: [0]})
    story.mark("i2", 10, second)
    assert story.low() == 10
    story.mark("i2", 30, second)
    assert story.low() == 20


def test_a_mark_counts_only_for_what_its_member_covered_then(story: Story) -> None:
    """It may have got a partition since, and have read nothing of it."""
    before = story.about("i1", {A: 2}, {A: [0]})
    story.mark("i1", 20, before)
    after = story.about("i1", {A: 2}, {A: [0, 1]})
    story.mark("i1", 30, before)
    assert story.low() == 0
    story.mark("i1", 40, after)
    assert story.low() == 40


def test_a_member_that_is_gone_holds_up_nobody_once_others_have_its_partitions(story: Story) -> None:
    """And everybody until then."""
    story.mark("gone", 10, story.about("gone", {A: 2}, {A: [1]}))
    here = story.about("here", {A: 2}, {A: [0]})
    story.mark("here", 50, here)
    assert story.low() == 10
    assert not story.told.is_superseded(story.told.members["gone"])
    story.mark("here", 60, story.about("here", {A: 2}, {A: [0, 1]}))
    assert story.low() == 60
    assert story.told.is_superseded(story.told.members["gone"])


def test_what_was_said_stays_true_when_a_partition_moves(story: Story) -> None:
    """From its old member's word on it only gets later."""
    story.mark("i1", 40, story.about("i1", {A: 1, B: 1}, {A: [0], B: [0]}))
    story.mark("i1", 50, story.about("i1", {A: 1, B: 1}, {B: [0]}))
    story.mark("i2", 30, story.about("i2", {A: 1, B: 1}, {A: [0]}))
    assert story.low() == 40


def test_a_topic_that_is_new_holds_up_everybody_until_it_is_read(story: Story) -> None:
    """An answer may be in it. The latest mark tells what exists; of two as late, both do."""
    old = story.about("i1", {A: 1}, {A: [0]})
    story.mark("i1", 20, old)
    new = story.about("i2", {A: 1, B: 1}, {})
    story.mark("i2", 20, new)
    assert story.low() == 0
    story.mark("i2", 30, story.about("i2", {A: 1, B: 1}, {B: [0]}))
    assert story.low() == 20


def test_a_topic_that_is_gone_holds_up_nobody(story: Story) -> None:
    """Nothing is in it any more."""
    story.mark("i1", 20, story.about("i1", {A: 1, B: 1}, {A: [0], B: [0]}))
    story.mark("i2", 30, story.about("i2", {A: 1}, {A: [0]}))
    assert story.low() == 30


@pytest.mark.parametrize(
    "about",
    [About({}, {}), About({A: 3}, {A: [0, 1, 2]}), About({A: 9, B: 2}, {A: [0, 2, 3, 7]}), About({B: 1}, {})],
)
def test_what_a_member_covers_comes_back_as_it_was(about: About) -> None:
    """In a form that stays short."""
    assert About.load(about.dump()) == about


def test_ten_thousand_partitions_are_told_in_a_few_kilobytes() -> None:
    """Once, and a mark says only which it is about."""
    counts = {f"evt.team-{n}.entity-name.v1": 12 for n in range(850)}
    about = About(counts, {topic: list(range(12)) for topic in counts}).dump()
    assert len(about) < 45_000
    assert len(Mark(1_800_000_000_000, fingerprint(about)).dump()) < 60


@pytest.mark.parametrize(
    ("key", "value"),
    [
        (b"", b"{}"),
        (b"mark/i", b"no"),
        (b"about/i", b"[1]"),
        (b"about/i", b'{"a":[1,"x"]}'),
        (b"\xff", b""),
        (b"about/i", b'{"a":[1,"0-999999999"]}'),
        (b"about/i", b'{"a":[99999999999]}'),
        (b"mark/i", b"[" * 100_000),
    ],
)
def test_a_foreign_record_is_named_and_passed_over(
    key: bytes, value: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """It stops nobody."""
    broker = MemoryBroker()
    topics.ensure(broker.clients().admin(), 1)
    producer = broker.clients().producer("test")
    producer.produce(topics.WATERMARKS, value, key, None, 0)
    producer.flush()
    assert watermarks.read(broker.clients(), "test", broker.clock).low() == 0
    assert "sys.kantor.watermarks/0/0 is not a watermark" in caplog.text


# -- a member of intake, and who asks


def written(running: Running) -> list[str]:
    return [
        (entry.key() or b"").decode() for entry in running.broker.topics[topics.WATERMARKS].logs[0].entries
    ]


def test_who_asks_is_answered_within_moments() -> None:
    """With the broker's time of the question: everything that was there then is in the journal."""
    running = Running()
    running.turn(300)
    asker = Watermarks(running.broker.clients(), "test", running.broker.clock)
    asker.poll()
    running.send()
    asked_at = running.broker.clock.now()
    before, turns = asker.low(), 0
    while asker.low() < asked_at and turns < 20:
        asker.want(0)
        running.turn(1)
        asker.poll()
        turns += 1
    assert before < asked_at <= asker.low()
    assert running.broker.clock.now() - asked_at < 250
    assert running.journaled() == [f"{EVENT}/0/0"]


def test_what_is_not_journaled_yet_is_waited_for() -> None:
    """Lag never makes a timeout go off."""
    running = Running()
    running.turn(300)
    running.aside.slow = True
    running.send()
    at = running.broker.clock.now()
    running.turn(6_000)
    assert 0 < watermarks.read(running.broker.clients(), "test", running.broker.clock).low() < at


def test_nothing_is_written_while_nobody_asks_but_for_a_few_bytes() -> None:
    """At most 1 MB an hour in all, with 2,000 source partitions: a round every 10 seconds, what is covered once."""
    running = Running({f"evt.team-{n}.thing.v1": 20 for n in range(100)})
    log = running.broker.topics[topics.WATERMARKS].logs[0]
    journal = running.broker.topics[topics.JOURNAL].logs[0]
    began = running.broker.clock.monotonic()
    while running.broker.clock.monotonic() - began < 600:
        running.turn(100)
    frame = 100  # of a batch with one record, generously
    size = sum(len(e.value() or b"") + len(e.key() or b"") + frame for e in log.entries)
    keys = written(running)
    assert size * 6 < 250_000
    assert len([key for key in keys if key.startswith("about/")]) == 1
    assert 55 <= len([key for key in keys if key.startswith("mark/")]) <= 62
    assert journal.entries == []


def test_one_ask_at_a_time_is_sent() -> None:
    """However many verdicts are due, and however often; again if nobody answers."""
    broker = MemoryBroker()
    topics.ensure(broker.clients().admin(), 1)
    asker = Watermarks(broker.clients(), "test", broker.clock)
    log = broker.topics[topics.WATERMARKS].logs[0]
    for _ in range(100):
        for shard in range(24):
            asker.want(shard)
        asker.poll()
        broker.clock.sleep(0.005)
    assert len(log.entries) == 1
    assert asker.is_awaited
    broker.clock.sleep(1)
    asker.want(3)
    assert [entry.key() for entry in log.entries] == [b"wanted/0", b"wanted/3"]


def test_members_that_are_gone_are_forgotten_in_time() -> None:
    """Once others have said more of what they covered; else the topic would grow with each start of an intake."""
    running = Running()
    first = running.intake
    running.turn(300)
    running.intake._consumer.close()  # killed: it says nothing more
    running.start()
    running.turn(300)
    gone = f"mark/{first._marker.name}"
    assert len([key for key in set(written(running)) if key.startswith("mark/")]) == 2
    running.broker.clock.sleep(marking.GONE / 1000)
    running.turn(600)
    entries = running.broker.topics[topics.WATERMARKS].logs[0].entries
    assert [e.value() for e in entries if (e.key() or b"").decode() == gone][-1] is None
    told = watermarks.read(running.broker.clients(), "test", running.broker.clock)
    assert list(told.members) == [running.intake._marker.name]
    assert told.low() > 0


def test_a_name_for_a_topic_without_id_outlives_its_intake(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the next one would give the topic the name that it had before it was recreated."""
    monkeypatch.setattr(
        "kantor.testing.admin.MemoryAdmin.topic_ids", lambda _, names: dict.fromkeys(names, "")
    )
    running = Running()
    running.send()
    running.send()
    running.turn()
    running.make_again(EVENT, 0)
    running.send()
    running.turn()
    running.intake.close()
    running.start()
    running.send()
    running.turn()
    first, _, again, last = running.topic_ids()
    assert first == f"name:{EVENT}"
    assert again == last
    assert again.startswith(f"{first}@")


def test_a_new_source_topic_is_covered_when_it_is_read() -> None:
    """Until then nobody's timeout goes off."""
    running = Running()
    running.turn(300)
    running.admin.create_topics([TopicSpec("evt.new.v1", 2)])
    running.turn(600)
    told = watermarks.read(running.broker.clients(), "test", running.broker.clock)
    (member,) = told.members.values()
    assert member.about is not None
    assert member.about.covers["evt.new.v1"] == [0, 1]
    assert told.low() > 0


@pytest.mark.parametrize(
    "value",
    [
        b'{"at": 1e999, "about": ""}',
        b'{"at": %s, "about": ""}' % (b"9" * 400),
        b'{"at": -5, "about": ""}',
        b'{"at": "1", "about": ""}',
        b'{"at": NaN, "about": ""}',
        b'{"at": [], "about": ""}',
        b"\xff",
        b"[" * 100_000,
    ],
)
def test_a_mark_that_is_none_is_passed_over(value: bytes, caplog: pytest.LogCaptureFixture) -> None:
    """Whoever reads it, the engine among them, goes on with those that are."""
    broker = MemoryBroker()
    broker.clients().admin().create_topics([TopicSpec(topics.WATERMARKS, 1)])
    producer = broker.clients().producer("somebody")
    producer.produce(topics.WATERMARKS, value, b"mark/i", None, 0)
    producer.produce(topics.WATERMARKS, b"{}", b"wanted/1", None, 0)
    producer.flush()
    told = watermarks.read(broker.clients(), "test", broker.clock)
    assert told.wanted_at
    assert told.low() == 0
    assert "is not a watermark" in caplog.text


def test_what_a_member_says_can_be_kept_in_a_database() -> None:
    """JSON has half surrogate pairs, zero bytes and numbers of any length; a database has none of them."""
    said = rb'{"at": 1, "about": "", "refused": {"evt.\ud800": "a\u0000b"}}'
    assert Mark.load(said).refused == {r"evt.\ud800": r"a\0b"}
    (found,) = load_uncorrelated(rb'{"\ud800": [1, "\u0000"]}', 0).items()
    assert found == (r"\ud800", Uncorrelated(1, r"\0"))
    with pytest.raises(ValueError, match="nor a count"):
        load_uncorrelated(b'{"x": [%s, ""]}' % (b"9" * 30), 0)


def test_what_was_told_while_the_brokers_clock_was_ahead_is_forgotten_when_it_goes_back(story: Story) -> None:
    """Else nobody would ask for as long as it was ahead, nor wait for what intake has not journaled."""
    about = story.about("i1", {A: 1}, {A: [0]})
    story.told.take(b"wanted/1", b"{}", 90_000)
    story.at = 90_000
    story.mark("i1", 90_000, about)
    assert story.low() == 90_000
    story.told.take(b"wanted/1", b"{}", 5_000)
    assert (story.told.wanted_at, story.low()) == (5_000, 0)
    story.at = 5_000
    story.mark("i1", 90_000, about)  # begun before
    assert story.low() == 0
    story.mark("i1", 5_000, about)
    assert story.low() == 5_000


def test_two_brokers_that_differ_by_moments_are_no_clock_that_goes_back(story: Story) -> None:
    """The topic has another leader: what is known stays so."""
    about = story.about("i1", {A: 1}, {A: [0]})
    story.told.take(b"wanted/1", b"{}", 5_000)
    story.at = 5_000
    story.mark("i1", 5_000, about)
    story.told.take(b"wanted/1", b"{}", 4_900)
    assert (story.told.wanted_at, story.low()) == (5_000, 5_000)


def test_intake_answers_as_soon_as_the_brokers_clock_is_right_again() -> None:
    """It does not wait until that time comes."""
    running = Running()
    broker = running.broker
    asking = Watermarks(broker.clients(), "test", broker.clock)

    def answered() -> int:
        before = broker.clock.now()
        for _ in range(200):
            asking.want(0)
            running.turn()
            asking.poll()
            broker.clock.sleep(0.05)
            if before < asking.low() <= broker.clock.now() + broker.ahead:
                return asking.low() - broker.clock.now()
        raise AssertionError(f"nobody answers: {asking.low()}, {asking.told.wanted_at}")

    assert answered() <= 0
    broker.ahead = 86_400_000
    broker.clock.sleep(5)
    assert answered() > 86_000_000
    broker.ahead = 0
    broker.clock.sleep(5)
    assert answered() <= 0
