"""What people see, and what they may rely on."""

from __future__ import annotations

from collections.abc import Iterator

from kantor.envelope import shard_of
from kantor_orchestrator.core import acts
from kantor_orchestrator.core.decide import decide
from kantor_orchestrator.core.entry import Entry
from kantor_orchestrator.core.refusals import REFUSED
from kantor_orchestrator.core.saga import Saga
from kantor_orchestrator.core.transaction import POISON, Incident, Kind, Status, Transaction
from kantor_orchestrator.formats.holds import ALL
from kantor_orchestrator.formats.snapshots import Decided
from simulation.sagas import definitions
from simulation.seen import seen_now
from simulation.world import World

#: Transitions of a transaction that stands still: what comes for it is kept, and what can't be done is told; people care for what can't
#: be read meanwhile.
_STILL = (
    Kind.STARTED, Kind.KEPT, Kind.HELD, Kind.IGNORED, Kind.EXPIRED, Kind.PUT_OFF, Kind.AGAIN_ASKED, Kind.TAKEN_BACK,
    Kind.DROPPED,
)  # fmt: skip
_CODES = ("closed", POISON, REFUSED)


def same_view(world: World) -> Iterator[str]:
    """What people are shown is what is: each field of every page and list agrees with what the topics tell, in the end and now
    and then before."""
    yield from world.shown_otherwise
    if world.plan.view:
        found = seen_now(world)
        yield from found if found is not None else ["the view is behind in the end"]


def standstill(world: World) -> Iterator[str]:
    """While a person holds a saga, its transactions make no transition (saga-30), unless a person closes one: then
    that operator action also tells what the messages that were kept report."""
    for id_, moves in world.ledger.history.items():
        closing = {
            move["journal_offset"]
            for move in moves
            if (move["kind"] == Kind.ENDED and move["code"] == "closed")
            or (move["entry_kind"] == "act" and move["message_type"] == acts.CLOSE)
        }
        holds = world.ledger.holds[shard_of(id_, world.shards)]
        saga = ""  # of what never began: nobody holds that
        for move in moves:
            saga = move["transition"].saga or saga
            held: set[str] = set()
            for act in holds:
                if act["journal_offset"] < move["journal_offset"] and act["kind"] == Kind.HELD:
                    held.add(act["saga"])
                elif act["journal_offset"] < move["journal_offset"] and act["kind"] == Kind.RELEASED:
                    held.discard(act["saga"])
            if move["journal_offset"] in closing:
                continue
            is_held = bool(saga and held & {ALL, saga})
            if is_held and move["kind"] not in _STILL and move["code"] not in _CODES:
                yield f"{id_} is held, but {move['kind']} {move['step']} (entry {move['journal_offset']})"


def closed_is_final(world: World) -> Iterator[str]:
    """saga-29: behind the decision that closes a transaction nothing of it leaves and its status stays, whatever arrives. (A
    parent that asks its child to compensate is told that it can't.)"""
    for decisions in world.ledger.decisions.values():
        closed = set[str]()
        for decision in decisions:
            if decision.transaction_id in closed:
                yield from _lives_on(decision)
            elif any(t.kind is Kind.ENDED and t.status is Status.CLOSED for t in decision.transitions):
                closed.add(decision.transaction_id)


def _lives_on(decision: Decided) -> Iterator[str]:
    where = f"{decision.transaction_id} was closed before entry {decision.journal_offset}"
    for t in decision.transitions:
        if t.status is not None or (t.command is not None and t.kind is not Kind.ANSWERED):
            yield f"{where}, but {t.kind} {t.step} {t.status or ''}".rstrip()
    if len(decision.messages) > sum(t.kind is Kind.ANSWERED for t in decision.transitions):
        yield f"{where}, but {', '.join(message.topic for message in decision.messages)} is sent to"


def a_way_forward(world: World) -> Iterator[str]:
    """saga-32: to each incident that is open when all is quiet, something besides ``close`` can be done that is not refused."""
    deployed = definitions(world.plan.shape)
    for id_ in world.transactions():
        found = world.ledger.transaction(id_)
        if found is None:
            continue
        saga = deployed.saga(found.saga, found.version) if found.saga else None
        for incident in found.incidents:
            if not any(_is_done(saga, found, act, step) for act, step in _ways(incident)):
                yield f"{id_} has {incident}, and everything but a close is refused"


def _ways(incident: Incident) -> Iterator[tuple[str, str]]:
    """Operator actions, and the steps that they are about."""
    for step in dict.fromkeys((incident.step, "")):
        yield from ((acts.RETRY, step), (acts.SKIP, step))
    yield acts.COMPENSATE, ""


def _is_done(saga: Saga | None, found: Transaction, act: str, step: str) -> bool:
    """Whether the operator action changes something now. What it would do is not done."""
    at, said = found.updated_at + 1, {"why": "she knows why", "fields": {}}
    entry = Entry("act", at, act, "a way forward", "acts", payload=said, step=step, actor="ada")
    return any(t.kind is not Kind.IGNORED for t in decide(saga, found, entry, at))
