"""Whether people see what is: every field of every page and list, against what the broker's records tell (``told.py``)."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from kantor.envelope import shard_of
from kantor_orchestrator.config import ENGINE_GROUP
from kantor_orchestrator.core import acts
from kantor_orchestrator.core.act_kinds import RELEASE
from kantor_orchestrator.core.decide import consider
from kantor_orchestrator.core.entry import Entry
from kantor_orchestrator.core.saga import definition_path
from kantor_orchestrator.core.transaction import ENDED, Kind, Status, StepState, StepStatus, Transaction
from kantor_orchestrator.formats import topics
from kantor_orchestrator.formats.holds import ALL
from kantor_orchestrator.view.queries import Criteria, OpenIncident, Summary, View
from kantor_orchestrator.view.shown import Step
from kantor_orchestrator.view.status import ShownStatus
from kantor_orchestrator.view.trace import Child, Trace
from simulation.hostile import STRANGERS
from simulation.sagas import definitions
from simulation.shapes import ACTING, Shape, StepShape
from simulation.told import Story, timeline, told
from simulation.view import ViewProcess

if TYPE_CHECKING:
    from simulation.world import World

S = StepStatus
PERSON, KANTOR = "a person", "kantor"
#: The words for a step's kind, where the generator's are others.
_KINDS = {"group": "composite"}


class Saga:
    """What a saga's author has written, as people see it."""

    def __init__(self, shape: Shape) -> None:
        self.keys = ("order_id", "customer_id") if shape.example else ("order_id",)
        self.steps: dict[str, StepShape] = dict(_paths(shape.steps, ""))

    def of(self, path: str) -> StepShape:
        return self.steps[definition_path(path)]


def _paths(steps: tuple[StepShape, ...], above: str) -> Iterator[tuple[str, StepShape]]:
    for step in steps:
        yield above + step.name, step
        yield from _paths(step.steps, f"{above}{step.name}.")


