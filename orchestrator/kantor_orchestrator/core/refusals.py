"""Messages that Kafka did not take: the topic is gone, may not be written, takes nothing so large (shard-26).

Nobody has seen such a message, so nothing has happened because of it; and no time will bring an answer. It is an incident of
its transaction: a person mends the topic and says ``retry``.
"""

from __future__ import annotations

from kantor_orchestrator.core.decision import Decision
from kantor_orchestrator.core.transaction import Kind, StepStatus

#: The code of the incident.
REFUSED = "refused"


def refused(d: Decision) -> None:
    """``d.entry`` says which message (its cause) and why (its payload's ``reason``)."""
    id_, reason = d.entry.causation_id, str((d.entry.payload or {}).get("reason", ""))
    for path, state in d.txn.steps.items():
        if id_ == state.compensation_id:
            if state.status is StepStatus.COMPENSATING:
                d.emit(Kind.COMPENSATION_FAILED, step=path, code=REFUSED, reason=reason)
            return
        if id_ == state.command_id or d.is_question_of(path, id_):
            if state.status in (StepStatus.ACTIVE, StepStatus.IN_DOUBT):
                d.incident(REFUSED, reason, path)
            return
    d.incident(REFUSED, reason)
