"""An operator action on what nobody knows: it makes no transaction, and is not lost if there is one after all (view-19)."""

from __future__ import annotations

import json

import pytest

from kantor.errors import NotFoundError
from kantor_orchestrator.core import acts
from kantor_orchestrator.core.entry import Entry
from kantor_orchestrator.core.transaction import Kind, Transaction, Transition
from kantor_orchestrator.formats import journal, topics
from kantor_orchestrator.formats.snapshots import decision_record
from kantor_orchestrator.view.database import Location
from kantor_orchestrator.view.facts import detail_of
from kantor_orchestrator.view.queries import Criteria, View
from kantor_orchestrator.view.search import SHORTEST_PREFIX
from view_places import Places
from view_traffic import Traffic, project

ID = "tx-nobody-knows"


@pytest.fixture
def traffic() -> Traffic:
    return Traffic()


@pytest.fixture
def path(places: Places) -> Location:
    return places("view")


def act(traffic: Traffic, transaction: str = "") -> None:
    """A person acts on ``ID``; the engine ignores it, in a decision that names ``transaction``."""
    traffic.now += 10
    said = {"act": acts.START, "id": "a-1", "actor": "ann", "step": "", "why": "because"}
    offset = traffic._journal(ID, json.dumps(said).encode(), list(journal.ACT_HEADERS))
    shard = traffic.records[-1].partition()
    entry = Entry("act", traffic.now, acts.START, "a-1", actor="ann")
    code = acts.IMPOSSIBLE if transaction else acts.NO_TRANSACTION
    ignored = Transition(
        Kind.IGNORED, traffic.now, code=code, reason="no", actor="ann" if transaction else ""
    )
    after = Transaction(transaction)
    traffic.decision(shard, decision_record(after, entry, [ignored], [], traffic.epoch(shard), offset))


def is_shown(path: Location) -> bool:
    """By any way that people have; either by each of them, or by none."""
    with View(path) as view:
        listed = [one.transaction_id for one in view.search(Criteria()).transactions]
        found = [
            view.find(ID),
            view.find(ID[:SHORTEST_PREFIX]),
            [one.transaction_id for one in view.summaries([ID])],
        ]
        observed = [
            one.transaction_id
            for one in view.search(Criteria(status=("observed", "not_looked_at"))).transactions
        ]
        shown = bool(listed)
        assert all((one == [ID]) == shown for one in (*found, listed))
        assert sum(view.counts().values()) == shown
        assert bool(view.stamp(ID)) == shown
        if shown:
            view.trace(ID)
        else:
            assert observed == []
            with pytest.raises(NotFoundError):
                view.trace(ID)
    return shown


@pytest.mark.parametrize("named", ["", ID])
def test_an_act_on_what_nobody_knows_makes_no_transaction(
    traffic: Traffic, path: Location, named: str
) -> None:
    """Neither if the engine's answer names none, nor if it names what was to be started; in each order of the topics."""
    act(traffic, named)
    project(traffic, path)
    assert not is_shown(path)
    act(traffic, named)
    traffic.records.sort(key=lambda record: record.topic())
    project(traffic, path)
    assert not is_shown(path)


@pytest.mark.parametrize("first", [topics.JOURNAL, topics.HISTORY])
@pytest.mark.parametrize("batch", [1, 1_000])
def test_an_act_is_in_the_timeline_of_a_transaction_that_is_known_later(
    traffic: Traffic, path: Location, first: str, batch: int
) -> None:
    """Its start is not in the journal any more, and the history is read later; or is read first."""
    traffic.order(ID)
    traffic.act(ID, acts.CANCEL)
    is_start = [
        r.topic() == topics.JOURNAL and dict(r.headers() or ())[journal.ENTRY] != journal.ACT
        for r in traffic.records
    ]
    records = [r for r, gone in zip(traffic.records, is_start, strict=True) if not gone]
    records.sort(key=lambda record: record.topic() != first)
    for begin in range(0, len(records), batch):
        seen = records[: begin + batch]
        project(traffic, path, seen[begin:])
        assert is_shown(path) == any(r.topic() != topics.JOURNAL and r.key() for r in seen)
    with View(path) as view:
        trace = view.trace(ID)
        assert [one.kind for one in trace.timeline if one.kind == "act"] == ["act"]
        assert view.counts() == {("checkout", trace.status): 1}


def test_what_begins_after_an_act_on_it_is_a_transaction(traffic: Traffic, path: Location) -> None:
    """The operator action is in its timeline: it was said, though nothing came of it."""
    act(traffic)
    project(traffic, path)
    assert not is_shown(path)
    traffic.event(ID, "crm.LeadCreated")
    project(traffic, path)
    assert is_shown(path)
    with View(path) as view:
        assert [one.kind for one in view.trace(ID).timeline] == ["act", "event"]
        assert sum(view.counts().values()) == 1


@pytest.mark.parametrize("length", [2_000, 70_000])
def test_who_said_what_is_known_of_a_long_act(traffic: Traffic, path: Location, length: int) -> None:
    """Its page says who, what and why, and a repeated request finds it: what is kept is JSON, however much somebody has said."""
    traffic.order(ID, 1)
    traffic.act(ID, acts.CANCEL, why="x" * length)
    project(traffic, path)
    with View(path) as view:
        (told,) = [message for message in view.trace(ID).timeline if message.kind == "act"]
    facts = json.loads(told.detail)
    assert (facts["act"], facts["actor"], facts["id"]) == (acts.CANCEL, "ann", f"act-{traffic.now}")
    assert facts["why"] == "x" * min(length, 2_000)


def test_what_is_kept_of_a_large_value_that_is_no_act() -> None:
    """Its beginning."""
    assert detail_of(b"[" * 70_000) == "[" * 2_000
    assert detail_of(b"\xff") == "\ufffd"