class Expected:
    """What should be shown of everything that a world's topics tell."""

    def __init__(self, world: World) -> None:
        self._world = world
        #: Nothing is promised of these: anything may be wrong with what is told in their name, also in the journal itself.
        written = (entry for entry in world.ledger.foreign if entry.topic() == topics.JOURNAL)
        self.strangers = {*STRANGERS, *((entry.key() or b"").decode("utf-8", "replace") for entry in written)}
        self.told = {id_: one for id_, one in told(world).items() if id_ not in self.strangers}
        self.stories = {id_: Story(one) for id_, one in self.told.items()}
        shape = world.plan.shape
        self._sagas = {"checkout" if shape.example else one.name: Saga(one) for one in shape.family}
        offsets = world.broker.group(ENGINE_GROUP).offsets
        #: By shard: up to which entry an engine has looked, as the log says, and as the engine does (the view asks at times).
        self.looked_at = {
            shard: (
                max((decided.journal_offset for decided in world.ledger.decisions[shard]), default=-1),
                offsets.get((topics.JOURNAL, shard), 0) - 1,
            )
            for shard in range(world.shards)
        }

    def status(self, id_: str, shown: str = "") -> str:
        """``shown``: right if it may be. Whether an engine has looked at the last entry, the view hears late."""
        story, one = self.stories[id_], self.told[id_]
        last = one.entries[-1].offset() if one.entries else -1
        logged, told_ = self.looked_at[one.shard]
        if story.txn.status is Status.OBSERVED and not story.txn.saga and last > logged:
            return shown if shown == "observed" and last <= told_ else "not_looked_at"
        return str(story.txn.status)

    def saga(self, id_: str) -> Saga | None:
        return self._sagas.get(self.stories[id_].txn.saga)

    def keys(self, id_: str) -> list[tuple[str, str]]:
        saga, captured = self.saga(id_), self.stories[id_].captured
        return [(name, captured[name]) for name in saga.keys if name in captured] if saga else []

    def facts(self, id_: str, shown: Trace | Summary) -> dict[str, Any]:
        """What a page and a list have in common. ``shown`` says which of several times is right: a topic that was deleted may
        have been read before."""
        story, one = self.stories[id_], self.told[id_]
        txn = story.txn
        times = {max(one.times), max([*one.times, *(place.at for place in one.places)])}
        started = (
            {txn.started_at} if txn.saga else {min(one.times), min([*one.times, *(p.at for p in one.places)])}
        )
        status = self.status(id_, shown.status)
        return {
            "transaction_id": id_,
            "saga": txn.saga,
            "version": txn.version,
            "status": status,
            "started_at": shown.started_at if shown.started_at in started else min(started),
            "updated_at": shown.updated_at if shown.updated_at in times else max(times),
            "ended_at": txn.ended_at,
            "waiting_on": [KANTOR] if status == "not_looked_at" else sorted(waiting_on(txn, self.saga(id_))),
            "reason": txn.reason,
            "last_error": story.last_error,
            "held": txn.held,
        }

    def summary(self, id_: str, shown: Summary) -> Summary:
        txn = self.stories[id_].txn
        is_open = (
            txn.status not in ENDED and not txn.held and (txn.status is not Status.OBSERVED or txn.incidents)
        )
        open_ = {path: state for path, state in txn.steps.items() if is_open and state.status in _OPEN}
        return Summary(
            **self.facts(id_, shown),
            open_steps=list(open_),
            due=min((state.due for state in open_.values() if state.due), default=0),
            open_incidents=len(txn.incidents),
            keys=self.keys(id_),
        )

    def trace(self, id_: str, shown: Trace) -> Trace:
        story, one = self.stories[id_], self.told[id_]
        return Trace(
            **self.facts(id_, shown),
            shard=shard_of(id_, self._world.shards),
            keys=self.keys(id_),
            steps=self.steps(id_),
            timeline=timeline(one, story, {m.id: (m.origin, m.at) for m in shown.timeline}),
            incidents=story.incidents,
            parent=story.txn.parent,
            remedies=shown.remedies,  # compared with what is carried out
            children=self.children(story, shown),
        )

    def children(self, story: Story, shown: Trace) -> list[Child]:
        statuses = {child.transaction_id: child.status for child in shown.children}
        found = {child.transaction_id: child.step for child in story.children}
        return [
            Child(step, id_, self.status(id_, statuses.get(id_, "")) if id_ in self.told else "")
            for id_, step in found.items()
        ]

    def steps(self, id_: str) -> list[Step]:
        story, saga = self.stories[id_], self.saga(id_)
        if saga is None:
            return [_step(path, state, story, None) for path, state in story.txn.steps.items()]
        begun = {definition_path(path) for path in story.txn.steps}
        order = list(saga.steps)
        paths = [*story.txn.steps, *(path for path in order if path not in begun)]
        return [
            _step(path, story.txn.steps.get(path, StepState()), story, saga.of(path))
            for path in sorted(paths, key=lambda path: _rank(path, order))
        ]


_OPEN = (S.ACTIVE, S.COMPENSATING, S.INCIDENT, S.IN_DOUBT)


def waiting_on(txn: Transaction, saga: Saga | None) -> set[str]:
    """Who has the ball."""
    if txn.held:
        return {PERSON}
    if txn.status in ENDED or (txn.status is Status.OBSERVED and not txn.incidents):
        return set()
    found = {PERSON} if txn.incidents or txn.status is Status.PARKED else set()
    for path, state in txn.steps.items():
        step = saga.of(path) if saga else None
        if state.status is S.INCIDENT:
            found.add(PERSON)
        elif state.status is S.COMPENSATING:
            found.add(KANTOR if state.timer == "compensation_retry" else _compensator(step) or path)
        elif state.status is S.ACTIVE and step is not None and step.kind != "group":
            paused = step.kind == "sleep" or state.timer == "retry"
            found.add(KANTOR if paused else _owner(step))
    return found or {KANTOR}


