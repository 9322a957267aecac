"""Steps, composites and expressions: what lint refuses, each with its place and remedy."""

from __future__ import annotations

from typing import Any

import pytest

from kantor_orchestrator.definitions import avro
from unit.language_kit import DO, THEN, lint


def test_good() -> None:
    """The saga that the examples below spoil has no problems."""
    assert lint(f"  x: {DO}\n  y: {THEN}") == []


# -- words that go together


@pytest.mark.parametrize(
    ("step", "problem"),
    [
        (
            "{command: b.Do, signal: a.Cancelled}",
            "6:30: step x has `command` and `signal`, but a step can be only one of them; keep one, or make a separate step for each",
        ),
        ("{succeeds_on: b.Done, each: start.lines}", "6:34: step x has no inner steps, so `each` has no effect; remove it, or add `steps:`"),
        ("{succeeds_on: b.Done, need: 1}", "6:34: step x has no inner steps, so `need` has no effect; remove it, or add `steps:`"),
        ("{succeeds_on: b.Done, in_order: true}", "6:38: step x has no inner steps, so `in_order` has no effect; remove it, or add `steps:`"),
        ("{succeeds_on: b.Done, settle: all}", "6:36: step x has no inner steps, so `settle` has no effect; remove it, or add `steps:`"),
        ("{succeeds_on: b.Done, progress_on: c.Done}", "6:41: step x has no timeout that `progress_on` could restart, so it has no effect; add `timeout:`, or remove it"),
        ("{command: b.Do, succeeds_on: b.Done, timeout: 3s, pivot: true, retry: {budget: 5s}}", "6:85: step x has one attempt only, so `budget` has no effect; add `attempts:` (2 or more; it counts the first one), or remove it"),
        ("{signal: b.Done, succeeds_on: c.Done}", "6:36: step x: it succeeds on its signal already; keep one of the two"),
        ("{sleep: 3d, timeout: 1h}", "6:27: step x only sleeps, so `timeout` has no effect; remove it"),
        ("{sleep: 3d, pivot: true}", "6:25: step x only sleeps, so `pivot` has no effect; remove it"),
        ("{timeout: 3s, steps: {y: {sleep: 3d}}}", "6:16: step x only contains other steps, so `timeout` has no effect; set it on the inner steps"),
        ("{succeeds_on: b.Done, key: start.id}", "6:33: step x sends no command, so `key` has no effect; remove it, or add `command:`"),
        ("{task: {title: t, for: a}, fails_on: b.Failed}", "6:43: step x is a person's task, so `fails_on` has no effect; its `outcomes` decide its outcome"),
        ("{call: {url: u}, succeeds_on: b.Done}", "6:36: step x is a call, so `succeeds_on` has no effect; the HTTP response decides its outcome"),
        ("{steps: {}}", "6:7: steps.x.steps is empty; add at least one step"),
    ],
)  # fmt: skip
def test_words_that_do_not_fit(step: str, problem: str) -> None:
    """A word that means nothing in a step of that kind is refused."""
    assert lint(f"  x: {step}") == [problem]


