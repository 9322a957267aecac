"""A given/when/then language over decide and evolve, on the checkout saga.

``story = given(checkout())``; ``story.when("OrderPlaced", "StockReserved")`` delivers events; ``story.sent()`` is what
went out since it was last asked; ``story.wait(seconds(30))`` lets time pass and fires what comes due. Replies name the
last command of their step as their cause, as services do.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Self

import kantor_schemas
from kantor.envelope import STEP_FAILED
from kantor_orchestrator.core.decide import decide
from kantor_orchestrator.core.entry import Entry, timers_of
from kantor_orchestrator.core.saga import Saga
from kantor_orchestrator.core.transaction import Kind, SentCommand, Status, Transaction, Transition, evolve
from kantor_orchestrator.definitions.compile import compile_saga
from kantor_orchestrator.definitions.dsl import Saga as WrittenSaga
from kantor_schemas import Catalog
from unit.definitions_kit import record

EXAMPLE = Path(__file__).parents[2] / "services" / "kantor_examples" / "checkout" / "checkout.yaml"
#: When the stories begin, ms since the epoch; the saga was deployed an hour before.
BEGIN = 1_800_000_000_000
DEPLOYED = BEGIN - 3_600_000
ORDER: Mapping[str, Any] = {
    "order_id": "o-1",
    "customer_id": "c-1",
    "sku": "laptop",
    "quantity": 1,
    "amount_cents": 129_900,
    "reason": "no",
    "tracking": "T1",
}


def seconds(number: float) -> int:
    return int(number * 1000)


@cache
def checkout() -> Saga:
    return compile_saga(WrittenSaga.load(EXAMPLE).model, kantor_schemas.example("checkout"), DEPLOYED)


def compiled(written: WrittenSaga, catalog: Catalog) -> Saga:
    return compile_saga(written.model, catalog, DEPLOYED)


@cache
def diamond() -> Saga:
    """Four choreographed steps: a, then b and c side by side, then d."""
    names = ["a", "b", "c", "d"]
    after: dict[str, list[str]] = {"a": [], "b": ["a"], "c": ["a"], "d": ["b", "c"]}
    written = WrittenSaga("diamond", version=1, starts_on="x.Begun", deadline="1h")
    for name in names:
        big = name.upper()
        written.step(
            name,
            after=after[name],
            succeeds_on=f"x.{big}Done",
            fails_on=f"x.{big}Failed",
            compensate_with=f"x.Reverse{big}",
            compensated_on=f"x.{big}Reversed",
        )
    types = ["Begun", *(f"{n.upper()}{end}" for n in names for end in ("Done", "Failed", "Reversed"))]
    commands = [f"Reverse{n.upper()}" for n in names]
    return compiled(written, Catalog([record(f"x.{name}", order_id="string") for name in types + commands]))


def given(saga: Saga) -> Story:
    return Story(saga)


class Story:
    """One transaction and what happens to it. Every step of it checks that ``decide`` changes nothing by itself."""

    def __init__(self, saga: Saga) -> None:
        self.saga = saga
        self.txn = Transaction("t-1")
        self.at = BEGIN
        self.hold = ""  # who holds the saga, and why
        self.log: list[Transition] = []
        self.commands: list[SentCommand] = []
        self._looked = 0
        self._events = 0
        self._short = {type_.rpartition(".")[2]: type_ for type_ in saga.types}

    # -- when

    def when(self, *types: str, **facts: Any) -> Self:
        """Deliver events, by short name. ``facts``: of the entry (``id``, ``causation_id``, ``payload``, ...)."""
        for type_ in types:
            self.deliver(self.entry(type_, **facts))
        return self

    def entry(self, short: str, **facts: Any) -> Entry:
        self._events += 1
        type_ = self._short[short]
        known = {"id": f"e-{self._events}", "causation_id": self._cause(type_), "sent_at": self.at}
        facts = {**known, **facts}
        facts.setdefault("payload", {k: ORDER[k] for k in self.saga.captures.get(type_, ()) if k in ORDER})
        facts.setdefault("source", type_.rpartition(".")[0])
        facts.setdefault("journal_offset", self._events)
        facts.setdefault("origin", "evt/0/1")
        return Entry("event", self.at + 10, type=type_, **facts)

    def fails(
        self, step: str, code: str = "broken", *, retryable: bool = False, unsure: bool = False, **facts: Any
    ) -> Self:
        """A service reports StepFailed for a step's last command, or for the event that a choreographed one handled."""
        cause = next((c.id for c in reversed(self.commands) if self._is_of(c, step)), "some-event")
        payload = {"code": code, "message": "it said so", "retryable": retryable, "handling": "x"}
        payload["unsure"] = unsure
        facts = {"causation_id": cause, "payload": payload, "source": self.saga.steps[step].owner} | facts
        self._events += 1
        facts.setdefault("id", f"e-{self._events}")
        return self.deliver(Entry("event", self.at + 10, type=STEP_FAILED, **facts))

    def wait(self, milliseconds: int) -> Self:
        """Let time pass; timers fire when they are due."""
        end = self.at + milliseconds
        while not (self.hold and self.txn.held) and (
            due := [timer for timer in timers_of(self.txn) if timer[0] <= end]
        ):
            at, kind, step, round_, attempt = min(due)
            self.fire(kind, step, round_, attempt, at=max(at, self.at))
        self.at = end
        return self

    def fire(self, kind: str, step: str = "", round_: int = 0, attempt: int = 0, at: int = 0) -> Self:
        return self.deliver(
            Entry("timer", at or self.at, timer=kind, step=step, round=round_, attempt=attempt)
        )

    def deliver(self, entry: Entry, now: int = 0) -> Self:
        before = self.txn.copy()
        transitions = decide(self.saga, self.txn, entry, now or entry.at, self.hold)
        assert self.txn == before, "decide must not change the transaction"
        for transition in transitions:
            evolve(self.txn, transition)
        self.log += transitions
        self.commands += [t.command for t in transitions if t.command]
        self.at = max(self.at, entry.at)
        return self

    # -- then

    @property
    def status(self) -> Status:
        return self.txn.status

    @property
    def steps(self) -> dict[str, str]:
        return {path: str(state.status) for path, state in self.txn.steps.items()}

    def sent(self) -> list[str]:
        """The commands that went out since this was last asked, by short name."""
        new = self.commands[self._looked :]
        self._looked = len(self.commands)
        return [command.type.rpartition(".")[2] for command in new]

    def kinds(self) -> list[Kind]:
        return [transition.kind for transition in self.log]

    def ignored(self) -> list[str]:
        """Why entries were ignored, in order."""
        return [transition.code for transition in self.log if transition.kind is Kind.IGNORED]

    def command(self, short: str) -> SentCommand:
        """The last command of this type."""
        return next(c for c in reversed(self.commands) if c.type.rpartition(".")[2] == short)

    def replayed(self) -> Transaction:
        """The transaction as its history tells it."""
        found = Transaction(self.txn.id)
        for transition in self.log:
            evolve(found, transition)
        return found

    # -- who answers what

    def _cause(self, type_: str) -> str:
        for command in reversed(self.commands):
            if type_ in self.answers(command):
                return command.id
        return ""

    def answers(self, command: SentCommand) -> set[str]:
        """The types that may answer a command."""
        found: set[str] = set()
        for step in self.saga.steps.values():
            if command.kind == "action" and step.command and step.command.type == command.type:
                found |= {step.succeeds_on, *step.fails_on}
            reverse = step.compensation
            if command.kind == "compensation" and reverse and reverse.command.type == command.type:
                found.add(reverse.confirmed_on)
        return found

    def _is_of(self, command: SentCommand, path: str) -> bool:
        step = self.saga.steps[path]
        types = {step.command.type if step.command else ""}
        types |= {step.compensation.command.type if step.compensation else ""}
        return command.type in types


def declined() -> Story:
    """The payment is declined; the stock's release is under way."""
    story = given(checkout()).when("OrderPlaced", "StockReserved", "PaymentDeclined")
    assert story.sent() == ["ReleaseStock"]
    return story


def in_doubt() -> Story:
    """The parcel never answered: all attempts timed out, its cancellation is under way and holds nobody up."""
    story = given(checkout()).when("OrderPlaced", "StockReserved", "PaymentCaptured")
    story.wait(seconds(80))
    assert story.sent() == [*["BookShipment"] * 5, "CancelShipment", "RefundPayment"]
    return story
