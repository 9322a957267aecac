"""Whose a message is (saga-8): the step's whose command it names, else that of the only one that may have asked for it.

Nobody guesses: what is taken for another member's effect would be reversed in its place, or not at all.
"""

from __future__ import annotations

from collections.abc import Iterable

from kantor.envelope import event_id, idempotency_key
from kantor_orchestrator.core.decision import ACTION, COMPENSATION, Decision
from kantor_orchestrator.core.entry import Entry
from kantor_orchestrator.core.saga import Step
from kantor_orchestrator.core.transaction import Early, StepStatus

S = StepStatus
_NEVER_ASKED = frozenset({S.PENDING, S.SKIPPED})


class AmbiguousError(Exception):
    """Whose a message is can't be said: the text names the message, the steps, and the remedy."""


class GuessError(Exception):
    """Whose a failure is can't be said, and need not be: each of the steps has an end of its own. The text says so."""


def addressed(d: Decision, message: Entry | Early, steps: Iterable[Step]) -> str:
    """The instance of these steps that a message is for; empty if there is none: the one whose command it names as its cause or
    by its idempotency key; else of those that ``match`` selects an open one before any other. Raises ``ExpressionError``, and
    ``AmbiguousError`` if several steps have sent a command and nothing tells which of them it answers."""
    found: list[str] = []
    is_told = True
    asks = d.is_enforced()  # else services act by themselves, and nobody waits for our commands
    is_others: bool | None = None  # whether it names a command, of another step; not known yet
    for step in steps:
        for path in d.instances(step):
            if _is_named(d, path, message):
                return path
            if asks and step.command is not None:
                if d.status(path) in _NEVER_ASKED:
                    continue
                if is_others is None:
                    is_others = d.is_own_command(message.causation_id)
                if is_others:
                    continue
            if step.match is None or _matches(d, step, path, message):
                found.append(path)
                is_told = is_told and (step.command is None or step.match is not None)
    if len(found) > 1 and asks and not is_told:
        raise _ambiguous(message, found, "give the step a `match`")
    return d.first_of(found, S.ACTIVE, S.IN_DOUBT, S.PENDING) or next(iter(found), "")


def named(d: Decision, message: Entry | Early, steps: Iterable[Step]) -> str:
    """The instance of these steps whose command a message names; empty: of none."""
    return next((path for step in steps for path in d.instances(step) if _is_named(d, path, message)), "")


def confirmed(d: Decision, message: Entry | Early, steps: Iterable[Step]) -> str:
    """The instance whose compensation a message confirms; empty: of none. Raises ``AmbiguousError`` if several are being
    compensated and it names none of them."""
    paths = [path for step in steps for path in d.instances(step)]
    open_ = [path for path in paths if d.status(path) in (S.COMPENSATING, S.INCIDENT)]
    for path in open_:
        if d.is_compensation_of(path, message.causation_id) or _is_key(d, path, COMPENSATION, message):
            return path
    if d.is_own_command(message.causation_id):
        return ""
    if len(open_) > 1:
        raise _ambiguous(message, open_, "skip it and look after these steps by hand")
    return next(iter(open_), "")


def failed(d: Decision, message: Entry | Early) -> str:
    """The step that a ``StepFailed`` is for (saga-11); empty: none. One that names an event counts for the open step of its service.
    Raises ``GuessError`` if several are open, and it matters which of them has failed."""
    assert d.saga is not None
    paths = [path for step in d.saga.steps.values() for path in d.instances(step)]
    for path in paths:
        if d.is_action_of(path, message.causation_id):
            return path
    if d.is_own_command(message.causation_id):
        return ""  # of an earlier round
    mine = []
    for path in paths:
        step = d.step(path)
        if step and step.command is None and not step.steps and step.owner == message.source:
            mine.append(path)
    for status in (S.ACTIVE, S.IN_DOUBT, S.PENDING):
        found = [path for path in mine if d.status(path) is status]
        if len(found) > 1 and status is S.ACTIVE and any(_is_a_choice(d, path) for path in found):
            more = f" (and {len(found) - 2} more)" if len(found) > 2 else ""
            raise GuessError(
                f"a failure of {message.source} names no command, and may be {found[0]}'s or {found[1]}'s{more}: each of them is "
                "waited for as if nothing had been said"
            )
        if found:
            return found[0]
    return ""


def _is_a_choice(d: Decision, path: str) -> bool:
    """Whether the transaction may go on without this step, or can't go back once it has happened: then it matters which one failed."""
    step = d.step(path)
    return "." in path or (step is not None and (step.optional or step.pivot))


def _is_named(d: Decision, path: str, message: Entry | Early) -> bool:
    """Whether a message names the step's command, of whatever round."""
    state, cause = d.txn.steps.get(path), message.causation_id
    if state is None:
        return False
    return (
        d.is_action_of(path, cause)
        or d.is_action_up_to(path, cause, state.round - 1)
        or _is_key(d, path, ACTION, message)
    )


def _is_key(d: Decision, path: str, kind: str, message: Entry | Early) -> bool:
    """Whether a message that names no cause passes on the key of the step's action or compensation, of whatever round; or has
    the one that the kit makes of it."""
    state = d.txn.steps.get(path)
    if state is None or not message.idempotency_key or message.causation_id:
        return False
    for n in range(1, (state.round if kind == ACTION else state.compensation_round) + 1):
        key = idempotency_key(d.txn.id, path, kind, n)
        if message.idempotency_key in (key, event_id(key, message.type, 0)):
            return True
    return False


def _matches(d: Decision, step: Step, path: str, message: Entry | Early) -> bool:
    assert step.match is not None
    scope = d.scope(path)
    scope["event"] = message.payload or {}
    return d.evaluate(step.match, scope, "match", path) is True


def _ambiguous(message: Entry | Early, paths: list[str], remedy: str) -> AmbiguousError:
    more = f" (and {len(paths) - 2} more)" if len(paths) > 2 else ""
    return AmbiguousError(
        f"{message.type} from {message.source} names no command, and may be for {paths[0]} or {paths[1]}{more}: let its "
        f"service answer with ce_causationid or the command's idempotency key, or {remedy}"
    )
