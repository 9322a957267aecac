"""Whatever the journal holds, decide answers with legal transitions."""

from __future__ import annotations

from typing import Any

from hypothesis import given as given_any
from hypothesis import settings
from hypothesis import strategies as st

from kantor_orchestrator.core.entry import (
    COMPENSATION_RETRY,
    CONFIRMATION,
    DEADLINE,
    EXPIRY,
    RETRY,
    TIMEOUT,
    Entry,
    timers_of,
)
from kantor_orchestrator.core.saga import Saga
from kantor_orchestrator.core.transaction import ENDED, Status, StepStatus
from kantor_orchestrator.definitions.compile import compile_saga
from unit.core_kit import BEGIN, ORDER, Story, checkout, diamond, given
from unit.definitions_kit import SCHEMAS, model, order

ASKED = compile_saga(model(order(line_16="    timeout: 2s")), SCHEMAS, 0)
SAGAS = [checkout(), diamond(), ASKED]
OPEN = {StepStatus.ACTIVE, StepStatus.IN_DOUBT, StepStatus.COMPENSATING, StepStatus.INCIDENT}
TIMERS = [TIMEOUT, RETRY, CONFIRMATION, COMPENSATION_RETRY, DEADLINE, EXPIRY]


@st.composite
def soups(draw: st.DrawFn) -> tuple[Saga, list[dict[str, Any]]]:
    """A saga and what the journal may hold for one of its transactions: anything, in any order."""
    saga = draw(st.sampled_from(SAGAS))
    steps = ["", "nowhere", *saga.steps]
    types = [*sorted(saga.types), "weather.Rained", *[s.succeeds_on for s in saga.steps.values()] * 3]
    message = st.fixed_dictionaries(
        {
            "kind": st.sampled_from(["event", "command"]),
            "type": st.sampled_from(types),
            "id": st.integers(0, 99).map(str),
            "source": st.sampled_from(["shop", "stock", "payment", "x", "parcel", "shipping"]),
            "cause": st.one_of(st.just(""), st.just("?"), st.integers(0, 5)),
            "payload": st.one_of(
                st.none(),
                st.just({}),
                st.just(dict(ORDER)),
                st.fixed_dictionaries(
                    {
                        "code": st.sampled_from(["broken", "expired"]),
                        "retryable": st.booleans(),
                        "unsure": st.booleans(),
                    }
                ),
            ),
            "error": st.sampled_from(["", "", "", "", "bytes do not fit"]),
            "sent_at": st.sampled_from([0, 1, BEGIN]),
            "later": st.integers(0, 5_000),
        }
    )
    timer = st.fixed_dictionaries(
        {
            "kind": st.just("timer"),
            "timer": st.sampled_from(TIMERS),
            "step": st.sampled_from(steps),
            "round": st.integers(0, 2),
            "attempt": st.integers(0, 3),
            "later": st.integers(0, 2_000_000),
        }
    )
    due = st.fixed_dictionaries({"kind": st.just("due"), "which": st.integers(0, 5)})
    rest = draw(st.lists(st.one_of(message, message, message, due, due, timer), max_size=30))
    start = {"kind": "event", "type": saga.starts_on, "id": "s", "source": "shop", "cause": "", "later": 1}
    return saga, rest if draw(st.integers(0, 3)) == 0 else [start, *rest]


def deliver(story: Story, facts: dict[str, Any]) -> None:
    facts = dict(facts)
    if facts["kind"] == "due":  # a timer that is really set, when it is due
        timers = sorted(timers_of(story.txn))
        if timers:
            at, kind, step, round_, attempt = timers[facts["which"] % len(timers)]
            story.fire(kind, step, round_, attempt, at=max(at, story.at))
        return
    at = story.at + facts.pop("later")
    cause = facts.pop("cause", "")
    if isinstance(cause, int):  # one of the last commands, if there are any
        cause = story.commands[-1 - cause].id if cause < len(story.commands) else ""
    story.deliver(Entry(at=at, causation_id=cause, **facts))


def left_over(story: Story) -> list[object]:
    """What an ended transaction must not have: timers, and effects that are not what the end says."""
    if story.status not in ENDED:
        return []
    wrong = OPEN if story.status is Status.COMPLETED else OPEN | {StepStatus.SUCCEEDED}
    reversible = [path for path, step in story.saga.steps.items() if step.compensation]
    return [
        *timers_of(story.txn),
        *(path for path in reversible if story.steps.get(path) in wrong),
    ]


@settings(derandomize=True, max_examples=200, deadline=None)
@given_any(soups())
def test_any_soup(soup: tuple[Saga, list[dict[str, Any]]]) -> None:
    """Whatever the journal holds: decide never raises and makes only legal transitions, its history tells the same
    transaction, and what has ended has no timers and nothing left to reverse."""
    saga, entries = soup
    story = given(saga)
    for facts in entries:
        deliver(story, facts)
        assert left_over(story) == []
    assert story.replayed() == story.txn