@pytest.mark.parametrize(
    ("step", "problem"),
    [
        ("{sleep: 3}", "6:14: steps.x.sleep: 3 has no unit; write 3ms, 3s, 3m, 3h or 3d"),
        ("{sleep: 4000d}", "6:14: steps.x.sleep: '4000d' is out of range; write a duration from 0ms to 3650d"),
        ("{task: {for: a}}", "6:7: steps.x.task.title is missing; add `title:`"),
        ("{task: {title: t, for: a, outcomes: {no: fails}}}", "6:7: steps.x.task: no outcome means success; mark one of `outcomes` as `succeeds`"),
        ("{task: {title: '{start.id', for: a}}", "6:21: steps.x.task.title: '{start.id' has a lone {; write {{ if the character is meant"),
        ("{succeeds_on: b.Done, in_doubt: maybe}", "6:38: steps.x.in_doubt.then: 'maybe' is not known; write 'compensate' or 'wait'"),
        ("{succeeds_on: b.Done, settle: some}", "6:36: steps.x.settle: 'some' is not known; write 'all'"),
        ("{succeeds_on: b.Done, compensate_with: {timeout: 3s}}", "6:28: steps.x.compensate_with: it has none of `command`, `call` and `task`; write exactly one"),
        ("{succeeds_on: b.Done, compensate_with: {call: {url: u}, key: start.id}}", "6:28: steps.x.compensate_with: `key` is for commands; drop it, or name a `command`"),
        ("{succeeds_on: b.Done, pivot: yes}", "6:35: steps.x.pivot: expected true or false, got 'yes'; write true or false"),
    ],
)  # fmt: skip
def test_grammar(step: str, problem: str) -> None:
    """What the grammar does not have is refused."""
    assert lint(f"  x: {step}") == [problem]


# -- order


def test_cycle_in_a_composite() -> None:
    """Steps within a composite can wait for each other as little as others."""
    assert lint(
        f"  x:\n    steps:\n      y: {THEN.replace('x', 'z')}\n      z: {THEN.replace('x', 'y')}"
    ) == ["8:18: the steps wait for each other in a loop: y -> z -> y; remove one `after`"]


def test_after_a_step_elsewhere() -> None:
    """`after` names steps of the same composite."""
    steps = f"  x: {DO}\n  z:\n    steps:\n      y: {THEN}"
    assert lint(steps)[0] == (
        "9:18: step y comes after x, which is a step of the saga itself; "
        "name a step of the same composite; the steps before the composite come first anyway"
    )


def test_hidden_step() -> None:
    """A step can't have the name of one that is visible from it."""
    assert lint(f"  x: {DO}\n  z:\n    after: x\n    steps:\n      x: {{sleep: 3d}}") == [
        "10:7: step z.x has the same name as the step x, which is visible here; rename one of them"
    ]


# -- composites


def test_need_of_too_many() -> None:
    """More than all members can't succeed."""
    assert lint("  x: {need: 3, steps: {y: {sleep: 1d}, z: {sleep: 2d}}}") == [
        "6:13: step x needs 3 members to succeed, but has 2; set `need` to at most 2"
    ]
    assert lint("""  x: {each: "['a']", need: 2, steps: {y: {sleep: 1d}}}""") == [
        "6:28: step x needs 2 members to succeed, but has 1; set `need` to at most 1"
    ]


@pytest.mark.parametrize(
    ("each", "is_"),
    [
        ("start.n", "start.n is long"),
        ("'3'", "'3' is string"),
        ("start.lines[0].id", "start.lines[0].id is string"),
    ],
)
def test_each_over_no_list(each: str, is_: str) -> None:
    """`each` goes over a list: by schema, or as it is written."""
    assert lint(f'  x: {{each: "{each}", steps: {{y: {{sleep: 3d}}}}}}') == [
        f"6:13: `each` needs a list, but {is_}; use a list, such as start.lines, or write one: \"['a', 'b']\""
    ]


@pytest.mark.parametrize("name", ["item.id", "index"])
def test_item_outside_of_each(name: str) -> None:
    """`item` and `index` mean something only within an `each`."""
    root = name.partition(".")[0]
    assert lint(f"  x: {{command: b.Do, succeeds_on: b.Done, fields: {{id: {name}}}}}") == [
        f"6:56: {name}: `{root}` is known only inside an `each`; known by then: start"
    ]


def test_field_of_an_item() -> None:
    """Items have the fields that their schema says."""
    step = "{command: b.DoLine, succeeds_on: b.Done, fields: {qty: item.quantity}}"
    assert lint(f"  x:\n    each: start.lines\n    steps:\n      y: {step}") == [
        "9:65: item.quantity: item has no field quantity; it has id, qty, price"
    ]


