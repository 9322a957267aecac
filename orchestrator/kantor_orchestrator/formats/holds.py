"""Which sagas a person holds: their transactions stand still until the release.

Told to every shard by an entry of its journal, kept in its shard record (shard-27). What it means to a transaction:
``core.decide``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from msgspec import Struct
from msgspec.structs import asdict

from kantor_orchestrator.core.act_kinds import HOLD, RELEASE
from kantor_orchestrator.core.acts import DONE_ALREADY, IMPOSSIBLE
from kantor_orchestrator.core.entry import Entry
from kantor_orchestrator.core.transaction import Kind, Transition

#: Every saga, those included that are deployed later.
ALL = ""
#: Operator actions that are remembered, the latest: one that comes again is not carried out again.
MOST_ACTS = 100


class HoldAct(Struct):
    """One that was there. ``refused``: why; empty: it was carried out."""

    id: str
    act: str
    saga: str
    refused: str = ""


class Holds:
    """By saga (``ALL``): who holds it, and why. And the operator actions that led there."""

    def __init__(
        self, found: Mapping[str, str] | None = None, acts: Iterable[Mapping[str, Any]] = ()
    ) -> None:
        self._held = dict(found or {})
        self._acts = {one["id"]: HoldAct(**one) for one in acts}
        #: Whether there may be transactions that nobody holds any more: their releases must be set.
        self.is_released = True

    def of(self, saga: str) -> str:
        """Who holds this saga, and why; empty: nobody."""
        return (self._held.get(ALL) or self._held.get(saga, "")) if self._held else ""

    def record(self) -> dict[str, Any]:
        """What the shard record has of it."""
        return {"holds": dict(self._held), "acts": [asdict(one) for one in self._acts.values()]}

    def decide(self, act: Entry) -> Transition:
        """What a hold or a release comes to; changes nothing."""
        payload = act.payload or {}
        saga, why = str(payload.get("saga", ALL)), str(payload.get("why", ""))
        if before := self._acts.get(act.id):
            if (before.act, before.saga) != (act.type, saga):
                code, reason = (
                    IMPOSSIBLE,
                    f"the key {act.id} belongs to another operator action: {before.act} of {before.saga or 'every saga'}; use a new one",
                )
            elif before.refused:
                code, reason = IMPOSSIBLE, before.refused
            else:
                code, reason = DONE_ALREADY, f"this {act.type} was done before"
            return Transition(Kind.IGNORED, act.at, saga=saga, code=code, reason=reason, actor=act.actor)
        if act.type == HOLD:
            reason = f"held by {act.actor}: {why}"
            return Transition(Kind.HELD, act.at, saga=saga, reason=reason, actor=act.actor)
        if act.type == RELEASE and saga in self._held:
            reason = f"released by {act.actor}: {why}"
            return Transition(Kind.RELEASED, act.at, saga=saga, reason=reason, actor=act.actor)
        reason = (
            "only all sagas together are held: release them together"
            if self.of(saga)
            else f"{saga or 'everything'} is not held: there is nothing to release"
        )
        if act.type != RELEASE:
            reason = f"there is no operator action {act.type!r} on a whole saga"
        return Transition(Kind.IGNORED, act.at, saga=saga, code=IMPOSSIBLE, reason=reason, actor=act.actor)

    def fold(self, done: Transition, act: str, id_: str) -> None:
        """Apply what :meth:`decide` came to for the operator action with this id, now or as the log tells it."""
        if id_ and id_ not in self._acts and act in (HOLD, RELEASE):
            self._acts[id_] = HoldAct(id_, act, done.saga, done.reason if done.kind is Kind.IGNORED else "")
            if len(self._acts) > MOST_ACTS:
                del self._acts[next(iter(self._acts))]
        if done.kind is Kind.HELD:
            self._held[done.saga] = done.reason
        elif done.kind is Kind.RELEASED:
            self._held.pop(done.saga, None)
            self.is_released = True
