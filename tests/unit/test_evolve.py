"""The only function that changes a transaction: legal transitions, and what each of them changes (saga-1)."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path

import pytest

from kantor_orchestrator.core.states import mermaid
from kantor_orchestrator.core.transaction import (
    TRANSITIONS,
    Early,
    IllegalTransition,
    Incident,
    Kind,
    SentCommand,
    Status,
    StepState,
    StepStatus,
    Transaction,
    Transition,
    evolve,
)

STEP_KINDS = list(TRANSITIONS)
LEGAL = [(kind, before, after) for kind, moves in TRANSITIONS.items() for before, after in moves.items()]
ILLEGAL = [(kind, before) for kind in STEP_KINDS for before in StepStatus if before not in TRANSITIONS[kind]]


def transaction(status: StepStatus = StepStatus.PENDING) -> Transaction:
    return Transaction(
        "t-1", "checkout", 1, Status.RUNNING, steps={"stock": StepState(status, timer="timeout", due=5)}
    )


def command(id_: str = "c-1") -> SentCommand:
    return SentCommand(id_, "stock.Release", "cmd.stock.v1", "compensation", "key", "cause", {})


def move(kind: Kind, **facts: object) -> Transition:
    return Transition(kind, 100, step="stock", command=command(), **facts)  # type: ignore[arg-type]


# -- the table


@pytest.mark.parametrize(("kind", "before", "after"), LEGAL)
def test_legal_move(kind: Kind, before: StepStatus, after: StepStatus) -> None:
    """A transition that the table has leads to the status that it names."""
    assert evolve(transaction(before), move(kind)).steps["stock"].status is after


@pytest.mark.parametrize(("kind", "before"), ILLEGAL)
def test_illegal_move(kind: Kind, before: StepStatus) -> None:
    """A transition that the table lacks is refused and changes nothing."""
    txn = transaction(before)
    unchanged = deepcopy(txn)
    with pytest.raises(IllegalTransition):
        evolve(txn, move(kind, status=Status.COMPENSATING, captured={}, scope="stock", fingerprint=7))
    assert txn == unchanged


def test_every_status_but_the_first_can_be_reached() -> None:
    """No status of a step is dead."""
    reached = {after for _, _, after in LEGAL}
    assert set(StepStatus) - reached == {StepStatus.PENDING}


def test_first_move_of_a_step() -> None:
    """A step that nothing was said of is pending."""
    txn = evolve(Transaction("t-1"), move(Kind.ACTIVATED))
    assert (txn.steps["stock"].status, txn.steps["stock"].started_at) == (StepStatus.ACTIVE, 100)


# -- steps


def test_move_sets_the_timer() -> None:
    """A transition sets the step's timer, or takes it away."""
    step = evolve(transaction(StepStatus.ACTIVE), move(Kind.COMMAND_SENT, timer="timeout", due=900)).steps[
        "stock"
    ]
    assert (step.timer, step.due) == ("timeout", 900)
    step = evolve(transaction(StepStatus.ACTIVE), move(Kind.SUCCEEDED)).steps["stock"]
    assert (step.timer, step.due) == ("", 0)


def test_success_during_compensation_keeps_the_timer() -> None:
    """A success that asks for another round leaves the compensation that is under way alone."""
    step = evolve(transaction(StepStatus.COMPENSATING), move(Kind.SUCCEEDED)).steps["stock"]
    assert (step.timer, step.due, step.again) == ("timeout", 5, True)


def test_command_counts_its_attempt() -> None:
    """A command that went out is remembered with its round and attempt."""
    step = evolve(transaction(StepStatus.ACTIVE), move(Kind.COMMAND_SENT, round=1, attempt=3)).steps["stock"]
    assert (step.round, step.attempt, step.command_id) == (1, 3, "c-1")


def test_unanswered_attempt_is_remembered() -> None:
    """An attempt without an answer may have happened, one that failed has not."""
    txn = transaction(StepStatus.ACTIVE)
    doubts = [
        evolve(txn, move(Kind.RETRY_SCHEDULED, code=code)).steps["stock"].doubtful
        for code in ("unavailable", "timed_out", "unavailable")
    ]
    assert doubts == [False, True, True]


def test_compensation_of_a_doubt() -> None:
    """A compensation remembers, over its attempts, whether it reverses an effect that is known or one in doubt."""
    txn = evolve(transaction(StepStatus.IN_DOUBT), move(Kind.COMPENSATION_SENT, round=1, attempt=1))
    evolve(txn, move(Kind.COMPENSATION_SENT, round=1, attempt=2))
    step = txn.steps["stock"]
    assert (step.doubtful, step.compensation_round, step.compensation_attempt) == (True, 1, 2)


def test_compensation_of_a_known_effect() -> None:
    """What is known to have happened is in doubt no more."""
    txn = transaction(StepStatus.SUCCEEDED)
    txn.steps["stock"].doubtful = True
    assert not evolve(txn, move(Kind.COMPENSATION_SENT)).steps["stock"].doubtful


@pytest.mark.parametrize("kind", [Kind.FAILED, Kind.DOUBTED])
def test_end_of_a_step_says_why(kind: Kind) -> None:
    """A step that failed, or may have, keeps the code and the reason."""
    step = evolve(transaction(StepStatus.ACTIVE), move(kind, code="broken", reason="it said so")).steps[
        "stock"
    ]
    assert (step.code, step.reason, step.ended_at) == ("broken", "it said so", 100)


