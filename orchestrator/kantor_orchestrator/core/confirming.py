"""When a step's compensation is confirmed, and when an effect comes that may be the one that was reversed (saga-22)."""

from __future__ import annotations

from kantor_orchestrator.core.decision import Decision
from kantor_orchestrator.core.evidence import Evidence
from kantor_orchestrator.core.progress import settle
from kantor_orchestrator.core.transaction import SECOND_EFFECT, Kind, Status


def confirmed(
    d: Decision, path: str, code: str = "", reason: str = "", *, evidence: Evidence | None = None
) -> None:
    """A step's compensation is done; ``evidence``: what its service says, else a person vouches for all that was told so far.

    A success that came meanwhile was reversed by it if it was told before. Else it is an effect of its own: reversed in
    its turn, or a person's, if one was reversed that was known."""
    state = d.state(path)
    again, doubtful, effect = state.again, state.doubtful, state.effect
    where = (evidence or Evidence(sent_at=d.entry.at)).dump()
    d.emit(Kind.COMPENSATION_CONFIRMED, step=path, code=code, reason=reason, evidence=where)
    if again and evidence is not None and not Evidence.load(effect).is_before(evidence):
        if doubtful:
            d.emit(Kind.SUCCEEDED, step=path, reason="late", evidence=effect)
        else:
            second_effect(d, path, "a success")
    settle(d)


def second_effect(d: Decision, path: str, type_: str) -> None:
    """Nobody can tell whether what was reversed has come again, or was told of again."""
    if d.txn.status in (Status.COMPLETED, Status.COMPENSATED):
        status = Status.RUNNING if d.txn.status is Status.COMPLETED else Status.COMPENSATING
        d.emit(Kind.REOPENED, status=status, reason="an effect came after the end")
    text = (
        f"{path}: {type_} came after its effect was reversed, and names neither that effect nor another: find out whether it "
        "happened again. If so, retry reverses it; if not, skip it"
    )
    d.incident(SECOND_EFFECT, text, path)
