"""The services of a run: the kit's real code with an SQLite store, and handlers that behave as the plan says.

Every effect is a row in the service's own database, written in the SQL transaction of the kit's inbox: ``(transaction,
step, change, moment)``. No constraint hides a second one.
"""

from __future__ import annotations

import copy
import dataclasses
import sqlite3
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any, ClassVar, Self

from kantor import Context, Message, Retryable, Service, SqliteStore
from kantor.handlers import Handler
from kantor_examples.checkout import inventory, messages, payment, shipping
from simulation.plan import Behaviour
from simulation.sagas import START, Shape, StepShape, schema

_EFFECTS = """
CREATE TABLE IF NOT EXISTS sim_effects (txn TEXT, step TEXT, change INTEGER, moment INTEGER);
"""

#: Who behaves how: (transaction, step) -> behaviour.
Behaviours = Mapping[tuple[str, str], Behaviour]


@dataclasses.dataclass(slots=True)
class Stage:
    """What the handlers of one run are told. ``moment``: an effect happens now, and which one it is; the process may die."""

    behaviours: Behaviours
    moment: Callable[[str], int]
    tries: dict[tuple[str, str, int], int] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Body:
    TYPE: ClassVar[str]
    TOPIC: ClassVar[str]
    SCHEMA: ClassVar[dict[str, Any]]

    order_id: str
    amount: int = 0

    def to_avro(self) -> dict[str, Any]:
        return {"order_id": self.order_id, "amount": self.amount}

    @classmethod
    def from_avro(cls, value: Mapping[str, Any]) -> Self:
        return cls(order_id=value["order_id"], amount=value.get("amount", 0))


@cache
def message(type_: str) -> type[_Body]:
    """The class of a generated message."""
    space, _, name = type_.rpartition(".")
    is_command = name in ("Do", "Reverse")
    topic = f"{'cmd' if is_command else 'evt'}.{space}.v1"
    facts = {"TYPE": type_, "TOPIC": topic, "SCHEMA": schema(type_, topic)}
    return type(name, (_Body,), facts)


def start_message(shape: Shape, id_: str, behaviours: Behaviours) -> Message:
    """What starts a transaction. The example's services decide by its content."""
    if not shape.example:
        return message(START)(order_id=id_, amount=7)
    declines = {step for (txn, step), found in behaviours.items() if txn == id_ and found.declines}
    sku = "graphics-card" if "stock" in declines else "piano" if "shipping" in declines else "laptop"
    customer = "oliver" if "payment" in declines else "ada"
    return messages.OrderPlaced(order_id=id_, customer_id=customer, sku=sku, quantity=1, amount_cents=129_900)


def services(shape: Shape, folder: Path, stage: Stage) -> dict[str, Service]:
    """By name, each with a database of its own in ``folder``."""
    if not shape.example:
        return {step.service: _generated(shape, step, folder, stage) for step in shape.steps}
    found = {}
    for module, name, step in (
        (inventory, "inventory", "stock"),
        (payment, "payment", "payment"),
        (shipping, "shipping", "shipping"),
    ):
        service: Service = copy.copy(getattr(module, name))
        service.store = _store(folder, name, module.SCHEMA)
        found[name] = _watched(service, step, stage, declines=False)
    return found


def _store(folder: Path, name: str, more: str = "") -> SqliteStore:
    return SqliteStore(str(folder / f"{name}.db"), schema=_EFFECTS + more, durable=False)


def _generated(shape: Shape, step: StepShape, folder: Path, stage: Stage) -> Service:
    service = Service(step.service, store=_store(folder, step.service), retry_events_for=0.05)
    done, refused = message(f"{step.service}.Done"), message(f"{step.service}.Refused")
    triggers = {other.name: other for other in shape.steps}
    if step.kind == "command":
        cause = message(f"{step.service}.Do")
    else:
        cause = message(f"{triggers[step.trigger].service}.Done" if step.trigger else START)

    def act(found: Any) -> Any:
        return done(order_id=found.order_id, amount=found.amount)

    act.__annotations__ = {"found": cause, "return": done | refused}
    declare = service.handles if step.kind == "command" else service.on
    declare(cause, declines=[refused])(act)
    if step.is_compensated:
        reverse, reversed_ = message(f"{step.service}.Reverse"), message(f"{step.service}.Reversed")

        def undo(found: Any) -> Any:
            return reversed_(order_id=found.order_id, amount=found.amount)

        undo.__annotations__ = {"found": reverse, "return": reversed_}
        service.handles(reverse, reverses=act)(undo)
    return _watched(service, step.name, stage, declines=True)


def _watched(service: Service, step: str, stage: Stage, *, declines: bool) -> Service:
    """The service with handlers that count their effects, and misbehave as planned."""
    action, *rest = service.handlers
    new = dataclasses.replace(action, reversed_by=[], wants_context=True)
    new.function = _watch(service, action, step, 1, stage, declines=declines)
    handlers = [new]
    for compensation in rest:
        other = dataclasses.replace(compensation, reverses=new, wants_context=True)
        other.function = _watch(service, compensation, step, -1, stage, declines=False)
        new.reversed_by.append(other)
        handlers.append(other)
    service.handlers = handlers
    return service


def _watch(
    service: Service, handler: Handler, step: str, change: int, stage: Stage, *, declines: bool
) -> Callable[..., Any]:
    def function(found: Any, context: Context) -> Any:
        txn = context.transaction_id
        behaviour = stage.behaviours.get((txn, step), _GOOD)
        left = behaviour.retryable if change > 0 else behaviour.reverse_retryable
        if left:
            # Not in the database, where a failure leaves no trace.
            count = stage.tries[txn, step, change] = stage.tries.get((txn, step, change), 0) + 1
            if count <= left:
                raise Retryable("try again")
        if change > 0 and declines and behaviour.declines:
            return next(iter(handler.declines))(order_id=found.order_id)  # type: ignore[call-arg]
        arguments = (found, context) if handler.wants_context else (found,)
        answer = handler.function(*arguments)
        if type(answer) not in handler.declines:
            moment = stage.moment(service.name)
            context.db.execute("INSERT INTO sim_effects VALUES (?, ?, ?, ?)", (txn, step, change, moment))
            if change > 0 and behaviour.broken:
                raise ValueError("broken after it acted")
            if change > 0 and behaviour.silent:
                return None
        return answer

    function.__name__ = handler.name
    return function


_GOOD = Behaviour()


@dataclasses.dataclass(frozen=True, slots=True)
class Effect:
    """What a service really did."""

    transaction: str
    step: str
    change: int
    moment: int


def effects(shape: Shape, folder: Path) -> list[Effect]:
    """All that is committed, in the order in which it happened."""
    found = []
    for service in sorted({step.service for step in shape.steps}):
        path = folder / f"{service}.db"
        if not path.exists():
            continue
        db = sqlite3.connect(path)
        try:
            found += [Effect(*row) for row in db.execute("SELECT txn, step, change, moment FROM sim_effects")]
        finally:
            db.close()
    return sorted(found, key=lambda effect: effect.moment)