def test_step_inside_a_member_from_outside() -> None:
    """What is inside a composite is known outside only as one of its lists."""
    steps = f"  x:\n    steps:\n      y: {DO}\n  z: {{after: x, command: c.Do, succeeds_on: c.Done, fields: {{ref: y.ref}}}}"
    assert lint(steps) == ["9:67: y.ref: y is inside x; go through x.succeeded or x.failed"]


def test_members_through_the_lists() -> None:
    """The lists of a composite have its steps, with the fields that they have."""
    steps = f"  x:\n    each: start.lines\n    steps:\n      y: {DO}\n"
    good = "  z: {after: x, when: 'x.failed.exists(f, f.item.qty > 1) && x.succeeded.all(s, s.y.ref != \"\")', sleep: 1d}"
    assert lint(steps + good) == []
    assert lint(steps + "  z: {after: x, when: 'x.failed.exists(f, f.itm.qty > 1)', sleep: 1d}") == [
        "10:23: x.failed[].itm.qty: x.failed[] has no field itm; did you mean x.failed[].item?"
    ]


def test_by_name_from_the_item() -> None:
    """A command in a member is filled by name from its item too."""
    assert (
        lint("  x:\n    each: start.lines\n    steps:\n      y: {command: b.DoLine, succeeds_on: b.Done}")
        == []
    )


def test_silent_step_in_each() -> None:
    """A step that a service does by itself, once for each item, must be told by `match`."""
    steps = "  x:\n    each: start.lines\n    steps:\n      y: {succeeds_on: b.Done}"
    assert lint(steps) == [
        (
            "9:7: step y runs once for each item of x, and nothing tells which item an event belongs to; "
            "add `match`, such as event.line_id == item.line_id, or a `command`, which its reply refers to"
        )
    ]
    assert lint(steps.replace("{succ", "{match: event.id == item.id, succ")) == []
    assert lint(steps.replace("    each", "    in_order: true\n    each")) == []


# -- match


def test_match_of_a_field_that_the_event_lacks() -> None:
    """`match` asks for fields that the event has."""
    assert lint("  x: {succeeds_on: b.Done, match: event.line == start.id}") == [
        "6:35: event.line: b.Done has no field line; it has id, ref"
    ]


def test_match_of_a_field_that_a_failure_lacks() -> None:
    """A failure must be told as well."""
    assert lint("  x: {succeeds_on: b.Done, fails_on: b.Failed, match: event.ref == start.id}") == [
        "6:55: event.ref: b.Failed has no field ref; add it to b.Failed, or use another field"
    ]


def test_match_without_event() -> None:
    """A `match` that says nothing of the event matches all or none."""
    assert lint("  x: {succeeds_on: b.Done, match: start.yes}") == [
        "6:35: step x: `match` does not look at the event; compare one of its fields, such as event.id"
    ]


def test_event_outside_of_match() -> None:
    """Nowhere else is there an event."""
    assert lint("  x: {when: event.id == 'a', sleep: 3d}") == [
        "6:13: event.id: `event` is known only in `match`; known by then: start"
    ]


# -- expressions


@pytest.mark.parametrize(
    ("when", "problem"),
    [
        ("start.n", "start.n is long, not a boolean; compare it with a value"),
        ("'yes'", "\"'yes'\" is 'yes', not a boolean; write a comparison"),
        ("start.m > 1", "start.m: a.Begun has no field m; it has id, n, yes, price, lines"),
        ("begun.n > 1", "begun.n: there is no step begun; known by then: start"),
        ("y.id == 'a'", "y.id: y has not succeeded yet when x begins; known by then: start"),
        ("start.price > 3", "start.price is bytes (decimal 9.2), which expressions can't calculate with; let the service that publishes it add a number"),
    ],
)  # fmt: skip
def test_guards(when: str, problem: str) -> None:
    """A guard gives a truth value, from what is known when its step begins."""
    assert lint(f'  x: {{sleep: 3d, when: "{when}"}}\n  y: {{succeeds_on: b.Done}}') == [f"6:24: {problem}"]


