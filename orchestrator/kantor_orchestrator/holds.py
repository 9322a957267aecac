"""Which sagas a person holds: their transactions stand still until the release.

Told to every shard by an entry of its journal, kept in its shard record (shard-27). What it means to a transaction:
``core.decide``.
"""

from __future__ import annotations

from collections.abc import Mapping

from kantor_orchestrator.core.entry import Entry
from kantor_orchestrator.core.transaction import Kind, Transition

HOLD, RELEASE = "hold", "release"
#: Every saga, those included that are deployed later.
ALL = ""


class Holds:
    """By saga (``ALL``): who holds it, and why."""

    def __init__(self, found: Mapping[str, str] | None = None) -> None:
        self._held = dict(found or {})
        #: Whether there may be transactions that nobody holds any more: their releases must be set.
        self.is_released = True

    def of(self, saga: str) -> str:
        """Who holds this saga, and why; empty: nobody."""
        return (self._held.get(ALL) or self._held.get(saga, "")) if self._held else ""

    def record(self) -> dict[str, str]:
        return dict(self._held)

    def decide(self, act: Entry) -> Transition:
        """What a hold or a release comes to; changes nothing."""
        payload = act.payload or {}
        saga, why = str(payload.get("saga", ALL)), str(payload.get("why", ""))
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
            reason = f"there is no act {act.type!r} on a whole saga"
        return Transition(
            Kind.IGNORED, act.at, saga=saga, code="act_impossible", reason=reason, actor=act.actor
        )

    def fold(self, done: Transition) -> None:
        """Apply what :meth:`decide` came to, now or as the log tells it."""
        if done.kind is Kind.HELD:
            self._held[done.saga] = done.reason
        elif done.kind is Kind.RELEASED:
            self._held.pop(done.saga, None)
            self.is_released = True
