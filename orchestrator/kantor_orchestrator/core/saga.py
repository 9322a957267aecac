"""A saga, compiled: what the engine looks up while it decides. Built by ``definitions.compile_saga``; immutable.

Durations are milliseconds. Scopes name whose captured fields are meant: ``start``, or a step's path.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from kantor.envelope import STEP_FAILED

START = "start"


@dataclass(frozen=True, slots=True)
class Retry:
    """When a command is sent again. ``attempts`` counts the first one."""

    attempts: int = 1
    backoff: int = 1_000
    factor: float = 2.0
    max_backoff: int = 60_000
    jitter: str = "equal"  # none | equal (half fixed, half derived) | full (all derived)

    def delay(self, attempt: int, command_id: str) -> int:
        """Milliseconds to wait after ``attempt`` (from 1) failed. The jitter is derived from the command's id, so
        that a replay waits as long."""
        full = min(self.max_backoff, self.backoff * self.factor ** (attempt - 1))
        share = int(command_id[-6:], 16) / 0xFFFFFF
        if self.jitter == "full":
            return int(full * share)
        if self.jitter == "equal":
            return int(full / 2 + full / 2 * share)
        return int(full)


#: A compensation is never given up quickly: its service may be down for hours.
COMPENSATION_RETRY = Retry(attempts=12, backoff=1_000, factor=2.0, max_backoff=300_000)
COMPENSATION_TIMEOUT = 30_000


@dataclass(frozen=True, slots=True)
class FieldRule:
    """How one field of a command is filled: a literal, or the first of ``sources`` (scope, field) that is known."""

    name: str
    sources: tuple[tuple[str, str], ...] = ()
    literal: Any = None


@dataclass(frozen=True, slots=True)
class Command:
    """A command to send: its type, where it goes and how its fields are filled."""

    type: str
    topic: str
    fields: tuple[FieldRule, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Compensation:
    """What reverses a step: the command, what confirms it, and how patiently it is repeated."""

    command: Command
    confirmed_on: str
    timeout: int = COMPENSATION_TIMEOUT
    retry: Retry = COMPENSATION_RETRY


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One unit of a saga. ``command`` None: choreographed, a service acts by itself."""

    path: str
    after: tuple[str, ...] = ()
    command: Command | None = None
    succeeds_on: str = ""
    fails_on: tuple[str, ...] = ()
    timeout: int = 0  # 0: none
    retry: Retry = field(default_factory=Retry)
    compensation: Compensation | None = None

    @property
    def kind(self) -> str:
        return "event" if self.command is None else "command"

    @property
    def owner(self) -> str:
        """The service that has the ball while this step is open: the namespace of what it must send."""
        return self.succeeds_on.rpartition(".")[0]


@dataclass(frozen=True)
class Saga:
    """One version of a saga. ``steps`` are in topological order; ``captures`` says which fields to keep by type."""

    name: str
    version: int
    starts_on: str
    steps: Mapping[str, Step]
    captures: Mapping[str, frozenset[str]] = field(default_factory=dict)
    deadline: int = 0
    deployed_at: int = 0
    keys: tuple[str, ...] = ()

    @cached_property
    def types(self) -> frozenset[str]:
        """Every message type that means something to this saga."""
        return frozenset(
            {self.starts_on, STEP_FAILED, *self.by_success, *self.by_failure, *self.by_confirmation}
        )

    @cached_property
    def by_success(self) -> Mapping[str, tuple[Step, ...]]:
        return _index((step.succeeds_on, step) for step in self.steps.values())

    @cached_property
    def by_failure(self) -> Mapping[str, tuple[Step, ...]]:
        return _index((type_, step) for step in self.steps.values() for type_ in step.fails_on)

    @cached_property
    def by_confirmation(self) -> Mapping[str, tuple[Step, ...]]:
        return _index((s.compensation.confirmed_on, s) for s in self.steps.values() if s.compensation)

    @cached_property
    def later(self) -> Mapping[str, frozenset[str]]:
        """By step: every step that comes after it, directly or not."""
        found: dict[str, frozenset[str]] = {}
        for path in reversed(list(self.steps)):
            direct = [other.path for other in self.steps.values() if path in other.after]
            found[path] = frozenset(direct).union(*(found[other] for other in direct))
        return found


def _index(pairs: Any) -> dict[str, tuple[Step, ...]]:
    found: dict[str, tuple[Step, ...]] = {}
    for type_, step in pairs:
        found[type_] = (*found.get(type_, ()), step)
    return found
