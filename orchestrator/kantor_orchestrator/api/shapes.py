"""The shapes of answers, for OpenAPI: what ``view.as_json`` makes. Answers are not checked against them while serving; the
tests do that (``tests/unit/test_api.py``).
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, JsonValue, create_model

from kantor_orchestrator.core.transaction import StepStatus
from kantor_orchestrator.view.columns import SHOWN, As
from kantor_orchestrator.view.status import ShownStatus

Text = str | None
Time = datetime | None


class Shape(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Key(Shape):
    name: str
    value: str


def _shape_of(declared: Any) -> Any:
    match getattr(declared, "__metadata__", ()):
        case (As.TEXT,):
            return Text
        case (As.NUMBER,):
            return int | None
        case (As.TIME,):
            return Time
    return declared


_OWN: dict[str, Any] = {"status": ShownStatus, "keys": list[Key]}
_FIELDS: dict[str, Any] = {
    name: (_OWN.get(name, _shape_of(declared)), ...) for name, declared in SHOWN.items()
}


# Its fields are those of ``view.columns.Summary``; types are checked without them, because a type that is made here can't be named.
if TYPE_CHECKING:

    class Summary(Shape): ...

else:
    Summary = create_model("Summary", __base__=Shape, __doc__="One transaction in a list.", **_FIELDS)


class TransactionPage(Shape):
    """``partial``: the search took too long to fill the page; ``next_page`` continues it. ``complete_from``: transactions that began before
    may be missing or incomplete: Kafka no longer held their records when the view was built; null: everything is there."""

    transactions: list[Summary]
    next_page: Text
    partial: bool
    complete_from: Time


class Compensation(Shape):
    owner: Text
    attempts: int
    started_at: Time
    ended_at: Time


class Step(Shape):
    name: str
    kind: Text
    owner: Text
    status: StepStatus
    attempts: int
    started_at: Time
    ended_at: Time
    after: list[str]
    timer: Text
    due: Time
    code: Text
    reason: Text
    compensation: Compensation | None


class Transition(Shape):
    """``text``: what happened, in a sentence."""

    kind: str
    at: Time
    step: Text
    status: str
    step_status: Text
    round: int | None
    attempt: int | None
    timer: Text
    due: Time
    code: Text
    reason: Text
    history: str
    text: str


class Message(Shape):
    """``origin`` and ``journal``: ``topic/partition/offset``."""

    at: Time
    kind: str
    type: Text
    id: Text
    source: Text
    origin: Text
    journal: Text
    causation_id: Text
    sent_at: Time
    step: Text
    attempt: int | None
    seen: int
    is_repeat: bool
    detail: Text
    transitions: list[Transition]


class Incident(Shape):
    kind: str
    step: Text
    reason: str
    opened_at: Time
    closed_at: Time


class Child(Shape):
    step: str
    transaction_id: str
    status: Text


class Transaction(Shape):
    """``complete_from``: this one began before, and its story may lack its beginning; null: it is whole. ``unread``: where the first
    of its decisions lies that could not be read, and why: its status may be wrong; null: all could."""

    transaction_id: str
    saga: Text
    version: int | None
    status: ShownStatus
    waiting_on: list[str]
    held: Text
    started_at: Time
    updated_at: Time
    ended_at: Time
    reason: Text
    last_error: Text
    shard: int | None
    keys: list[Key]
    steps: list[Step]
    timeline: list[Message]
    incidents: list[Incident]
    parent: Text
    unread: Text
    children: list[Child]
    complete_from: Time


class Header(Shape):
    """``value`` null: it has none; ``hex`` instead of it: it is no text."""

    name: str
    value: Text
    hex: Text


class Payload(Shape):
    """``decoded``: the value as JSON, ``schema`` the Avro type it was written with. ``hidden``: bytes are not shown to a
    viewer, since they hold personal data, or nobody knows."""

    place: str
    at: Time
    key: Text
    headers: list[Header]
    size: int
    schema_: Text
    decoded: JsonValue
    trouble: Text
    hex: Text
    truncated: bool
    hidden: bool
    trace_id: Text

    model_config = ConfigDict(
        extra="forbid", alias_generator=lambda name: "schema" if name == "schema_" else name
    )


class OpenIncident(Shape):
    transaction_id: str
    saga: Text
    kind: str
    step: Text
    reason: str
    opened_at: Time
    keys: list[Key]


class IncidentPage(Shape):
    open: int
    incidents: list[OpenIncident]
    next_page: Text


class Definition(Shape):
    saga: str
    version: int
    starts_on: str
    steps: list[str]
    keys: list[str]
    deployed_at: Time
    transactions: dict[str, int] | None


class DefinitionPage(Shape):
    definitions: list[Definition]


class WholeDefinition(Definition):
    definition: JsonValue
    open_steps: dict[str, int]


class Act(Shape):
    """``transitions``: what the engine made of it."""

    id: str
    act: str
    transaction_id: Text
    saga: Text
    transitions: list[ActTransition]


class ActTransition(Shape):
    """``text``: what happened, in a sentence."""

    kind: str
    step: Text
    status: Text
    code: Text
    reason: Text
    text: str


class BulkCount(Shape):
    """``token`` lets the operator action be done to exactly these; null: there are too many, or none."""

    act: str
    count: int
    more: bool
    sample: list[Summary]
    token: Text
    expires_at: Time


class Refused(Shape):
    transaction_id: str
    reason: str


class BulkResult(Shape):
    """``unanswered``: in the journal, and will be carried out."""

    id: str
    act: str
    done: int
    refused: list[Refused]
    unanswered: list[str]


class Me(Shape):
    name: str
    role: Literal["viewer", "operator", "admin"]


class StatusAnswer(BaseModel):
    """As ``kantor status --json``."""

    model_config = ConfigDict(extra="allow")

    wrong: list[dict[str, Any]]
