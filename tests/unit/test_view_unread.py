"""A decision that the view can't read is no gap that nobody sees (view-6): the transaction that lacks it, and its shard, say so, with
place and remedy; a record that is none of an engine's is not told as one."""

from __future__ import annotations

import json
from collections.abc import Mapping

import pytest

from kantor.codec import Codec
from kantor.envelope import shard_of
from kantor.errors import CodecError, UnknownSchemaError
from kantor_orchestrator.formats import topics
from kantor_orchestrator.operations.condition import Condition, Role
from kantor_orchestrator.operations.diagnosis import condition_as_json, diagnose
from kantor_orchestrator.view import kept
from kantor_orchestrator.view.database import Location, ViewWriter, for_reading
from kantor_orchestrator.view.projector import Projector
from kantor_orchestrator.view.queries import UnreadDecisions, View
from kantor_orchestrator.view.rows import RowChanges
from kantor_schemas import Schema, system
from unit.test_unreadable_decisions import Forgetful
from view_places import Places
from view_records import Written
from view_saga import CHECKOUT
from view_traffic import SHARDS, T0, KnownSagas, Traffic, project

SHARD = shard_of("tx", SHARDS)
#: Bytes of a schema that nobody published, and that no epoch names.
FOREIGN = b"\0\x7f\xff\xff\xfarubbish"


@pytest.fixture
def path(places: Places) -> Location:
    return places("view")


@pytest.fixture
def traffic() -> Traffic:
    """One order that completes, and another one in another shard."""
    traffic = Traffic()
    traffic.completed("tx", 1)
    traffic.completed("other", 2)
    assert shard_of("other", SHARDS) != SHARD
    return traffic


def decisions(traffic: Traffic) -> list[Written]:
    """Of the order, in order; without the epoch."""
    return [r for r in traffic.records if r.topic() == topics.HISTORY and r.key() == b"tx"]


def rewritten(traffic: Traffic, record: Written, **facts: object) -> Written:
    """The same record, which says something else."""
    said = {**traffic.codec.decode(record.value()), **facts}
    value = traffic.codec.encoder(system("Decision"), topics.HISTORY)(said)
    return Written(record.topic(), SHARD, record.offset(), record.key(), value, [], record.timestamp()[1])


def of_a_newer_kantor(traffic: Traffic, record: Written) -> Written:
    moves = json.loads(traffic.codec.decode(record.value())["transitions"])
    return rewritten(traffic, record, transitions=json.dumps([{**moves[0], "kind": "teleported"}]))


def replaced(traffic: Traffic, old: Written, new: Written) -> None:
    traffic.records[traffic.records.index(old)] = new


def place_of(record: Written) -> str:
    return f"{topics.HISTORY}/{SHARD}/{record.offset()}"


def unread(path: Location) -> list[UnreadDecisions]:
    with View(path) as view:
        return view.unread()


def test_what_a_newer_kantor_decided_is_told(traffic: Traffic, path: Location) -> None:
    """The transaction says where it lies and what to do, in its story and in lists, though it looks as if it was well; the shard
    says how many, and which is the first. What comes after it is read."""
    first, second = decisions(traffic)[1:3]
    for one in (first, second):
        replaced(traffic, one, of_a_newer_kantor(traffic, one))
    project(traffic, path, batch=1)
    with View(path) as view:
        trace, other, listed = view.trace("tx"), view.trace("other"), view.summaries(["tx", "other"])
    assert trace.unread.startswith(f"{place_of(first)}: no decision that can be folded")
    assert trace.unread.endswith("; run the version of Kantor that wrote it")
    assert trace.status == "completed"
    assert listed[0].last_error.endswith(f"so this may be wrong: {trace.unread}")
    assert (other.unread, other.status, listed[1].last_error) == ("", "completed", "")
    (found,) = unread(path)
    assert (found.shard, found.count, found.place, found.transaction_id) == (SHARD, 2, place_of(first), "tx")


def test_a_void_decision_is_no_gap(traffic: Traffic, path: Location) -> None:
    """Of an epoch that is not in force, or on an entry that was decided on: whoever wrote it had lost the shard."""
    first = decisions(traffic)[0]
    new = of_a_newer_kantor(traffic, first)
    for number, facts in enumerate(({"epoch": 77}, {})):
        void = rewritten(traffic, new, **facts)
        offset = traffic._next(topics.HISTORY, SHARD)
        traffic.records.append(Written(topics.HISTORY, SHARD, offset, b"tx", void.value(), [], T0 + number))
    project(traffic, path)
    assert unread(path) == []


class Story:
    """A view whose registry loses the schema of decisions, once it is to have read ``before`` records."""

    def __init__(self, traffic: Traffic, path: Location) -> None:
        self.traffic, self.path, self.schemas = traffic, path, Forgetful()
        self.schemas.__dict__.update(traffic.schemas.__dict__)
        self.id = traffic.schemas.id_of(system("Decision"), topics.HISTORY)

    def read(
        self, given_up: frozenset[int] = frozenset(), since: int = 0, records: list[Written] | None = None
    ) -> RowChanges:
        """One life of the view."""
        writer = ViewWriter(self.path)
        try:
            positions = {partition: position for partition, (position, _) in writer.positions().items()}
            projector = Projector(
                Codec(self.schemas), self.schemas, KnownSagas(CHECKOUT), writer.find, writer.next_no(), positions,
                given_up, writer.epochs(), since,
            )  # fmt: skip
            records = self.traffic.records if records is None else records
            if writer.is_remote:
                writer.expect(projector.unknown(records))
            changes = projector.project(records)
            writer.store(changes, {})
        finally:
            writer.close()
        return changes


