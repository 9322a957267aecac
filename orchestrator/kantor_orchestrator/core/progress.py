"""What becomes possible: which steps begin, how far composites are, and when the transaction ends.

``settle`` derives everything from the state and is called after each change, whatever changed; so the order in which
messages arrive can't matter more than it must. A *group* is the saga itself, a composite, or one member of an ``each``;
its steps are in topological order, and a step begins once those that it comes after are settled: succeeded, skipped, or
given up and optional (saga-7).

A pivot binds its group (saga-24): once it has succeeded there is no way back, and while its answer is awaited nobody knows; until
then a group that can't succeed waits, and begins nothing more.
"""

from __future__ import annotations

from collections.abc import Iterator

from kantor_orchestrator.core import reversal
from kantor_orchestrator.core.decision import (
    ENDING,
    ITEMS,
    MAY_BE_GIVEN_UP,
    Decision,
    ExpressionError,
    instance_of,
)
from kantor_orchestrator.core.entry import SLEEP, TIMEOUT
from kantor_orchestrator.core.groups import SETTLED, abandon, definition_of, give_up_step, members_of
from kantor_orchestrator.core.saga import ROOT, Step
from kantor_orchestrator.core.sending import EXPRESSION, command_of, message, sent
from kantor_orchestrator.core.transaction import (
    AFTER_PIVOT,
    EARLY_TTL,
    ENDED,
    NOT_NEEDED,
    Kind,
    Status,
    StepStatus,
    Transaction,
)

S = StepStatus
#: How long the retained record of an ended transaction stays (ms; shard-10): a later effect reopens compensation (saga-21).
STUB_TTL = {Status.COMPLETED: 86_400_000, Status.COMPENSATED: 30 * 86_400_000, Status.CLOSED: 30 * 86_400_000}
#: Members of an ``each`` at most: a transaction's state is bounded.
MOST_MEMBERS = 1_000
#: Such members of one transaction in all, where one ``each`` is in another: their numbers multiply.
MOST_MEMBERS_IN_ALL = 2_000
_OPEN, _SUCCESS, _FAILURE = "open", "succeeded", "failed"


def stub_ttl(txn: Transaction, status: Status) -> int:
    """For how long (ms) it is known after it ended so. A parent may reverse its child long after."""
    return STUB_TTL[Status.COMPENSATED if txn.parent else status]


def lives_until(d: Decision) -> int:
    """Until when what has ended, or never started, is kept once nothing of it waits for a person any more; 0: it lives."""
    txn, at = d.txn, d.entry.at
    if txn.status in ENDED:
        return at + stub_ttl(txn, txn.status)
    return at + EARLY_TTL if txn.early and not txn.saga else 0


def settle(d: Decision, *, plain_end: bool = False) -> None:
    """Let follow what follows from the state. ``plain_end``: a person says that it may end without what can't be filled in."""
    txn = d.txn
    if txn.status is Status.RUNNING:
        outcome = _group(d, ROOT, ROOT)
        if outcome is _FAILURE or txn.failing:
            was_failing = txn.failing
            _fail(d)
            if was_failing and not txn.failing and txn.status is Status.RUNNING:  # the pivot says: forward
                outcome = _group(d, ROOT, ROOT)
    if txn.status is Status.RUNNING:
        _go_onward(d)
        if not reversal.reverse(d) and outcome is _SUCCESS and not _is_under_way_at_all(d):
            _end(d, Status.COMPLETED, plain=plain_end)
    elif txn.status is Status.COMPENSATING:
        _go_onward(d)  # what is past its pivot, while all around it is reversed
        if not reversal.reverse(d) and not _is_under_way_at_all(d):
            _end(d, Status.COMPENSATED, plain=plain_end)
    elif d.saga is not None and txn.status in (Status.COMPLETED, Status.COMPENSATED) and reversal.is_open(d):
        status = Status.RUNNING if txn.status is Status.COMPLETED else Status.COMPENSATING
        d.emit(Kind.REOPENED, status=status, reason="an effect came after the end")
        if not reversal.reverse(d):  # it is only observed: nobody will confirm anything
            settle(d)


def _go_onward(d: Decision) -> None:
    """Members of decided composites that could not be given up, for their pivots: they go on by themselves."""
    if d.saga is None or not d.saga.has_bound_members:
        return
    steps = d.txn.steps
    for path in [path for path, state in steps.items() if path.endswith("]") and state.status is S.ACTIVE]:
        if d.status(path.rpartition("[")[0]) is not S.ACTIVE:
            _advance_item(d, path)


def _is_under_way_at_all(d: Decision) -> bool:
    return any(state.status is S.ACTIVE for state in d.txn.steps.values())


def _fail(d: Decision) -> None:
    """The saga can't succeed."""
    txn = d.txn
    failed = next(_given_up(d, ROOT, ROOT), "")
    state = txn.steps.get(failed)
    if txn.failing or state is None:
        give_up(d, "", txn.failing)
        return
    why = f"{failed}: {state.code}" if state.code else failed
    if state.reason and state.reason != state.code:
        why = f"{why} ({state.reason})"
    give_up(d, state.code, why)