def _owner(step: StepShape | None) -> str:
    """The service that must answer; of a child, the engine."""
    if step is None or step.kind in ("group", "sleep"):
        return ""
    return KANTOR if step.kind == "saga" else step.service


def _compensator(step: StepShape | None) -> str:
    if step is None:
        return ""
    if step.kind == "saga":
        return KANTOR
    return step.service if step.kind in ACTING and step.is_compensated else ""


def _step(path: str, state: StepState, story: Story, step: StepShape | None) -> Step:
    is_reversed = state.status is S.COMPENSATED
    above = path.rpartition(".")[0]
    above = f"{definition_path(above)}." if above else ""
    return Step(
        name=path,
        kind=_KINDS.get(step.kind, step.kind) if step else "",
        owner=_owner(step),
        compensator=_compensator(step),
        status=str(state.status),
        attempts=story.sent[path] or int(state.started_at > 0),
        started_at=state.started_at,
        ended_at=story.action_ended.get(path, 0) if is_reversed else state.ended_at,
        compensation_attempts=story.reversed[path],
        compensation_started_at=story.reversal_began.get(path, 0),
        compensation_ended_at=story.reversal_ended.get(path, 0),
        timer=state.timer,
        due=state.due,
        code=state.code,
        reason=state.reason,
        after=tuple(above + name for name in step.after) if step else (),
    )


def _rank(path: str, order: list[str]) -> list[tuple[int, int]]:
    """As the author wrote them, each item with its own."""
    parts = path.split(".")
    found = []
    for number, part in enumerate(parts):
        item = part.partition("[")[2].rstrip("]")
        found.append((order.index(definition_path(".".join(parts[: number + 1]))), int(item) if item else -1))
    return found


# -- the comparison


def seen_now(world: World) -> list[str] | None:
    """Where people are shown something else than what is, now; None: the view is behind, or there is none."""
    for process in world.processes:
        if isinstance(process, ViewProcess) and not process.is_behind:
            world.ledger.read()
            when = f"at {world.clock.monotonic():.3f} s"
            with View(process.path) as view:
                return [f"{when} {text}" for text in disagreements(world, view)]
    return None


def disagreements(world: World, view: View) -> Iterator[str]:
    """Where people are shown something else than the topics tell."""
    expected = Expected(world)
    for id_ in expected.told:
        found = view.summaries([id_])
        if not found:
            yield f"{id_} is not in the view"
            continue
        trace = view.trace(id_)
        yield from _differences(f"the list of {id_}", found[0], expected.summary(id_, found[0]))
        yield from _differences(f"the page of {id_}", trace, expected.trace(id_, trace))
        yield from _remedies(world, expected, id_, trace)
    yield from _found(expected, view)
    yield from _lists(world, expected, view)


def _differences(where: str, shown: Any, expected: Any) -> Iterator[str]:
    for one in fields(shown):
        is_, should_be = getattr(shown, one.name), getattr(expected, one.name)
        if is_ == should_be:
            continue
        if isinstance(is_, list) and isinstance(should_be, list):
            pairs = zip([*is_, None], [*should_be, None], strict=False)
            is_, should_be = next(pair for pair in pairs if pair[0] != pair[1])
        yield f"{where} shows {one.name} {is_!r}, it is {should_be!r}"


def _found(expected: Expected, view: View) -> Iterator[str]:
    """By what people type: an id, its beginning, a key with its name or without."""
    owners: defaultdict[str, set[str]] = defaultdict(set)
    for id_ in expected.told:
        owners[id_].add(id_)
        for name, value in expected.keys(id_):
            owners[f"{name}={value}"].add(id_)
            owners[value].add(id_)
    for text, should_be in owners.items():
        found = set(view.find(text, 1_000)) - expected.strangers
        if found != should_be and not (text in expected.told and found == {text}):
            yield f"{text!r} finds {sorted(found)}, it should find {sorted(should_be)}"


