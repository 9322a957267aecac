"""A saga, compiled: what the engine looks up while it decides. Built by ``definitions.compile_saga``; immutable.

Durations are milliseconds. Scopes name whose captured fields are meant: ``start``, or a step's path.

Steps form a tree: a *composite* holds steps of its own. A definition's path has names only (``parcels.book``); the path
of an instance in a transaction also has the item's index where a composite runs ``each`` (``parcels[1].book``, a step
of the *member* ``parcels[1]``). ``definition_path`` takes the one to the other.

Expressions enter the core compiled: functions of the names in scope. One that raises makes an incident of its
transaction. In scope are ``start`` and every step that has begun, each as a mapping of what was captured of it;
composites as ``{"succeeded": [...], "failed": [...]}`` with a mapping for each member that ended so (``item``, ``index``
and the steps in it); within an ``each``, ``item`` and ``index`` of the nearest one; in ``match``, ``event``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import Any

from kantor.envelope import COMPENSATE_TRANSACTION, STEP_FAILED

START = "start"
#: The path of the whole saga, whose steps are those that are in no composite.
ROOT = ""

Expression = Callable[[Mapping[str, Any]], Any]

#: What becomes of a step that may have happened: reversed; awaited until its answer comes; asked about.
COMPENSATE, WAIT, ASK = "compensate", "wait", "ask"
#: In which order effects are reversed.
TOPOLOGICAL, SEQUENTIAL, PARALLEL = "topological", "sequential", "parallel"
#: Whether commands are sent. Otherwise they are history only (``would_send``).
OBSERVE, ENFORCE = "observe", "enforce"

_INDEX = re.compile(r"\[\d+\]")


#: What is shown instead of personal data.
MASK = "•••"


@lru_cache(10_000)
def definition_path(instance: str) -> str:
    """The definition's path of an instance's: without the items' indices."""
    return _INDEX.sub("", instance) if "[" in instance else instance


#: Attempts of a round at most: so many of an earlier round are looked through, to know an old answer again.
MOST_ATTEMPTS = 100


@dataclass(frozen=True, slots=True)
class Retry:
    """When a command is sent again. ``attempts`` counts the first one."""

    attempts: int = 1
    backoff: int = 1_000
    factor: float = 2.0
    max_backoff: int = 60_000
    jitter: str = "equal"  # none | equal (half fixed, half derived) | full (all derived)
    budget: int = 0  # no attempt begins later than this after the first one; 0: no limit
    final: frozenset[str] = frozenset()  # codes of failures that are never retried

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
    """How one field of a command is filled: an expression, else a literal, else the first of ``sources`` (scope, field)
    that is known. A scope is a step's definition path; within an ``each`` it means the one of the same member."""

    name: str
    sources: tuple[tuple[str, str], ...] = ()
    literal: Any = None
    expression: Expression | None = None


@dataclass(frozen=True, slots=True)
class Command:
    """A message to send: its type, where it goes and how its fields are filled. ``key``: its record key, if that is not
    the transaction id. ``format``: ``avro``, or ``json`` for a service that listened before Kantor came."""

    type: str
    topic: str
    fields: tuple[FieldRule, ...] = ()
    key: Expression | None = None
    format: str = "avro"


