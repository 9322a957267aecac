"""What the view's unit tests share."""

from __future__ import annotations

from kantor_orchestrator.view.database import Location
from kantor_orchestrator.view.projector import Projector
from kantor_orchestrator.view.queries import View
from kantor_orchestrator.view.trace import Message, Trace
from view_saga import CHECKOUT
from view_traffic import KnownSagas, Traffic, project


def traced(traffic: Traffic, path: Location, id_: str = "tx") -> Trace:
    project(traffic, path)
    with View(path) as view:
        return view.trace(id_)


def said(messages: list[Message]) -> list[tuple[str, str]]:
    return [(message.kind, message.type) for message in messages]


def statuses(trace: Trace) -> dict[str, str]:
    return {step.name: step.status for step in trace.steps}


def projector(traffic: Traffic, given_up: frozenset[int] = frozenset()) -> Projector:
    return Projector(traffic.codec, traffic.schemas, KnownSagas(CHECKOUT), lambda _: None, 1, {}, given_up)
