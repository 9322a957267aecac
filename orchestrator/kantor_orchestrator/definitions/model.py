"""What a saga can say: one validated model, whether it was written in YAML, in Python or read from the topic.

Only this version's grammar is here; words that DESIGN section 6 has and this version does not are listed in ``later``,
so that they are refused by name and never taken for a typing error. Whatever is added becomes a field here, leaves
``later``, and is given its meaning in ``check`` and ``compile``.

The model knows no Avro: whether types and fields exist is the business of ``check``. Durations are milliseconds.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    ValidationError,
    model_validator,
)
from pydantic_core import ErrorDetails

from kantor_orchestrator.core.saga import COMPENSATION_RETRY, COMPENSATION_TIMEOUT, START, Retry
from kantor_orchestrator.definitions import durations, expressions
from kantor_orchestrator.definitions.expressions import Plain

__all__ = [
    "Command",
    "Compensation",
    "Fault",
    "Invalid",
    "Part",
    "Retries",
    "SagaModel",
    "StepModel",
    "Word",
    "parse",
    "words_at",
]

#: One thing that is not in the grammar, as pydantic reports it.
Fault = ErrorDetails

#: Scopes of expressions, now or later: a step of that name would hide them.
RESERVED = frozenset({START, "event", "item", "index", "env", "true", "false", "null"})

_NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")
_TYPE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)+")
_TOPIC = re.compile(r"[A-Za-z0-9._-]{1,249}")


def _name(text: str) -> str:
    if _NAME.fullmatch(text) is None:
        raise ValueError(
            f"{text!r} is no name; use a-z, 0-9 and _, starting with a letter, at most 63 characters"
        )
    return text


def _step_name(text: str) -> str:
    if text in RESERVED:
        raise ValueError(f"{text!r} is a reserved word; choose another name for the step")
    return _name(text)


def _type(text: str) -> str:
    if _TYPE.fullmatch(text) is None:
        raise ValueError(f"{text!r} is no message type; write an Avro full name such as shop.OrderPlaced")
    return text


def _topic(text: str) -> str:
    if _TOPIC.fullmatch(text) is None:
        raise ValueError(f"{text!r} is no topic name; use letters, digits, '.', '_' and '-', at most 249")
    if text.startswith(("sys.", "evt.kantor.")):
        raise ValueError(f"{text!r} is Kantor's own topic; send commands to a cmd.<service>.v1 topic")
    return text


def _plain(value: object) -> object:
    if value is not None and not isinstance(value, str | int | float | bool):
        raise ValueError(f"{value!r} can't fill a field; write start.FIELD, STEP.FIELD or a literal")
    expressions.parse(value)
    return value


def _listed(value: object) -> object:
    """One or several: both become a tuple."""
    if isinstance(value, str):
        return (value,)
    return tuple(value) if isinstance(value, list) else value


def _command(value: object) -> object:
    if isinstance(value, str):
        return {"type": value}
    if isinstance(value, dict) and "command" in value and "type" not in value:
        return {"type" if word == "command" else word: inner for word, inner in value.items()}
    return value


def _compensation(value: object) -> object:
    return {"command": value} if isinstance(value, str) else value


Name = Annotated[str, AfterValidator(_name)]
StepName = Annotated[str, AfterValidator(_step_name)]
Word = Annotated[str, AfterValidator(_type)]
Topic = Annotated[str, AfterValidator(_topic)]
#: Milliseconds; written with a unit, also in JSON.
Duration = Annotated[int, BeforeValidator(durations.parse), PlainSerializer(durations.text)]
Fields = dict[str, Annotated[Any, AfterValidator(_plain)]]
Types = Annotated[tuple[Word, ...], BeforeValidator(_listed)]
Names = Annotated[tuple[str, ...], BeforeValidator(_listed)]


class Part(BaseModel):
    """A mapping of the grammar. ``later``: words that a later version will know."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)
    later: ClassVar[frozenset[str]] = frozenset()

    @classmethod
    def words(cls) -> list[str]:
        return list(cls.model_fields)


_ONCE = Retry()


