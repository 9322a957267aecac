"""The smallest parts of the grammar: names, types, topics, durations, shares, and texts that hold expressions.

Each is an annotated type that pydantic validates; what is refused says what is wrong and the remedy, joined by ``; ``.
"""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, PlainSerializer

from kantor_orchestrator.core.saga import START
from kantor_orchestrator.definitions import durations, expressions, templates

__all__ = [
    "RESERVED",
    "TOPICS",
    "Delays",
    "Duration",
    "Fields",
    "Formula",
    "Name",
    "Names",
    "Share",
    "Sleep",
    "StepName",
    "Template",
    "Templates",
    "Topic",
    "Types",
    "Word",
    "is_topic",
    "listed",
]

#: Scopes and words of expressions: a step of that name would hide them.
RESERVED = frozenset({START, "event", "item", "index", "env", "true", "false", "null", "in", "has", "size"})

_NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")
_TYPE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)+")
_TOPIC = re.compile(r"[A-Za-z0-9._-]{1,249}")
#: What Kafka takes for a topic's name.
TOPICS = "use letters, digits, '.', '_' and '-', at most 249, and more than '.' or '..'"
_SHARE = re.compile(r"([0-9]{1,3}(?:\.[0-9]{1,2})?)\s?%")


def _name(text: str) -> str:
    if _NAME.fullmatch(text) is None:
        raise ValueError(
            f"{text!r} is not a name; use a-z, 0-9 and _, starting with a letter, at most 63 characters"
        )
    return text


def _step_name(text: str) -> str:
    if text in RESERVED:
        raise ValueError(f"{text!r} is a reserved word; choose another name for the step")
    return _name(text)


def _type(text: str) -> str:
    if _TYPE.fullmatch(text) is None:
        raise ValueError(f"{text!r} is not a message type; write an Avro full name such as shop.OrderPlaced")
    return text


def is_topic(text: str) -> bool:
    """Whether Kafka takes it for a topic's name."""
    return _TOPIC.fullmatch(text) is not None and text not in (".", "..")


def _topic(text: str) -> str:
    if not is_topic(text):
        raise ValueError(f"{text!r} is not a topic name; {TOPICS}")
    if text.startswith(("sys.", "evt.kantor.")):
        raise ValueError(f"{text!r} is Kantor's own topic; send commands to a cmd.<service>.v1 topic")
    return text


def _plain(value: object) -> object:
    if value is not None and not isinstance(value, str | int | float | bool):
        raise ValueError(f"{value!r} can't fill a field; write start.FIELD, STEP.FIELD or a literal")
    expressions.parse(value)
    return value


def _formula(text: str) -> str:
    expressions.check(text)
    return text


def _sleep(text: object) -> object:
    """A duration, or an expression that gives one."""
    if isinstance(text, int | float) and not isinstance(text, bool):
        durations.parse(text)
    if isinstance(text, str):
        if durations.is_written(text):
            durations.parse(text, shortest=0)
        else:
            expressions.check(text)
    return text


def _template(text: str) -> str:
    templates.check(text)
    return text


def _share(value: object) -> object:
    """A share in percent, as a fraction."""
    if isinstance(value, str) and (found := _SHARE.fullmatch(value)) and 0 < float(found[1]) <= 100:
        return float(found[1]) / 100
    raise ValueError(f"{value!r} is not a share; write a number above 0 and up to 100 with a %, such as 5%")


def _percent(share: float) -> str:
    return f"{round(share * 100, 2):g}%"


def listed(value: object) -> object:
    """One or several: both become a tuple."""
    if isinstance(value, str):
        return (value,)
    return tuple(value) if isinstance(value, list) else value


Name = Annotated[str, AfterValidator(_name)]
StepName = Annotated[str, AfterValidator(_step_name)]
Word = Annotated[str, AfterValidator(_type)]
Topic = Annotated[str, AfterValidator(_topic)]
#: Milliseconds; written with a unit, also in JSON.
Duration = Annotated[int, BeforeValidator(durations.parse), PlainSerializer(durations.text)]
Delays = Annotated[tuple[Duration, ...], BeforeValidator(listed)]
#: A fraction; written in percent.
Share = Annotated[float, BeforeValidator(_share), PlainSerializer(_percent)]
#: An expression (CEL).
Formula = Annotated[str, AfterValidator(_formula)]
Sleep = Annotated[str, BeforeValidator(_sleep)]
#: Text with expressions in braces: ``Approve hire of {start.name}``.
Template = Annotated[str, AfterValidator(_template)]
Fields = dict[str, Annotated[Any, AfterValidator(_plain)]]
Types = Annotated[tuple[Word, ...], BeforeValidator(listed)]
Names = Annotated[tuple[str, ...], BeforeValidator(listed)]
Templates = Annotated[tuple[Template, ...], BeforeValidator(listed)]
