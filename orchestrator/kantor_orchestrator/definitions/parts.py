"""The parts of a step and of a saga that are mappings of their own: retries, commands, compensations, tasks, calls.

``Part`` is what all of them are. Durations are milliseconds.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from kantor_orchestrator.core.saga import COMPENSATION_RETRY, COMPENSATION_TIMEOUT, MOST_ATTEMPTS, Retry
from kantor_orchestrator.definitions import durations
from kantor_orchestrator.definitions.words import (
    Delays,
    Duration,
    Fields,
    Formula,
    Names,
    Template,
    Templates,
    Topic,
    Word,
)

__all__ = [
    "Call",
    "Cancel",
    "Command",
    "Compensation",
    "Doubt",
    "Escalation",
    "Part",
    "PatientRetries",
    "Retries",
    "Route",
    "Task",
]


class Part(BaseModel):
    """A mapping of the grammar. ``later``: words that a later version will know."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, serialize_by_alias=True)
    later: ClassVar[frozenset[str]] = frozenset()

    @classmethod
    def words(cls) -> list[str]:
        return [field.alias or name for name, field in cls.model_fields.items()]


_ONCE = Retry()


class Retries(Part):
    """When a command is sent again. ``attempts`` counts the first one."""

    attempts: int = Field(default=1, ge=1, le=MOST_ATTEMPTS)
    backoff: Duration = _ONCE.backoff
    factor: float = Field(default=_ONCE.factor, ge=1, le=100)
    max_backoff: Duration = _ONCE.max_backoff
    jitter: Literal["none", "equal", "full"] = "equal"
    #: No attempt begins later than this after the first one.
    budget: Duration | None = None
    #: Codes of failures that are never retried.
    final: Names = ()

    @model_validator(mode="before")
    @classmethod
    def _cap(cls, value: object) -> object:
        """A first backoff above the default cap lifts the cap; it must not be cut in silence."""
        if isinstance(value, dict) and "max_backoff" not in value and isinstance(value.get("backoff"), str):
            try:
                backoff = durations.parse(value["backoff"])
            except ValueError:
                return value  # reported where it is written
            return value | {
                "max_backoff": durations.text(max(backoff, cls.model_fields["max_backoff"].default))
            }
        return value

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.max_backoff < self.backoff:
            raise ValueError(
                f"max_backoff {durations.text(self.max_backoff)} is shorter than backoff "
                f"{durations.text(self.backoff)}; swap them or drop max_backoff"
            )
        return self

    def compiled(self) -> Retry:
        return Retry(
            self.attempts,
            self.backoff,
            self.factor,
            self.max_backoff,
            self.jitter,
            self.budget or 0,
            frozenset(self.final),
        )


class PatientRetries(Retries):
    """Of a compensation: it is never given up quickly."""

    attempts: int = Field(default=COMPENSATION_RETRY.attempts, ge=1, le=MOST_ATTEMPTS)
    max_backoff: Duration = COMPENSATION_RETRY.max_backoff


def as_command(value: object) -> object:
    """A type alone, or ``{type, ...}``, in which ``command`` says the same."""
    if isinstance(value, str):
        return {"type": value}
    if isinstance(value, dict) and "command" in value and "type" not in value:
        return {"type" if word == "command" else word: inner for word, inner in value.items()}
    return value


class Command(Part):
    """A message to send: a type, or ``{type, topic, fields, key}``."""

    later = frozenset({"format"})

    type: Word
    topic: Topic | None = None
    fields: Fields = {}
    key: Formula | None = None


class Route(Part):
    """Where a command's service already listens, and how it reads."""

    topic: Topic | None = None
    format: Literal["avro", "json"] = "avro"
    key: Formula | None = None


class Call(Part):
    """An HTTP request through ``kantor_http``. ``{env.NAME}`` in it is filled in there, never written to Kafka."""

    method: Literal["GET", "POST", "PUT", "PATCH", "DELETE"] = "POST"
    url: Template
    headers: dict[str, Template] = {}
    body: Fields | None = None
    #: 404 and 410 mean that it is done: what is to be deleted is not there.
    gone_is_success: bool = False


class Escalation(Part):
    """Who gets a task that nobody has done by then."""

    after: Duration
    to: Templates = Field(min_length=1)


class Task(Part):
    """What a person is asked to do."""

    title: Template
    candidates: Templates = Field(alias="for", min_length=1)
    excluded: Templates = Field(alias="not", default=())
    due: Duration | None = None
    remind: Delays = ()
    escalate: Escalation | None = None
    #: What a person may answer, and what that means for the step.
    outcomes: dict[str, Literal["succeeds", "fails"]] = {"done": "succeeds"}
    #: The event that a success is published as; its fields are what the person fills in.
    result: Word | None = None

    @model_validator(mode="after")
    def _ends(self) -> Self:
        if "succeeds" not in self.outcomes.values():
            raise ValueError("no outcome means success; mark one of `outcomes` as `succeeds`")
        return self


def as_compensation(value: object) -> object:
    return {"command": value} if isinstance(value, str) else value


class Compensation(Part):
    """What reverses a step: a command type, ``{command, topic, fields, key, timeout, retry}``, a call or a task."""

    later = frozenset({"signal", "sleep", "saga", "format"})

    command: Word | None = None
    call: Call | None = None
    task: Task | None = None
    topic: Topic | None = None
    fields: Fields = {}
    key: Formula | None = None
    timeout: Duration = COMPENSATION_TIMEOUT
    retry: PatientRetries = PatientRetries()

    @model_validator(mode="after")
    def _one(self) -> Self:
        said = [word for word in ("command", "call", "task") if getattr(self, word) is not None]
        if len(said) != 1:
            raise ValueError(
                f"it has {' and '.join(said) or 'none'} of `command`, `call` and `task`; write exactly one"
            )
        for word in ("topic", "fields", "key"):
            if self.command is None and getattr(self, word):
                raise ValueError(f"`{word}` is for commands; drop it, or name a `command`")
        return self


def as_doubt(value: object) -> object:
    return {"then": value} if isinstance(value, str) else value


class Doubt(Part):
    """What becomes of a step that may have happened: ``compensate`` or ``wait``, or ``{ask: Command}``: its service is
    asked, and answers as it does to the step itself."""

    then: Literal["compensate", "wait"] | None = None
    ask: Annotated[Command | None, BeforeValidator(as_command)] = None

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.then is None) == (self.ask is None):
            raise ValueError("it needs exactly one value; write `compensate`, `wait` or `{ask: COMMAND}`")
        return self


class Cancel(Part):
    """The event that cancels a transaction as long as the step ``until`` has not ended; else ``refuse_with`` answers."""

    event: Word
    until: str
    refuse_with: Annotated[Command | None, BeforeValidator(as_command)] = None