class Retries(Part):
    """When a command is sent again. ``attempts`` counts the first one."""

    attempts: int = Field(default=1, ge=1, le=100)
    backoff: Duration = _ONCE.backoff
    factor: float = Field(default=_ONCE.factor, ge=1, le=100)
    max_backoff: Duration = _ONCE.max_backoff
    jitter: Literal["none", "equal", "full"] = "equal"

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
        return Retry(self.attempts, self.backoff, self.factor, self.max_backoff, self.jitter)


class PatientRetries(Retries):
    """Of a compensation: it is never given up quickly."""

    attempts: int = Field(default=COMPENSATION_RETRY.attempts, ge=1, le=100)
    max_backoff: Duration = COMPENSATION_RETRY.max_backoff


class Command(Part):
    """A command to send: a type, or ``{type, topic, fields}``."""

    later = frozenset({"key", "format"})

    type: Word
    topic: Topic | None = None
    fields: Fields = {}


class Compensation(Part):
    """What reverses a step: a command type, or ``{command, topic, fields, timeout, retry}``."""

    later = frozenset({"call", "task", "signal", "sleep", "saga", "key", "format"})

    command: Word
    topic: Topic | None = None
    fields: Fields = {}
    timeout: Duration = COMPENSATION_TIMEOUT
    retry: PatientRetries = PatientRetries()


class StepModel(Part):
    """One unit of a saga. Without ``command``: choreographed, a service acts by itself."""

    later = frozenset(
        {
            "steps", "each", "need", "in_order", "settle", "optional",  # composites
            "task", "call", "signal", "sleep", "saga",  # other kinds of step
            "when", "match", "key", "progress_on", "pivot", "in_doubt", "result",
        }
    )  # fmt: skip

    after: Names = ()
    command: Annotated[Command | None, BeforeValidator(_command)] = None
    fields: Fields = {}
    succeeds_on: Word | None = None
    fails_on: Types = ()
    timeout: Duration | None = None
    retry: Retries = Retries()
    compensate_with: Annotated[Compensation | None, BeforeValidator(_compensation)] = None
    compensated_on: Word | None = None

    def command_fields(self) -> Mapping[str, Plain]:
        """What is said of the command's fields, beside it or in it."""
        return {**self.command.fields, **self.fields} if self.command else self.fields


class SagaModel(Part):
    """The definition of one type of transaction."""

    later = frozenset(
        {"ends_with", "returns", "cancel_on", "mode", "enforce", "compensation", "brake", "commands"}
    )

    saga: Name
    version: int = Field(ge=1, le=2**31 - 1)
    starts_on: Word
    deadline: Duration | None = None
    keys: Names = ()
    steps: dict[StepName, StepModel] = Field(min_length=1)

    def types(self) -> list[str]:
        """Every message type that it names, in the order of writing, each once."""
        found = [self.starts_on]
        for step in self.steps.values():
            found += [
                step.command.type if step.command else "",
                step.succeeds_on or "",
                *step.fails_on,
                step.compensate_with.command if step.compensate_with else "",
                step.compensated_on or "",
            ]
        return [type_ for type_ in dict.fromkeys(found) if type_]


class Invalid(ValueError):  # noqa: N818 - the value is invalid
    """What was written is not in the grammar."""

    def __init__(self, faults: list[Fault]) -> None:
        super().__init__("not in the grammar")
        self.faults = faults


def parse(value: object) -> SagaModel:
    """The model of what was written. Raises :class:`Invalid` with everything that is wrong."""
    try:
        return SagaModel.model_validate(value)
    except ValidationError as error:
        raise Invalid(error.errors(include_url=False)) from error


def words_at(path: tuple[str | int, ...]) -> type[Part]:
    """The part of the grammar that a word at ``path`` belongs to."""
    if len(path) < 2:
        return SagaModel
    if len(path) > 2 and path[-3] == "steps":
        return StepModel
    if path[-2] == "retry":
        return PatientRetries if "compensate_with" in path[-4:-2] else Retries
    if path[-2] == "command":
        return Command
    return Compensation if path[-2] == "compensate_with" else SagaModel