@pytest.fixture
def story(traffic: Traffic, path: Location) -> Story:
    return Story(traffic, path)


def test_a_schema_that_the_registry_has_lost_is_waited_for_then_told(story: Story) -> None:
    """However old what was written with it is: it is an engine's. In another life, too, which has not read the epoch itself."""
    records = story.traffic.records
    epoch = next(n for n, r in enumerate(records) if r.topic() == topics.HISTORY and r.partition() == SHARD)
    story.read(records=records[: epoch + 1])
    story.schemas.hidden = {story.id}
    with pytest.raises(UnknownSchemaError):
        story.read(since=T0 * 2)
    assert unread(story.path) == []
    story.read(frozenset({story.id}))
    with View(story.path) as view:
        trace, found = view.trace("tx"), view.unread()
    first = decisions(story.traffic)[0]
    assert trace.unread == (
        f"{place_of(first)}: schema id {story.id} is unknown to the registry; register its schema in the registry again"
    )
    assert trace.status == "not_looked_at"  # which is a lie; it says so
    assert {one.shard for one in found} == {SHARD, shard_of("other", SHARDS)}
    assert [one.count for one in found if one.shard == SHARD] == [len(decisions(story.traffic))]


def test_a_foreign_record_is_not_told_as_a_decision(story: Story) -> None:
    """It does not begin as the epoch says that decisions do. It is counted, and it costs nobody a wait if it is old."""
    offset = story.traffic._next(topics.HISTORY, SHARD)
    story.traffic.records.append(Written(topics.HISTORY, SHARD, offset, b"tx", FOREIGN, [], T0))
    assert story.read(since=T0).unreadable == 1
    with View(story.path) as view:
        assert (view.unread(), view.trace("tx").unread) == ([], "")


class Refusing(Forgetful):
    def schema_of(self, id_: object) -> Schema:
        raise CodecError(f"schema {id_} is PROTOBUF, not Avro")


def test_a_schema_that_is_of_no_use_does_not_end_the_view(story: Story) -> None:
    """The registry has another thing under that id now, say. The view began again for ever."""
    story.schemas.__class__ = Refusing
    assert story.read().unreadable > 0
    (first,) = [one for one in unread(story.path) if one.shard == SHARD]
    assert first.reason.startswith(f"schema {story.id} is PROTOBUF, not Avro; ")


def test_what_was_read_once_needs_the_registry_no_more(story: Story) -> None:
    """The database has the schema: a view that is started again goes on, though the registry has lost it."""
    half = len(story.traffic.records) // 2
    story.read(records=story.traffic.records[:half])
    story.schemas.hidden = {story.id}
    database = for_reading(story.path)
    story.schemas = kept.OldSchemas(story.schemas, database)  # type: ignore[assignment]
    database.close()
    assert story.read().unreadable == 0
    with View(story.path) as view:
        assert (view.trace("tx").status, view.trace("tx").unread) == ("completed", "")


def test_a_rebuild_with_the_schema_lacks_nothing(story: Story, places: Places) -> None:
    """It reads all again. What Kafka has no more stays told."""
    story.schemas.hidden = {story.id}
    story.read(frozenset({story.id}))
    story.schemas.hidden = set()
    old = for_reading(story.path)
    everything: Mapping[tuple[str, int], int] = {
        (t, p): 0 for t in (topics.JOURNAL, topics.HISTORY) for p in range(SHARDS)
    }
    taken = [one for page in kept.told(old, everything) for one in page]
    assert [one.unread for one in taken if one.id == "tx"] in ([], [""])
    nothing = dict.fromkeys(everything, 1 << 40)
    taken = [one for page in kept.told(old, nothing) for one in page if one.id == "tx"]
    assert taken[0].unread.startswith(place_of(decisions(story.traffic)[0]))
    old.close()
    story.path = places("new")
    story.read()
    assert unread(story.path) == []
    with View(story.path) as view:
        assert (view.trace("tx").status, view.trace("tx").unread) == ("completed", "")


def test_the_status_names_shard_place_and_remedy() -> None:
    """As a problem, and as data."""
    found = Condition(
        "broker:9092", roles=[Role(name, True, {"a": 4}, 0) for name in ("intake", "engine", "view")]
    )
    why = "schema id 7 is unknown to the registry; register its schema in the registry again"
    found.unread_decisions = [UnreadDecisions(2, 3, "sys.kantor.history/2/17", "tx", why, 1_000)]
    (problem,) = diagnose(found)
    assert problem.what == (
        "the view could not read 3 decisions of shard 2, so what it shows of their transactions may be wrong; the first is "
        "sys.kantor.history/2/17, of transaction tx: schema id 7 is unknown to the registry"
    )
    assert (
        problem.remedy
        == "register its schema in the registry again; then `kantor view rebuild`, which reads them again"
    )
    assert condition_as_json(found, [problem])["unread_decisions"] == [
        {
            "shard": 2, "count": 3, "first": "sys.kantor.history/2/17", "transaction_id": "tx", "reason": why,
            "at": "1970-01-01T00:00:01.000Z",
        }
    ]  # fmt: skip
