"""Pivots, replies, the saga itself and its children: what lint refuses, each with its place and remedy."""

from __future__ import annotations

import pytest

from kantor_orchestrator.definitions.model import SagaModel
from unit.definitions_kit import read
from unit.language_kit import DO, lint

# -- doubt, pivots, compensations


REVERSE = "compensate_with: b.Reverse, compensated_on: b.Reversed"


def test_pivot_in_doubt() -> None:
    """A pivot is not compensated when nobody knows whether it happened."""
    assert lint(f"  x: {DO.replace('{', '{pivot: true, in_doubt: compensate, ')}") == [
        (
            "6:30: step x is a pivot, which is never reversed, even when its outcome is unknown; "
            "write `in_doubt: wait` or `in_doubt: {ask: COMMAND}`"
        )
    ]


def test_pivot_with_compensation() -> None:
    """A pivot is never reversed."""
    assert lint(f"  x: {DO.replace('{', '{pivot: true, ' + REVERSE + ', ')}") == [
        "6:37: step x is a pivot, which is never reversed, but has `compensate_with`; drop one of the two"
    ]


def test_optional_pivot() -> None:
    """Whether there is a way back must be sure."""
    assert lint(f"  x: {DO.replace('{', '{pivot: true, optional: true, ')}") == [
        (
            "6:30: step x is a pivot, so it can't be optional: if it fails, nothing says whether the saga may still turn back; "
            "drop one of the two"
        )
    ]


def test_compensation_after_the_pivot() -> None:
    """What comes after the pivot is never reversed, within composites neither."""
    pivot = f"  x: {DO.replace('{', '{pivot: true, ')}\n"
    late = f"{{command: c.Do, succeeds_on: c.Done, {REVERSE}}}"
    wanted = "comes after the pivot x, so it is never compensated; remove `compensate_with`, or move the step before the pivot"
    assert lint(f"{pivot}  y: {late.replace('{', '{after: x, ')}") == [f"7:70: step y {wanted}"]
    inner = late.replace("c.Do,", "b.Do,").replace("c.Done", "d.Done")
    assert lint(f"{pivot}  z:\n    after: x\n    steps:\n      y: {inner}") == [f"10:64: step y {wanted}"]


def test_pivot_of_a_member_binds_that_member_only() -> None:
    """After a composite with a pivot in it, steps may be compensated."""
    steps = f"""  x:
    each: start.lines
    steps:
      y: {DO.replace("{", "{pivot: true, ")}
  z: {{after: x, succeeds_on: d.Done, {REVERSE}}}"""
    assert lint(steps) == []


def test_compensation_in_doubt() -> None:
    """With `in_doubt: wait` a compensation may use what its step said, else it may not."""
    needs = "{command: c.Do, fields: {id: x.id}}"
    step = (
        f"  x: {{command: b.Do, succeeds_on: b.Done, compensate_with: {needs}, compensated_on: b.Reversed}}"
    )
    assert lint(step) == [
        (
            "6:43: c.Do.ref is known only once x has succeeded, but x is also compensated while its outcome "
            "is unknown; fill it from start or an earlier step under `fields`, or give it a default in its schema"
        ),
        (
            "6:89: c.Do.id is known only once x has succeeded, but x is also compensated while its outcome "
            "is unknown; fill it from start or an earlier step under `fields`, or give it a default in its schema"
        ),
    ]
    assert lint(step.replace("{command: b.Do", "{in_doubt: wait, command: b.Do")) == []
    assert lint(step.replace("{command: b.Do", "{in_doubt: {ask: b.Ask}, command: b.Do")) == []


def test_question_with_unknown_type() -> None:
    """What is asked in doubt has a schema."""
    assert lint(f"  x: {DO.replace('{', '{in_doubt: {ask: b.Aks}, ')}") == [
        "6:23: no schema for b.Aks; did you mean b.Ask?"
    ]


def test_confirmation_of_a_call() -> None:
    """What confirms a call is known."""
    step = "{call: {url: u}, compensate_with: {call: {url: u}}, compensated_on: b.Reversed}"
    assert lint(f"  x: {step}") == [
        "6:74: step x: the outcome of a call is its confirmation; drop `compensated_on`"
    ]


# -- replies


def test_silent_steps_of_one_type() -> None:
    """Two signals of one type can't be told apart."""
    assert lint("  x: {signal: b.Done}\n  y: {signal: b.Done}") == [
        "7:15: b.Done may mean x or y: x sends no command that a reply could refer to; use an event type of its own for each of them"
    ]


def test_progress_that_is_success() -> None:
    """Progress and success are two things."""
    assert lint("  x: {succeeds_on: b.Done, timeout: 1h, progress_on: b.Done}") == [
        "6:54: b.Done means both that x has succeeded and that it is still in progress; use an event type of its own for each of the two meanings"
    ]


# -- the saga


