"""What a saga can say: one validated model, whether it was written in YAML, in Python or read from the topic.

Words that a later version will know are listed in ``later`` of their part, so that they are refused by name and never
taken for a typing error. The smaller parts are in ``parts``, the smallest in ``words``.

The model knows no Avro: whether types and fields exist is the business of ``check``. Durations are milliseconds.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, ValidationError
from pydantic_core import ErrorDetails

from kantor_orchestrator.definitions.expressions import Plain
from kantor_orchestrator.definitions.form import Form
from kantor_orchestrator.definitions.parts import (
    Call,
    Cancel,
    Command,
    Compensation,
    Doubt,
    Escalation,
    Part,
    PatientRetries,
    Retries,
    Route,
    Task,
    as_command,
    as_compensation,
    as_doubt,
)
from kantor_orchestrator.definitions.step_kinds import FORMS
from kantor_orchestrator.definitions.words import (
    RESERVED,
    Duration,
    Fields,
    Formula,
    Name,
    Names,
    Share,
    Sleep,
    StepName,
    Types,
    Word,
)

__all__ = [
    "RESERVED",
    "Call",
    "Cancel",
    "Command",
    "Compensation",
    "Doubt",
    "Fault",
    "Invalid",
    "Part",
    "Retries",
    "Route",
    "SagaModel",
    "StepModel",
    "Task",
    "Word",
    "parse",
    "words_at",
]

#: One thing that is not in the grammar, as pydantic reports it.
Fault = ErrorDetails


class StepModel(Part):
    """One unit of a saga. Its kind follows from its words (``step_kinds``)."""

    after: Names = ()
    when: Formula | None = None
    optional: bool = False
    # -- what it is
    command: Annotated[Command | None, BeforeValidator(as_command)] = None
    signal: Word | None = None
    sleep: Sleep | None = None
    saga: Name | None = None
    task: Task | None = None
    call: Call | None = None
    steps: dict[StepName, StepModel] | None = Field(default=None, min_length=1)
    # -- of a composite
    each: Formula | None = None
    need: int | None = Field(default=None, ge=1, le=10_000)
    in_order: bool = False
    settle: Literal["all"] | None = None
    # -- of all others
    fields: Fields = Field(default_factory=dict)
    key: Formula | None = None
    succeeds_on: Word | None = None
    fails_on: Types = ()
    match: Formula | None = None
    progress_on: Word | None = None
    timeout: Duration | None = None
    retry: Retries = Retries()
    in_doubt: Annotated[Doubt | None, BeforeValidator(as_doubt)] = None
    pivot: bool = False
    compensate_with: Annotated[Compensation | None, BeforeValidator(as_compensation)] = None
    compensated_on: Word | None = None

    @property
    def forms(self) -> list[Form[Any]]:
        """What it says that it is; more than one makes no sense."""
        said = [form for form in FORMS.values() if form.word and getattr(self, form.word) is not None]
        return said or [form for form in FORMS.values() if not form.word]

    @property
    def form(self) -> Form[Any]:
        return self.forms[0]

    @property
    def kind(self) -> str:
        """As the engine names it: ``event``, ``command``, ..., ``composite``."""
        return self.form.name

    @property
    def children(self) -> Mapping[str, StepModel]:
        return self.steps or {}

    @property
    def doubt(self) -> str:
        """``compensate``, ``wait`` or ``ask``. A pivot is never reversed, so it waits unless it says otherwise."""
        if self.in_doubt is None:
            return "wait" if self.pivot else "compensate"
        return self.in_doubt.then or "ask"

    def command_fields(self) -> Mapping[str, Plain]:
        """What is said of the command's fields, beside it or in it."""
        return {**self.command.fields, **self.fields} if self.command else self.fields


class SagaModel(Part):
    """The definition of one type of transaction."""

    later = frozenset({"brake"})

    saga: Name
    version: int = Field(ge=1, le=2**31 - 1)
    starts_on: Word
    deadline: Duration | None = None
    keys: Names = ()
    mode: Literal["observe", "enforce"] = "enforce"
    #: The share of transactions whose commands are sent; the others are observed.
    enforce: Share | None = None
    compensation: Literal["topological", "sequential", "parallel"] = "topological"
    cancel_on: Cancel | None = None
    steps: dict[StepName, StepModel] = Field(min_length=1)
    ends_with: dict[str, Annotated[Command, BeforeValidator(as_command)]] = Field(default_factory=dict)
    returns: Fields = Field(default_factory=dict)
    commands: dict[Word, Route] = Field(default_factory=dict)

    def every_step(self) -> Iterator[StepModel]:
        """Composites before what they hold."""
        waiting = list(self.steps.values())
        while waiting:
            step = waiting.pop(0)
            yield step
            waiting = [*step.children.values(), *waiting]


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


#: The part of the grammar that the words below a word belong to, where it is the same everywhere.
_BELOW: Mapping[str, type[Part]] = {
    "command": Command,
    "ask": Command,
    "refuse_with": Command,
    "compensate_with": Compensation,
    "in_doubt": Doubt,
    "cancel_on": Cancel,
    "call": Call,
    "task": Task,
    "escalate": Escalation,
}


def words_at(path: tuple[str | int, ...]) -> type[Part]:
    """The part of the grammar that a word at ``path`` belongs to."""
    if len(path) < 2:
        return SagaModel
    if len(path) > 2 and path[-3] == "steps":
        return StepModel
    if len(path) > 2 and path[-3] == "ends_with":
        return Command
    if len(path) > 2 and path[-3] == "commands":
        return Route
    if path[-2] == "retry":
        return PatientRetries if "compensate_with" in path[-4:-2] else Retries
    return _BELOW.get(str(path[-2]), SagaModel)
