"""What happened, in words and signs: the one sentence for each transition, for terminal, pages, API and logs alike."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from kantor_orchestrator.core.transaction import Kind
from kantor_orchestrator.words import duration

#: Of a status: its sign. Never colour alone.
STATUS_SIGNS = {
    "running": "●", "parked": "‖", "compensating": "↺", "completed": "✔", "compensated": "↩", "closed": "■", "observed": "○",
    "not_looked_at": "◌",
}  # fmt: skip
STEP_SIGNS = {
    "pending": "·", "active": "●", "in_doubt": "?", "succeeded": "✔", "failed": "✘", "skipped": "–", "compensating": "↺",
    "compensated": "↩", "incident": "!",
}  # fmt: skip
MESSAGE_SIGNS = {"event": "●", "command": "▶", "compensation": "◀", "timer": "◷", "act": "✎"}

#: By kind. ``{why}``: `: code (reason)`, if there is any; ``{because}``: `: reason`, where that says what the code does; ``{of}``: ` of STEP`, ``{of_code}`` the same of the step that the code
#: names; ``{limit}``: `, for at most 5 s`; ``{wait}``: `, again in 5 s`; ``{offset}``: ` at journal offset 7`, where it is known.
_SENTENCES = {
    Kind.KEPT: "kept until it can be used{why}",
    Kind.STARTED: "the saga starts",
    Kind.COMPENSATION_STARTED: "compensation starts{because}",
    Kind.ENDED: "transaction {status}",
    Kind.REOPENED: "transaction reopened{because}",
    Kind.INCIDENT_OPENED: "incident{of}{why}; a person is needed",
    Kind.RESUMED: "incident{of_code} closed, and what it held up goes on{because}",
    Kind.COMPENSATION_REQUESTED: "compensation requested; it waits for the pivot's outcome{because}",
    Kind.REFUSED: "cancellation refused{why}",
    Kind.PARENT_ASKED: "the parent requests compensation{why}",
    Kind.ANSWERED: "the parent's request answered{why}",
    Kind.NEVER_BEGAN: "compensated before it started{why}",
    Kind.EXPIRED: "no saga started in time: what was kept is dropped{why}",
    Kind.HELD: "on hold{why}",
    Kind.RELEASED: "released from its hold",
    Kind.IGNORED: "changes nothing{why}",
    Kind.PUT_OFF: "deferred{why}",
    Kind.AGAIN_ASKED: "the deferred message{offset} is read again{why}",
    Kind.TAKEN_BACK: "no longer deferred{offset}{why}",
    Kind.DROPPED: "the deferred message{offset} is dropped{why}",
    Kind.ACTIVATED: "waiting on {step}{limit}",
    Kind.SKIPPED: "{step} skipped{why}",
    Kind.PROGRESSED: "{step} still in progress: its timeout starts again{limit}",
    Kind.ASKED: "{step}: its service is asked whether it happened",
    Kind.COMMAND_SENT: "command sent for {step}",
    Kind.RETRY_SCHEDULED: "{step}, attempt {attempt}{why}{wait}",
    Kind.SUCCEEDED: "{step} succeeded{late}",
    Kind.FAILED: "{step} failed{why}",
    Kind.DOUBTED: "{step} in doubt{why}",
    Kind.COMPENSATION_SENT: "compensation sent for {step}",
    Kind.COMPENSATION_RETRY_SCHEDULED: "compensation of {step}, attempt {attempt}{why}{wait}",
    Kind.COMPENSATION_CONFIRMED: "{step} compensated",
    Kind.COMPENSATION_FAILED: "compensation of {step} failed{why}; a person is needed",
}


class Happened(Protocol):
    """A transition, whoever has it. ``at`` and ``due``: milliseconds since the epoch (``due`` 0: none)."""

    @property
    def kind(self) -> str: ...
    @property
    def at(self) -> int: ...
    @property
    def step(self) -> str: ...
    @property
    def status(self) -> str | None: ...
    @property
    def attempt(self) -> int: ...
    @property
    def due(self) -> int: ...
    @property
    def code(self) -> str: ...
    @property
    def reason(self) -> str: ...


def sentence(move: Happened) -> str:
    """A transition in words."""
    wait = move.due - move.at if move.due else 0
    return _sentence(move.kind, move.step, move.status or "", move.attempt, move.code, move.reason, wait)


def answer(move: Mapping[str, Any]) -> str:
    """The same, of a transition as an operator action is answered with it (``acts.Move``), with the command that it sent. What
    is not in it is not told."""
    due = move.get("due", 0)
    wait = due - move["at"] if due else 0
    step, status, code, reason = (str(move.get(name) or "") for name in ("step", "status", "code", "reason"))
    found = _sentence(
        move["kind"], step, status, move.get("attempt", 0), code, reason, wait, move.get("put_off", -1)
    )
    command = move.get("command")
    return f"{found}: {command['type']} ({command['id']})" if command else found


def why(code: str, reason: str) -> str:
    """``timed out (no answer in time)``. A code with a dot is a type's name, and stays as it is."""
    code = code.replace("_", " ") if "." not in code else code
    return f"{code} ({reason})" if code and reason and reason != code else code or reason


def _sentence(
    kind: str, step: str, status: str, attempt: int, code: str, reason: str, wait: int, offset: int = -1
) -> str:
    is_late = kind == Kind.SUCCEEDED and reason == "late"
    reasons = why(code, reason)
    return _SENTENCES[Kind(kind)].format(
        step=step,
        status=status,
        attempt=attempt,
        offset=f" at journal offset {offset}" if offset >= 0 else "",
        why=f": {reasons}" if reasons else "",
        because=f": {reason}" if reason else "",
        of=f" of {step}" if step else "",
        of_code=f" of {code}" if code else "",
        limit=f", for at most {duration(wait)}" if wait else "",
        wait=f", again in {duration(wait)}" if wait else "",
        late=" late" if is_late else "",
    )