@dataclass(frozen=True, slots=True, kw_only=True)
class Compensation:
    """What reverses a step: the command, what confirms it, and how patiently it is repeated."""

    command: Command
    confirmed_on: str
    timeout: int = COMPENSATION_TIMEOUT
    retry: Retry = COMPENSATION_RETRY


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One unit of a saga."""

    path: str  # of the definition
    parent: str = ROOT  # the composite's definition path
    after: tuple[str, ...] = ()  # definition paths of steps in the same composite
    kind: str = "event"  # a name of ``step_kinds.KINDS``
    when: Expression | None = None
    optional: bool = False
    pivot: bool = False
    # -- of all but composites
    command: Command | None = None  # None: choreographed, a service acts by itself
    succeeds_on: str = ""
    fails_on: tuple[str, ...] = ()
    match: Expression | None = None
    progress_on: str = ""  # restarts the timeout
    bare: str = ""  # the answer that says that it is done, without what the step succeeds on: a task's without its result
    timeout: int = 0  # 0: none
    retry: Retry = field(default_factory=Retry)
    compensation: Compensation | None = None
    in_doubt: str = COMPENSATE
    ask: Command | None = None
    sleep: Expression | None = None  # gives milliseconds
    child: str = ""  # the saga that runs as this step; ``command`` is the message that starts it
    # -- of composites
    steps: tuple[str, ...] = ()  # definition paths, in topological order
    each: Expression | None = None  # gives a list: one member per item; None: the members are the steps
    need: int | None = None  # how many members must succeed; None: all
    in_order: bool = False
    settle_all: bool = False

    @property
    def owner(self) -> str:
        """The service that the transaction is waiting on while this step is open: the namespace of what it must send."""
        return self.succeeds_on.rpartition(".")[0]


@dataclass(frozen=True, slots=True)
class Cancellation:
    """``cancel_on``: the event that cancels as long as the step ``until`` has not ended; else ``refuse_with`` answers."""

    event: str
    until: str
    refuse_with: Command | None = None


@dataclass(frozen=True)
class Saga:
    """One version of a saga. ``steps``: by definition path, composites before what they hold, steps of the same composite
    in topological order; ``captures`` says which fields to keep by type."""

    name: str
    version: int
    starts_on: str
    steps: Mapping[str, Step]
    captures: Mapping[str, frozenset[str]] = field(default_factory=dict)
    personal_reasons: frozenset[str] = frozenset()  # types whose field `reason` is personal data
    deadline: int = 0
    deployed_at: int = 0
    keys: tuple[str, ...] = ()
    cancel_on: Cancellation | None = None
    ends_with: Mapping[str, Command] = field(default_factory=dict)  # by status
    returns: tuple[FieldRule, ...] = ()
    compensation: str = TOPOLOGICAL
    mode: str = ENFORCE
    share: float = 1.0  # of transactions that are enforced; the others are observed

    @cached_property
    def types(self) -> frozenset[str]:
        """Every message type that means something to this saga."""
        found = {self.starts_on, STEP_FAILED, *self.by_success, *self.by_failure, *self.by_confirmation}
        found |= {COMPENSATE_TRANSACTION, *self.by_progress, *self.by_bare} | (
            {self.cancel_on.event} if self.cancel_on else set()
        )
        return frozenset(found)

    @cached_property
    def by_success(self) -> Mapping[str, tuple[Step, ...]]:
        return _index((step.succeeds_on, step) for step in self.steps.values() if step.succeeds_on)

    @cached_property
    def by_failure(self) -> Mapping[str, tuple[Step, ...]]:
        return _index((type_, step) for step in self.steps.values() for type_ in step.fails_on)

    @cached_property
    def by_confirmation(self) -> Mapping[str, tuple[Step, ...]]:
        return _index((s.compensation.confirmed_on, s) for s in self.steps.values() if s.compensation)

    @cached_property
    def by_progress(self) -> Mapping[str, tuple[Step, ...]]:
        return _index((step.progress_on, step) for step in self.steps.values() if step.progress_on)

    @cached_property
    def by_bare(self) -> Mapping[str, tuple[Step, ...]]:
        return _index((step.bare, step) for step in self.steps.values() if step.bare)

    @cached_property
    def children(self) -> Mapping[str, tuple[Step, ...]]:
        """By composite (``ROOT``: the saga): its steps, in topological order."""
        found: dict[str, tuple[Step, ...]] = {ROOT: ()}
        for step in self.steps.values():
            found[step.parent] = (*found.get(step.parent, ()), step)
        return found

    @cached_property
    def has_choices(self) -> bool:
        """Whether some members of a composite may be enough: what else takes effect in it is reversed."""
        return any(step.need is not None for step in self.steps.values())

    @cached_property
    def has_bound_members(self) -> bool:
        """Whether there are members of an ``each`` with a pivot: such a one may go on when nobody needs it any more."""
        each = {path for path, step in self.steps.items() if step.each is not None}
        return any(step.pivot and step.parent in each for step in self.steps.values())

    @cached_property
    def later(self) -> Mapping[str, frozenset[str]]:
        """By step: every step of the same composite that comes after it, directly or not."""
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


def beside(source: str, path: str) -> str:
    """The instance of the definition path ``source`` that is in the same members as the instance ``path``."""
    if "[" not in path or "." not in source:
        return source
    parts, here = source.split("."), path.split(".")
    for n in range(min(len(parts), len(here)) - 1):
        if definition_path(here[n]) != parts[n]:
            break
        parts[n] = here[n]
    return ".".join(parts)