def give_up(d: Decision, code: str, why: str) -> None:
    """Reverse what happened or may have happened (saga-17), unless the pivot forbids it; wait while its answer is awaited."""
    pivot = reversal.pivot_status(d, ROOT, ROOT)
    if pivot is None:
        d.emit(Kind.COMPENSATION_STARTED, status=Status.COMPENSATING, code=code, reason=why)
        abandon(d, ROOT, ROOT, "in_flight", "in flight when compensation began")
    elif pivot is S.SUCCEEDED:
        failed = list(_given_up(d, ROOT, ROOT))
        for path in failed or [""]:
            d.incident(AFTER_PIVOT, f"{path or why} failed after the pivot: it can only go forward", path)
    elif not d.txn.failing:
        d.emit(Kind.COMPENSATION_REQUESTED, reason=why, code=code)


def _end(d: Decision, status: Status, *, plain: bool) -> None:
    """saga-28. A field of ``ends_with`` or ``returns`` that throws is an incident: the end waits for a person. So it does while
    anything else waits for one."""
    saga, txn = d.saga, d.txn
    assert saga is not None
    wanted = saga.ends_with.get(status)
    command = returned = None
    try:
        if wanted is not None:
            command = message(d, wanted, ROOT, ENDING, txn.endings + 1, 1)
        if saga.returns and status is Status.COMPLETED:
            returned = d.fill(saga.returns, ROOT)
            d.admit(returned)
    except ExpressionError as error:
        if not plain:
            d.incident(EXPRESSION, str(error))
            return
    for step in sorted({incident.step for incident in txn.incidents}):
        if not step or d.status(step) is S.PENDING:  # now there is nothing to care for
            d.emit(Kind.RESUMED, code=step, reason="it has ended")
    if txn.incidents:
        return
    d.emit(
        Kind.ENDED,
        status=status,
        due=d.entry.at + stub_ttl(txn, status),
        reason=txn.reason,
        command=command,
        scope=ROOT,
        captured=returned,
    )


# -- groups


def _group(d: Decision, path: str, definition: str) -> str:
    """Begin what may begin in a group all of whose steps must succeed; how far it is."""
    saga, steps = d.saga, d.txn.steps
    assert saga is not None
    children = saga.children[definition]
    is_failing = bool(d.txn.failing) or next(_given_up(d, path, definition), None) is not None
    settled: set[str] = set()
    failed = False
    for step in children:
        ready = settled.issuperset(step.after)
        instance = instance_of(step, path, definition)
        state = steps.get(instance)
        status = S.PENDING if state is None else state.status
        if status is S.PENDING and ready and not is_failing:
            _begin(d, step, instance)
            status = d.status(instance)
        elif status is S.ACTIVE and step.steps:
            _composite(d, step, instance)
            status = d.status(instance)
        is_given_up = status not in SETTLED and d.is_given_up(step, status)
        if is_given_up and not step.optional:
            failed = is_failing = True
        elif ready and (is_given_up or status in SETTLED):
            # What was decided early is not settled before what it comes after: commands need their fields.
            settled.add(step.path)
    if failed:
        return _FAILURE
    return _SUCCESS if len(settled) == len(children) else _OPEN


def _given_up(d: Decision, path: str, definition: str) -> Iterator[str]:
    """The steps of a group that must succeed, and won't."""
    assert d.saga is not None
    steps = d.txn.steps
    for step in d.saga.children[definition]:
        instance = instance_of(step, path, definition)
        state = steps.get(instance)
        if state is None or state.status not in MAY_BE_GIVEN_UP:
            continue
        if not step.optional and d.is_given_up(step, state.status):
            yield instance


def _composite(d: Decision, step: Step, path: str) -> None:
    """How far an active composite is (saga-26); its members are begun, and given up once they are not needed."""
    members = members_of(d, step, path)
    counts = {S.SUCCEEDED: 0, S.SKIPPED: 0, S.FAILED: 0}
    is_open = False
    enough = step.need if step.need is not None else len(members)
    tolerant = step.each is not None or step.need is not None
    settled: set[str] = set()  # steps that others may come after
    hopeless: set[str] = set()  # steps that others come after in vain
    for member, child in members:
        status = d.status(member)
        ready = child is None or settled.issuperset(child.after)
        if (
            status is S.PENDING
            and not (step.in_order and is_open)
            and not (step.need is not None and counts[S.SUCCEEDED] >= enough)
            and (tolerant or not counts[S.FAILED])
            and not d.txn.failing
            and not d.is_full
            and ready
        ):
            _begin_member(d, child, member)
        elif status is S.ACTIVE and (child is None or child.steps):
            if child is not None:
                _composite(d, child, member)
            elif d.may_go_on(member):
                _advance_item(d, member)
        status = d.status(member)
        is_given_up = status not in SETTLED and d.is_given_up(child, status)
        is_optional = child is not None and child.optional
        in_vain = child is not None and not hopeless.isdisjoint(child.after)
        if status in SETTLED:
            counts[status] += 1
        elif is_given_up:
            counts[S.SKIPPED if is_optional else S.FAILED] += 1
        elif status is S.PENDING and in_vain:
            counts[S.FAILED] += 1
        else:
            is_open = True
        if child is None:
            continue
        # What was decided early is not settled before what it comes after.
        if in_vain or (is_given_up and not is_optional):
            hopeless.add(child.path)
        elif ready and (is_given_up or status in SETTLED):
            settled.add(child.path)
    _judge(d, step, path, members, counts, is_open)