def test_failed_compensation_opens_an_incident() -> None:
    """A compensation that failed is an incident of its step."""
    txn = evolve(transaction(StepStatus.COMPENSATING), move(Kind.COMPENSATION_FAILED, reason="gone"))
    assert txn.incidents == [Incident("compensation_failed", "stock", "gone", 100)]


def test_confirmation_resolves_the_incidents_of_its_step() -> None:
    """A confirmed compensation ends its step's incidents and no others."""
    txn = transaction(StepStatus.INCIDENT)
    other = Incident("compensation_failed", "payment", "gone", 1)
    txn.incidents = [Incident("compensation_failed", "stock", "gone", 1), other]
    assert evolve(txn, move(Kind.COMPENSATION_CONFIRMED)).incidents == [other]


# -- the transaction


def test_start() -> None:
    """A start sets saga, version, deadline and what was captured, and takes over what was kept."""
    early = Early("event", "stock.Reserved", "e", "stock", "", 1, "t/0/1", {})
    txn = Transaction("t-1", expires_at=50, early=[early])
    evolve(
        txn,
        Transition(
            Kind.STARTED,
            100,
            saga="checkout",
            version=2,
            status=Status.RUNNING,
            due=900,
            scope="start",
            captured={"a": 1},
        ),
    )
    assert (txn.saga, txn.version, txn.status, txn.started_at, txn.deadline) == (
        "checkout",
        2,
        "running",
        100,
        900,
    )
    assert (txn.captured, txn.early, txn.expires_at) == ({"start": {"a": 1}}, [], 0)


def test_kept() -> None:
    """A message that came early is kept until it expires: up to when that was due, however late it is told."""
    first, second = (Early("event", "stock.Reserved", "e", "stock", "", at, "t/0/1", {}) for at in (1, 2))
    txn = evolve(Transaction("t-1"), Transition(Kind.KEPT, 100, early=first, due=3_600_001))
    evolve(txn, Transition(Kind.KEPT, 100, early=second, due=3_600_002))
    assert (txn.early, txn.expires_at) == ([first, second], 3_600_001)
    evolve(txn, Transition(Kind.EXPIRED, 9_000_000, due=3_600_002))
    assert (txn.early, txn.expires_at) == ([second], 3_600_002)
    assert evolve(txn, Transition(Kind.EXPIRED, 9_000_000)).early == []


def test_kept_beside_an_incident() -> None:
    """What waits for a person does not expire."""
    early = Early("event", "stock.Reserved", "e", "stock", "", 1, "t/0/1", {})
    txn = Transaction("t-1", incidents=[Incident("poison", "", "bytes", 1)])
    assert evolve(txn, Transition(Kind.KEPT, 100, early=early, due=900)).expires_at == 0


def test_end_and_reopening() -> None:
    """An end leaves a retained record that expires; a late effect opens it again, and ends are counted."""
    txn = transaction()
    txn.deadline = 500
    evolve(txn, Transition(Kind.ENDED, 100, status=Status.COMPENSATED, due=900))
    assert (txn.status, txn.ended_at, txn.expires_at, txn.deadline, txn.endings) == (
        "compensated",
        100,
        900,
        0,
        1,
    )
    evolve(txn, Transition(Kind.REOPENED, 200, status=Status.COMPENSATING, reason="late"))
    assert (txn.status, txn.ended_at, txn.expires_at, txn.reason) == ("compensating", 0, 0, "late")


def test_compensation_has_no_deadline() -> None:
    """Once compensation has begun, the deadline is over."""
    txn = transaction()
    txn.deadline = 500
    evolve(
        txn,
        Transition(Kind.COMPENSATION_STARTED, 100, status=Status.COMPENSATING, reason="payment: declined"),
    )
    assert (txn.deadline, txn.reason) == (0, "payment: declined")


def test_fingerprint_is_counted_once_for_an_entry() -> None:
    """The first transition of a message carries its fingerprint."""
    txn = evolve(transaction(), Transition(Kind.IGNORED, 100, fingerprint=7))
    evolve(txn, Transition(Kind.IGNORED, 100))
    assert (txn.fingerprints, txn.entries) == ({7}, 1)


def test_ignored_changes_nothing_else() -> None:
    """What is ignored leaves only the time of the last transition."""
    txn = evolve(transaction(), Transition(Kind.IGNORED, 100, step="stock", code="old_attempt"))
    expected = transaction()
    expected.updated_at = 100
    assert txn == expected


def test_copy_is_independent() -> None:
    """A copy can be changed without changing the original."""
    txn = transaction(StepStatus.ACTIVE)
    unchanged = deepcopy(txn)
    other = txn.copy()
    assert other == txn
    evolve(other, move(Kind.DOUBTED, status=Status.COMPENSATING, scope="stock", captured={}, fingerprint=7))
    assert txn == unchanged


def test_the_docs_show_the_table() -> None:
    """The diagram in docs/states.md is the table that the engine obeys."""
    text = (Path(__file__).parents[2] / "docs" / "states.md").read_text(encoding="utf-8")
    assert f"```mermaid\n{mermaid()}\n```" in text, "python -m kantor_orchestrator.core.states prints it"
