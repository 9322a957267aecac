"""The services of a run: the kit's real code with an SQLite store, and handlers that behave as the plan says.

Every effect is a row in the service's own database, written in the SQL transaction of the kit's inbox: ``(transaction,
step's label, change, moment, key)``. No constraint hides a second one. A service that delivers in Kafka transactions has no
store: its effect is its answer.
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
from simulation.hostile import STRANGERS
from simulation.plan import Behaviour, Started, label
from simulation.sagas import cause, schema, topic_of
from simulation.shapes import ACTING, Shape, StepShape

_EFFECTS = """
CREATE TABLE IF NOT EXISTS sim_effects (txn TEXT, step TEXT, change INTEGER, moment INTEGER, key TEXT);
"""

#: Who behaves how: (transaction, label of the step) -> behaviour. Of a child, the transaction is the one it belongs to.
Behaviours = Mapping[tuple[str, str], Behaviour]


@dataclasses.dataclass(slots=True)
class Stage:
    """What the handlers of one run are told. ``moment``: an effect happens now, and which one it is; the process may die."""

    behaviours: Behaviours
    moment: Callable[[str], int]
    roots: Mapping[str, str]  # by child: the transaction that it belongs to
    tries: dict[tuple[str, str, int], int] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Body:
    TYPE: ClassVar[str]
    TOPIC: ClassVar[str]
    SCHEMA: ClassVar[dict[str, Any]]

    order_id: str
    amount: int = 0
    item: int = -1
    lines: int = 0

    def to_avro(self) -> dict[str, Any]:
        found = {"order_id": self.order_id, "amount": self.amount, "item": self.item}
        if self.TYPE.endswith(".Begun"):
            found["lines"] = [f"line {number}" for number in range(self.lines)]
        return {field["name"]: found[field["name"]] for field in self.SCHEMA["fields"]}

    @classmethod
    def from_avro(cls, value: Mapping[str, Any]) -> Self:
        return cls(order_id=value["order_id"], amount=value.get("amount", 0), item=value.get("item", -1))


@cache
def message(type_: str) -> type[_Body]:
    """The class of a generated message."""
    topic = topic_of(type_)
    facts = {"TYPE": type_, "TOPIC": topic, "SCHEMA": schema(type_, topic)}
    return type(type_.rpartition(".")[2], (_Body,), facts)


def start_message(shape: Shape, one: Started) -> Message:
    """What starts a transaction. The example's services decide by its content."""
    if not shape.example:
        return message(shape.starts_on)(order_id=one.id, amount=one.amount, lines=one.lines)
    declines = {step for step, found in one.behaviours if found.declines}
    sku = "graphics-card" if "stock" in declines else "piano" if "shipping" in declines else "laptop"
    customer = "oliver" if "payment" in declines else "ada"
    return messages.OrderPlaced(
        order_id=one.id, customer_id=customer, sku=sku, quantity=1, amount_cents=129_900
    )


def services(shape: Shape, folder: Path, stage: Stage) -> dict[str, Service]:
    """By name, each with a database of its own in ``folder``."""
    if not shape.example:
        return {
            step.service: _generated(one, step, folder, stage)
            for one in shape.family
            for step in one.every
            if step.kind in ACTING
        }
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
    if step.transactional:
        service = Service(step.service, transactional=True, retry_events_for=0.05)
    else:
        service = Service(step.service, store=_store(folder, step.service), retry_events_for=0.05)
    done, refused = message(f"{step.service}.Done"), message(f"{step.service}.Refused")
    is_command = step.kind == "command"
    begins = message(f"{step.service}.Do" if is_command else cause(shape, step))

    def act(found: Any) -> Any:
        return done(order_id=found.order_id, amount=found.amount, item=found.item)

    act.__annotations__ = {"found": begins, "return": done | refused}
    declare: Any = service.handles if is_command else service.on
    about = {"item": "item"} if step.in_each and not is_command else {}
    declare(begins, declines=[refused], **about)(act)
    if step.is_compensated:
        reverse, reversed_ = message(f"{step.service}.Reverse"), message(f"{step.service}.Reversed")

        def undo(found: Any) -> Any:
            return reversed_(order_id=found.order_id, amount=found.amount, item=found.item)

        undo.__annotations__ = {"found": reverse, "return": reversed_}
        service.handles(reverse, reverses=act)(undo)
    service = _watched(service, step.name, stage, declines=True)
    if step.in_doubt == "ask":
        _answers_questions(service, step, done, refused)
    return service


def _answers_questions(service: Service, step: StepShape, done: Any, refused: Any) -> None:
    """Whether it has acted."""
    question = message(f"{step.service}.Ask")

    def told(found: Any, context: Context) -> Any:
        which = (context.transaction_id, label(step.name, found.item))
        (acted,) = context.db.execute(
            "SELECT coalesce(sum(change), 0) FROM sim_effects WHERE txn = ? AND step = ?", which
        ).fetchone()
        return (done if acted else refused)(order_id=found.order_id, amount=found.amount, item=found.item)

    told.__annotations__ = {"found": question, "context": Context, "return": done | refused}
    service.handles(question, declines=[refused])(told)


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
        place = label(step, getattr(found, "item", -1))
        behaviour = stage.behaviours.get((stage.roots.get(txn, txn), place), _GOOD)
        left = behaviour.retryable if change > 0 else behaviour.reverse_retryable
        if left:
            # Not in the database, where a failure leaves no trace.
            count = stage.tries[txn, place, change] = stage.tries.get((txn, place, change), 0) + 1
            if count <= left:
                raise Retryable("try again")
        db = None if service.store is None else context.db
        if change > 0 and declines and behaviour.declines:
            return next(iter(handler.declines))(order_id=found.order_id, item=found.item)  # type: ignore[call-arg]
        arguments = (found, context) if handler.wants_context else (found,)
        answer = handler.function(*arguments)
        if type(answer) not in handler.declines:
            moment = stage.moment(service.name)
            if db is not None:
                effect = (txn, place, change, moment, context.idempotency_key)
                db.execute("INSERT INTO sim_effects VALUES (?, ?, ?, ?, ?)", effect)
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
    key: str  # the idempotency key of what asked for it


def effects(shape: Shape, folder: Path) -> list[Effect]:
    """All that is committed in the services' databases, in the order in which it happened; not what strangers had them do."""
    found = []
    for service in sorted(set(shape.services)):
        path = folder / f"{service}.db"
        if not path.exists():
            continue
        db = sqlite3.connect(path)
        try:
            rows = db.execute("SELECT txn, step, change, moment, key FROM sim_effects")
            found += [Effect(*row) for row in rows if row[0] not in STRANGERS]
        finally:
            db.close()
    return sorted(found, key=lambda effect: effect.moment)
