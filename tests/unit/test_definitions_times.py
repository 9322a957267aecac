"""Times that don't fit each other, and other words without an effect: refused with place and remedy. What fits is not."""

from __future__ import annotations

import pytest

from unit.language_kit import DO, lint

DEADLINE = ", and the saga's deadline is 1h after its start; "
LATER = "sleep for less, or set a later `deadline`"


@pytest.mark.parametrize(
    ("steps", "problem"),
    [
        ("  x: {sleep: 1h}", f"6:14: step x sleeps for 1h{DEADLINE}{LATER}"),
        ("  x: {sleep: \"'2h'\"}", f"6:14: step x sleeps for 2h{DEADLINE}{LATER}"),
        ("  x: {sleep: 40m}\n  y: {after: x, sleep: 20m}", f"7:24: step y sleeps for 20m, 40m after the start at the earliest{DEADLINE}{LATER}"),
        ("  x: {sleep: 40m}\n  g: {after: x, steps: {y: {sleep: 20m}}}", f"7:36: step y sleeps for 20m, 40m after the start at the earliest{DEADLINE}{LATER}"),
        ("  x: {task: {title: look, for: ann, due: 2h}}", f"6:42: step x is due after 2h{DEADLINE}set an earlier time, or a later `deadline`"),
        ("  x: {task: {title: look, for: ann, remind: [5m, 3h]}}", f"6:50: step x reminds of itself after 3h{DEADLINE}set an earlier time, or a later `deadline`"),
        ("  x: {task: {title: look, for: ann, escalate: {after: 1d, to: bob}}}", f"6:55: step x is escalated after 1d{DEADLINE}set an earlier time, or a later `deadline`"),
        ("  x: {command: b.Do, succeeds_on: b.Done, retry: {attempts: 3, backoff: 1m, budget: 10s}}", "6:85: step x: no attempt may begin later than 10s after the first, and the pause before the second is up to 1m; set a longer `budget`, or a shorter `backoff`"),
        ("  x: {succeeds_on: b.Done, compensate_with: {command: b.Reverse, retry: {budget: 5m}}, compensated_on: b.Reversed}", "6:82: step x: only `attempts` end a compensation, so `budget` has no effect; remove it, and set `attempts`"),
        ("  x: {call: {method: GET, url: 'http://b.example/', body: {id: start.id}}}", "6:53: step x: a GET request has no body, and many servers refuse or ignore one; put the values into the `url`, or use another `method`"),
    ],
)  # fmt: skip
def test_what_comes_too_late_or_has_no_effect(steps: str, problem: str) -> None:
    """It was accepted, and did nothing, or ended each transaction by its deadline."""
    assert lint(steps, deadline="1h") == [problem]


@pytest.mark.parametrize(
    "steps",
    [
        "  x: {sleep: 59m}",
        "  x: {sleep: 40m}\n  y: {sleep: 40m}",
        "  x: {sleep: 40m, when: start.yes}\n  y: {after: x, sleep: 40m}",
        "  x: {sleep: start.id}",
        "  g: {each: \"['1h','2h']\", steps: {x: {sleep: item}}}",
        "  x: {task: {title: look, for: ann, due: 50m, remind: [5m], escalate: {after: 55m, to: bob}}}",
        "  x: {command: b.Do, succeeds_on: b.Done, timeout: 2h}",
        "  x: {command: b.Do, succeeds_on: b.Done, retry: {attempts: 3, backoff: 1m, budget: 1m}}",
        f"  x: {DO}",
        "  x: {call: {method: DELETE, url: 'http://b.example/', body: {id: start.id}}}",
    ],
)
def test_what_fits(steps: str) -> None:
    """Nothing is refused that may happen."""
    assert lint(steps, deadline="1h") == []


def test_more_steps_than_a_saga_may_have() -> None:
    """What each may name grows with all that come before: 2,000 took a minute to check, and 5,000 held a gigabyte in each role."""
    many = "".join(f"  s{n}: {{sleep: 1s}}\n" for n in range(1_001))
    assert lint(many, deadline="1h") == [
        "5:1: the saga has 1,001 steps; it may have at most 1,000; run parts of it as child sagas (`saga:`), or use `each`"
    ]