def _lists(world: World, expected: Expected, view: View) -> Iterator[str]:
    """Of all transactions together, but for strangers'."""
    mine = set(expected.told)
    shown = {one.transaction_id for one in view.search(Criteria(), limit=10_000, budget=60).transactions}
    if shown - expected.strangers != mine:
        yield f"the list of all shows {sorted(shown)}, it is {sorted(mine)}"
    if not shown & expected.strangers:
        counts = Counter((story.txn.saga, str(story.txn.status)) for story in expected.stories.values())
        if view.counts() != counts:
            yield f"the counts are {view.counts()}, they are {counts}"
    for status in ShownStatus:
        listed = {one.transaction_id for one in view.transactions(status=status, limit=10_000).transactions}
        should_be = {id_ for id_ in mine if expected.status(id_, status) == status}
        if listed - expected.strangers != should_be:
            yield f"the list of {status} shows {sorted(listed)}, it is {sorted(should_be)}"
    open_ = [
        OpenIncident(
            id_,
            story.txn.saga,
            one.kind,
            one.step,
            one.reason,
            one.opened_at,
            story.txn.version,
            expected.keys(id_),
        )
        for id_, story in expected.stories.items()
        for one in story.txn.incidents
    ]
    found = [one for one in view.incidents(10_000) if one.transaction_id not in expected.strangers]
    if sorted(found, key=repr) != sorted(open_, key=repr):
        yield f"the open incidents are shown as {found}, they are {open_}"
    if [one.opened_at for one in found] != sorted(one.opened_at for one in found):
        yield f"the open incidents are shown in another order than they were opened in: {found}"
    held = {saga: text for shard in range(world.shards) for saga, text in held_sagas(world, shard).items()}
    if {one.saga: one.reason for one in view.holds()} != held:
        yield f"{view.holds()} are shown as held, it is {held}"


def held_sagas(world: World, shard: int) -> dict[str, str]:
    """By saga: who holds it in this shard, and why."""
    found: dict[str, str] = {}
    for move in world.ledger.holds[shard]:
        if move["kind"] == Kind.HELD:
            found[move["saga"]] = move["reason"]
        elif move["kind"] == Kind.RELEASED:
            found.pop(move["saga"], None)
    return found


def _remedies(world: World, expected: Expected, id_: str, trace: Trace) -> Iterator[str]:
    """What is proposed is carried out (view-15), and whatever else would be for a step that has an incident is proposed, too."""
    txn = expected.stories[id_].txn
    held = held_sagas(world, expected.told[id_].shard)
    hold = held.get(ALL) or held.get(txn.saga, "") if txn.saga else ""
    proposed = {(one.act, one.step) for one in trace.remedies}
    if bool(proposed) != bool(txn.incidents):
        yield f"{id_} has the incidents {txn.incidents}, and {sorted(proposed)} is proposed"
    is_held = bool(hold or txn.held)
    for act, step in proposed:
        if act == RELEASE:
            if not is_held:
                yield f"{act} is proposed for {id_}, which nobody holds"
        elif why := _refused(world, txn, act, step, hold):
            yield f"{act} {step} is proposed for {id_}, and is refused: {why}"
    if is_held or txn.put_off:
        return
    for step in {one.step for one in txn.incidents}:
        for act in (acts.RETRY, acts.SKIP):
            if (act, step) not in proposed and not _refused(world, txn, act, step, hold):
                yield f"{act} {step} is carried out for {id_}, and is not proposed: {sorted(proposed)}"


def _refused(world: World, txn: Transaction, act: str, step: str, hold: str) -> str:
    """Why it would be; empty: it would be carried out. What it would do is not done."""
    saga = definitions(world.plan.shape).saga(txn.saga, txn.version) if txn.saga else None
    at, said = txn.updated_at + 1, {"why": "she knows why", "fields": {}}
    entry = Entry("act", at, act, "a remedy", "acts", payload=said, step=step, actor="ada")
    moves, _ = consider(saga, txn, entry, at, hold)
    if any(move.kind is not Kind.IGNORED for move in moves):
        return ""
    return "; ".join(move.reason for move in moves) or "nothing happens"
