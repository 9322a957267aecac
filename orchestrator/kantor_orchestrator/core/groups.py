"""The groups that steps are in, their members, and how what is open in them is given up (saga-17, saga-27)."""

from __future__ import annotations

from kantor_orchestrator.core import reversal
from kantor_orchestrator.core.decision import ITEMS, Decision, instance_of
from kantor_orchestrator.core.saga import ASK, Step
from kantor_orchestrator.core.sending import doubt_in_flight
from kantor_orchestrator.core.step_kinds import KINDS
from kantor_orchestrator.core.transaction import Kind, StepStatus

S = StepStatus
SETTLED = (S.SUCCEEDED, S.SKIPPED)


def members_of(d: Decision, step: Step, path: str) -> list[tuple[str, Step | None]]:
    """A composite's members: its steps, or (without a definition of their own) its items."""
    assert d.saga is not None
    if step.each is None:
        return [(instance_of(child, path, step.path), child) for child in d.saga.children[step.path]]
    return [(f"{path}[{n}]", None) for n in range(len(d.txn.captured[path][ITEMS]))]


def definition_of(d: Decision, member: str) -> str:
    """The definition of the composite that an item is a member of."""
    step = d.step(member.rpartition("[")[0])
    assert step is not None
    return step.path


def is_left_out(d: Decision, path: str) -> bool:
    """Whether a group around a step has failed, or a composite around it is decided without the member that it is in."""
    while "." in path or path.endswith("]"):
        group, member = path.rpartition("[" if path.endswith("]") else ".")[0], path
        status = d.status(group)
        if status is S.FAILED:
            return True
        step = d.step(group)
        is_decided = status is S.SUCCEEDED and step is not None and step.need is not None
        if is_decided and d.status(member) not in (*SETTLED, S.ACTIVE):
            return True
        path = group
    return False


def abandon(d: Decision, path: str, definition: str, code: str, reason: str) -> None:
    """Everything that is open in a group ends: what may have happened is in doubt, the rest has failed."""
    assert d.saga is not None
    for step in d.saga.children[definition]:
        instance = instance_of(step, path, definition)
        if instance in d.txn.steps:
            give_up_step(d, instance, step, code, reason)


def give_up_step(d: Decision, path: str, step: Step | None, code: str, reason: str) -> None:
    status = d.status(path)
    if step is None or step.steps:
        if status is S.ACTIVE:
            members = members_of(d, step, path) if step is not None else []
            for member, child in members:
                give_up_step(d, member, child, code, reason)
            if step is None:
                definition = definition_of(d, path)
                if reversal.pivot_status(d, path, definition) is not None:
                    return  # it goes forward by itself
                abandon(d, path, definition, code, reason)
            d.emit(Kind.FAILED, step=path, code=code, reason=reason)
    elif status is S.ACTIVE:
        may_have_happened = KINDS[step.kind].happens_unheard and (
            step.compensation is not None or step.in_doubt == ASK or step.pivot or code == "in_flight"
        )
        if may_have_happened:
            doubt_in_flight(d, step, path, code, reason)
        else:
            d.emit(Kind.FAILED, step=path, code=code, reason=reason)