def test_decimals_pass_through() -> None:
    """Decimals may be compared for equality."""
    assert lint("  x: {sleep: 3d, when: start.price == start.price}") == []


def test_step_that_may_be_skipped() -> None:
    """What a step that may be skipped would have said can't be relied on, unless somebody asks for it."""
    x = "  x: {when: start.yes, command: b.Do, succeeds_on: b.Done}\n"
    assert lint(f"{x}  y: {THEN}") == [
        (
            "7:26: c.Do.ref may be unknown when y's command is sent: x may be skipped; fill it from a value that is "
            "always known, use an expression with has(...), or give it a default in its schema"
        )
    ]
    assert lint(f"{x}  y: {{after: x, when: x.ref == 'a', sleep: 1d}}") == [
        "7:23: x.ref may be unknown when y begins: x may be skipped; write has(x.ref) ? ... : ..."
    ]
    assert lint(f"{x}  y: {{after: x, when: has(x.ref) && x.ref == 'a', sleep: 1d}}") == []


def test_optional_step() -> None:
    """The same holds for a step that may fail."""
    assert (
        "x is optional and may fail" in lint(f"  x: {DO.replace('{', '{optional: true, ')}\n  y: {THEN}")[0]
    )


def test_sleep_of_a_number() -> None:
    """A sleep's expression gives a duration as text."""
    assert lint("  x: {sleep: start.n}") == [
        "6:14: step x sleeps for start.n, which is long; use a string with a duration, such as '3d'"
    ]


def test_record_key() -> None:
    """A record's key is a text or a number."""
    assert lint("  x: {command: b.Do, succeeds_on: b.Done, key: start.yes}") == [
        "6:48: start.yes is boolean, which can't be a record's key; use a string or an integer that is always present"
    ]


def test_expressions_in_tasks_and_calls() -> None:
    """Expressions in texts are checked as well."""
    steps = """  x: {task: {title: "Look at {start.idd}", for: ["manager_of:{item}", start.nam]}}
  y: {call: {url: "{env.A}/{x.nobody}"}}"""
    assert lint(steps) == [
        "6:21: start.idd: a.Begun has no field idd; did you mean start.id?",
        "6:50: item: `item` is known only inside an `each`; known by then: start",
        "6:71: start.nam: a.Begun has no field nam; it has id, n, yes, price, lines",
        "7:19: x.nobody: x has not succeeded yet when y begins; known by then: start",
    ]


def test_environment_in_a_task() -> None:
    """What the environment gives is for calls."""
    assert lint("""  x: {task: {title: "{env.A}", for: a}}""") == [
        "6:21: step x: `env` is known only in the url and headers of a call; write the value itself"
    ]


def test_escalation_before_the_task_is_due() -> None:
    """Nobody is asked in another's stead before that one is late."""
    assert lint("  x: {task: {title: t, for: a, due: 3d, escalate: {after: 1d, to: b}}}") == [
        "6:59: step x is escalated before it is due; escalate later, or set an earlier `due`"
    ]


def test_a_long_saga_is_checked_in_reasonable_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A type is expanded once per field that it is compared with, not once per step, expression and step before it."""
    calls = 0
    real = avro.expand

    def counted(*args: Any) -> Any:
        nonlocal calls
        calls += 1
        return real(*args)

    monkeypatch.setattr(avro, "expand", counted)
    steps = [f"  s0: {DO}"]
    for number in range(1, 60):
        guard = "when: start.yes, command: b.Do, succeeds_on: b.Done, fails_on: b.Failed"
        steps.append(f"  s{number}: {{after: s{number - 1}, {guard}}}")
    assert lint("\n".join(steps)) == []
    assert calls < 60 * 60