@pytest.mark.parametrize(
    ("more", "problem"),
    [
        ("ends_with: {finished: a.Done}\n", "5:23: no transaction ends as finished; use one of completed, compensated, closed"),
        ("ends_with: {complete: a.Done}\n", "5:23: no transaction ends as complete; did you mean completed?"),
        ("ends_with: {completed: a.Dome}\n", "5:24: no schema for a.Dome; did you mean a.Done?"),
        ("ends_with: {completed: {type: a.Done, fields: {id: y.id}}}\n", "5:52: y.id: there is no step y; known by then: x, start"),
        ("cancel_on: {event: a.Cancelled, until: y}\n", "5:40: the saga can be cancelled until y, which is not a step; the steps are x"),
        ("cancel_on: {event: a.Begun, until: x}\n", "5:20: a.Begun both starts and cancels the saga; use another event"),
        ("cancel_on: {event: b.Done, until: x}\n", "7:35: b.Done cancels the saga, so step x can't wait for it; use another event"),
        ("cancel_on: {event: a.Cancelled, until: x, refuse_with: c.Do}\n", "5:56: c.Do.ref may be unknown when a cancellation is refused: x may not have happened by then; fill it from a value that is always known, use an expression with has(...), or give it a default in its schema"),
        ("mode: observe\nenforce: 5%\n", "6:10: mode observe sends nothing, so `enforce` has no effect; drop `mode`, or drop `enforce`"),
        ("enforce: 120%\n", "5:10: enforce: '120%' is not a share; write a number above 0 and up to 100 with a %, such as 5%"),
        ("brake: often\n", "5:1: the definition: `brake` is not supported by this version of Kantor; leave it out, or upgrade Kantor (docs/sagas-reference.md lists what comes later)"),
        ("commands: {b.Reverse: {topic: t}}\n", "5:12: the saga never sends b.Reverse; leave it out"),
        ("commands: {b.Do: {format: xml}}\n", "5:27: commands.b.Do.format: 'xml' is not known; write 'avro' or 'json'"),
        ("returns: {ref: x.reff}\n", "5:16: x.reff: b.Done has no field reff; did you mean x.ref?"),
        ("returns: {status: x.ref}\n", "5:19: status is already reported for every transaction that ends, so it can't be returned; give it another name"),
        ("compensation: backwards\n", "5:15: compensation: 'backwards' is not known; write 'topological', 'sequential' or 'parallel'"),
    ],
)  # fmt: skip
def test_saga(more: str, problem: str) -> None:
    """What a saga says of itself is checked too."""
    assert lint(f"  x: {DO}", more) == [problem]


def test_cancellable_until_a_step_of_each() -> None:
    """A step that runs many times has no one end."""
    steps = f"  x:\n    each: start.lines\n    steps:\n      y: {DO}"
    assert lint(steps, "cancel_on: {event: a.Cancelled, until: x.y}\n") == [
        "5:40: x.y runs once for each item of x, so it has no single end; write `until: x`"
    ]


def test_return_of_what_may_be_missing() -> None:
    """A saga returns what is there whenever it is completed."""
    assert lint(f"  x: {DO.replace('{', '{optional: true, ')}", "returns: {ref: x.ref}\n") == [
        "5:16: x.ref may be unknown when the saga is completed: x is optional and may fail; write has(x.ref) ? x.ref : ..."
    ]


# -- children


CHILD = "saga: child\nversion: 1\nstarts_on: b.DoMuch\ndeadline: 1h\nreturns: {ref: x.ref}\nsteps:\n  x: {succeeds_on: b.Done}\n"


def child(text: str = CHILD) -> SagaModel:
    return read(text).models()[0].model


def test_child() -> None:
    """A child that is deployed is known; its start is filled like a command, what it returns are fields of the step."""
    steps = "  x: {saga: child}\n  y: {after: x, command: c.Do, succeeds_on: c.Done}"
    assert lint(steps, deployed=(child(),)) == []


def test_unknown_child() -> None:
    """A child that nobody knows can't be started."""
    assert lint("  x: {saga: chidl}", deployed=(child(),)) == [
        "6:13: step x runs the saga chidl, which is unknown; did you mean child?"
    ]


def test_field_that_the_start_of_a_child_lacks() -> None:
    """`fields` are those of the child's start event."""
    assert lint("  x: {saga: child, fields: {amount: start.n}}", deployed=(child(),)) == [
        "6:37: b.DoMuch has no field amount; it has id, n"
    ]


def test_field_of_a_child_that_nothing_fills() -> None:
    """All of them must be filled."""
    assert lint("  x: {saga: child}", deployed=(child(CHILD.replace("b.DoMuch", "c.Do")),)) == [
        "6:13: nothing fills the field ref: no such field in a.Begun; fill it under `fields`, or give it a default in its schema"
    ]


def test_field_that_a_child_does_not_return() -> None:
    """What a child does not return can't be used."""
    steps = (
        "  x: {saga: child}\n  y: {after: x, command: c.Do, succeeds_on: c.Done, fields: {ref: x.reference}}"
    )
    assert lint(steps, deployed=(child(),)) == ["7:67: x.reference: x has no field reference; it has ref"]


def test_recursion() -> None:
    """Sagas that start each other never end."""
    parent = child(
        CHILD.replace("x: {succeeds_on: b.Done}", "x: {saga: s}").replace("returns: {ref: x.ref}\n", "")
    )
    assert lint("  x: {saga: child}", deployed=(parent,)) == [
        "6:13: the sagas start each other in an endless loop: s -> child -> s; break the loop: one of them must not start the next"
    ]
    assert lint("  x: {saga: s}")[0].startswith(
        "6:13: the sagas start each other in an endless loop: s -> s;"
    )