def _judge(
    d: Decision,
    step: Step,
    path: str,
    members: list[tuple[str, Step | None]],
    counts: dict[StepStatus, int],
    is_open: bool,
) -> None:
    total, failed, skipped = len(members), counts[S.FAILED], counts[S.SKIPPED]
    if step.need is None:
        is_success, is_failure = counts[S.SUCCEEDED] + skipped == total, failed > 0
    else:
        is_success = counts[S.SUCCEEDED] >= step.need
        is_failure = not is_success and total - failed - skipped < step.need
    if step.settle_all and is_open and any(_is_under_way(d, member, child) for member, child in members):
        return
    if is_success:
        d.emit(Kind.SUCCEEDED, step=path)
    elif is_failure:
        worst = next((m for m, c in members if d.is_given_up(c, d.status(m))), "")
        state = d.txn.steps.get(worst)
        need = "all" if step.need is None else str(step.need)
        reason = f"{total - failed - skipped} of {total} members can succeed, needed: {need}"
        if state is not None:
            reason = f"{worst}: {state.code or state.reason or state.status}"
        d.emit(Kind.FAILED, step=path, code="members_failed", reason=reason)
    else:
        return
    for member, child in members:
        give_up_step(d, member, child, NOT_NEEDED, f"{path} is decided")


def _is_under_way(d: Decision, member: str, child: Step | None) -> bool:
    status = d.status(member)
    return status not in (S.PENDING, *SETTLED) and not d.is_given_up(child, status)


def _begin_member(d: Decision, child: Step | None, member: str) -> None:
    if child is not None:
        _begin(d, child, member)
        return
    d.emit(Kind.ACTIVATED, step=member)
    _advance_item(d, member)


def _advance_item(d: Decision, member: str) -> None:
    """One item of an ``each``: a group of its own, which compensates itself when it fails."""
    definition = definition_of(d, member)
    outcome = _group(d, member, definition)
    if outcome is _SUCCESS:
        d.emit(Kind.SUCCEEDED, step=member)
    elif outcome is _FAILURE:
        pivot = reversal.pivot_status(d, member, definition)
        failed = list(_given_up(d, member, definition))
        if pivot is S.SUCCEEDED:
            for path in failed:
                d.incident(AFTER_PIVOT, f"{path} failed after the pivot: it can only go forward", path)
        elif pivot is None:
            state = d.state(failed[0])
            d.emit(
                Kind.FAILED, step=member, code=state.code, reason=f"{failed[0]}: {state.code or state.status}"
            )
            abandon(d, member, definition, "in_flight", f"{member} has failed")


# -- beginning a step


def _begin(d: Decision, step: Step, path: str) -> None:
    """Activate a step, or skip it; what it needs may throw, which is an incident of this transaction."""
    try:
        if step.when is not None and not d.evaluate(step.when, d.scope(path), "guard", path):
            d.emit(Kind.SKIPPED, step=path)
            return
        if step.steps:
            _begin_composite(d, step, path)
            return
        due = 0
        if step.sleep is not None:
            due = d.entry.at + int(d.evaluate(step.sleep, d.scope(path), "sleep", path))
        command = None
        if step.command is not None:
            command = command_of(d, step, step.command, path, 1, 1)
    except ExpressionError as error:
        d.incident(EXPRESSION, str(error), path)
        return
    timer, wait = (SLEEP, due) if due else ("", 0)
    if not due and command is None and step.timeout:
        timer, wait = TIMEOUT, d.entry.at + step.timeout
    d.emit(Kind.ACTIVATED, step=path, timer=timer, due=wait)
    if command is not None:
        sent(d, step, path, command, 1, 1)


def _begin_composite(d: Decision, step: Step, path: str) -> None:
    if step.each is None:
        d.emit(Kind.ACTIVATED, step=path)
    else:
        items = d.evaluate(step.each, d.scope(path), "each", path)
        if not isinstance(items, list):
            raise ExpressionError(f"each of {path}: not a list but {type(items).__name__}")
        if len(items) > MOST_MEMBERS:
            raise ExpressionError(f"each of {path}: {len(items)} items, the limit is {MOST_MEMBERS}")
        there = sum(known.endswith("]") for known in d.txn.steps)
        if there + len(items) > MOST_MEMBERS_IN_ALL:
            raise ExpressionError(
                f"each of {path}: {len(items)} items beside the {there} members that the transaction has; the limit is "
                f"{MOST_MEMBERS_IN_ALL} in all"
            )
        d.admit(items)
        waiting = d.txn.early
        d.emit(Kind.ACTIVATED, step=path, scope=path, captured={ITEMS: items})
        d.waiting += waiting
    _composite(d, step, path)
