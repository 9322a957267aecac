"""What a transaction's page adds to its story: which operator actions make sense now, the diagram's marks. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from kantor_orchestrator.api.backend import new_key, said
from kantor_orchestrator.core.act_kinds import (
    CLOSE,
    KINDS,
    RETRY,
    RUNNING,
    SIGNAL,
    SKIP,
    UNTIL_THE_END,
    WITH_INCIDENT,
    ActKind,
)
from kantor_orchestrator.core.saga import definition_path
from kantor_orchestrator.core.step_kinds import kind_of
from kantor_orchestrator.core.transaction import ENDED, Status
from kantor_orchestrator.view.shown import Step
from kantor_orchestrator.view.trace import Message, Trace
from kantor_orchestrator.voice import STEP_SIGNS
from kantor_orchestrator.words import duration

_OVER = frozenset(status.value for status in ENDED)
#: Of several items of one composite, the one that matters most gives the colour.
_WORST = (
    "incident", "failed", "in_doubt", "compensating", "active", "compensated", "succeeded", "skipped", "pending",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class PossibleAct:
    """``key``: of this form; pressed twice, it is done once."""

    kind: ActKind
    means: str
    step: str
    key: str


def possible_acts(story: Trace) -> list[PossibleAct]:
    """What the engine may do if asked; it has the last word."""
    waiting = {remedy.step for remedy in story.remedies}
    found = [
        (KINDS[one.act], f"{one.means[:1].upper()}{one.means[1:]}.", one.step)
        for one in story.remedies
        if one.act in KINDS and one.act != CLOSE
    ]
    found += [(kind, kind.means, step) for kind, step in _offered(story, waiting)]
    return [PossibleAct(kind, means, step, new_key()) for kind, means, step in found]


def _offered(story: Trace, waiting: AbstractSet[str]) -> Iterator[tuple[ActKind, str]]:
    """Operator actions that make sense besides the remedies, with their steps."""
    is_over = story.status in _OVER
    if not is_over:
        yield from ((KINDS[name], step) for name, step in _on_steps(story, waiting))
    when = {
        RUNNING: story.status == Status.RUNNING and bool(story.saga),
        UNTIL_THE_END: not is_over,
        WITH_INCIDENT: any(not incident.closed_at for incident in story.incidents),
    }
    yield from ((kind, "") for kind in KINDS.values() if when.get(kind.offered))


def _on_steps(story: Trace, waiting: AbstractSet[str]) -> Iterator[tuple[str, str]]:
    for step in story.steps:
        if step.status == "failed" and story.status == Status.RUNNING and step.name not in waiting:
            yield from ((RETRY, step.name), (SKIP, step.name))
        elif kind_of(step.kind).takes_signal and step.status == "active":
            yield SIGNAL, step.name


def marks(steps: Sequence[Step]) -> dict[str, tuple[str, str]]:
    """By path of the definition: the status, and a line with sign, status and time."""
    by_path: dict[str, list[Step]] = {}
    for step in steps:
        by_path.setdefault(definition_path(step.name), []).append(step)
    return {path: _mark(items) for path, items in by_path.items()}


def _mark(items: Sequence[Step]) -> tuple[str, str]:
    worst = min(items, key=lambda step: _WORST.index(step.status) if step.status in _WORST else len(_WORST))
    line = f"{STEP_SIGNS.get(worst.status, '·')} {worst.status.replace('_', ' ')}"
    if len(items) > 1:
        done = sum(step.status == "succeeded" for step in items)
        return worst.status, f"{line}, {done} of {len(items)} succeeded"
    if worst.started_at and worst.ended_at:
        line += f", {duration(worst.ended_at - worst.started_at)}"
    return worst.status, line


@dataclass(frozen=True, slots=True)
class OperatorAction:
    """An operator action, as the timeline tells it; empty for what is none, and for those who may not know."""

    act: str = ""
    actor: str = ""
    step: str = ""
    why: str = ""


def action(message: Message) -> OperatorAction:
    if message.kind != "act":
        return OperatorAction()
    facts = said(message)
    return OperatorAction(*(str(facts.get(part) or "") for part in ("act", "actor", "step", "why")))
