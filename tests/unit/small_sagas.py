"""Small sagas that between them have everything that a saga can have: what ``walk`` visits every reachable state of.

Every number of attempts is small, so that the states in which they are used up are near.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kantor.envelope import TRANSACTION_ENDED
from kantor_orchestrator.core.saga import (
    ASK,
    OBSERVE,
    PARALLEL,
    SEQUENTIAL,
    WAIT,
    Cancellation,
    Command,
    Compensation,
    Retry,
    Saga,
    Step,
)
from unit.saga_kit import build, command, composite, event, fields, message, step

#: One attempt of a compensation, and two.
ONCE, TWICE = Retry(attempts=1), Retry(attempts=2)


@dataclass(frozen=True)
class Small:
    """A saga, and what besides messages and operator actions may happen to its transactions."""

    saga: Saga
    holds: bool = False  # a person holds it
    poison: bool = False  # messages that can't be read
    early: bool = False  # it begins before its start has come
    refusals: bool = False  # Kafka refuses messages
    parent: bool = False  # it is a child, which its parent may want reversed


def throws(_: Mapping[str, Any]) -> Any:
    raise ValueError("no such field")


def reverse(name: str, retry: Retry = ONCE, **sends: Any) -> Compensation:
    return Compensation(
        command=message(f"Reverse{name}", **sends), confirmed_on=f"x.{name}Reversed", retry=retry
    )


def reversed_(path: str, *, retry: Retry = ONCE, **facts: Any) -> Step:
    """A command with a compensation."""
    return command(path, compensation=reverse(path.rpartition(".")[2].capitalize(), retry), **facts)


def pivot(path: str, doubt: str = WAIT, **facts: Any) -> Step:
    ask = message("Ask") if doubt == ASK else None
    return command(path, pivot=True, in_doubt=doubt, ask=ask, **facts)


def _child(path: str, **facts: Any) -> Step:
    return step(
        path,
        kind="saga",
        child="small",
        command=message("BeginSmall"),
        succeeds_on=TRANSACTION_ENDED,
        compensation=Compensation(
            command=Command("kantor.CompensateTransaction", "cmd.kantor.v1"), confirmed_on=TRANSACTION_ENDED
        ),
        **facts,
    )


def small_sagas() -> dict[str, Small]:
    """By what they have."""
    two = (lambda _: [1, 2]), (lambda _: [1])
    quiet = event("a", compensation=reverse("A"), timeout=10_000)
    chain = (quiet, reversed_("b", after=["a"], retry=TWICE))
    retried = command("b", after=["a"], retry=TWICE)
    return {
        "one by one": Small(build(*chain), refusals=True),
        "retries, early messages, a deadline": Small(build(quiet, retried, deadline=60_000), early=True),
        "holds": Small(build(quiet, command("b", after=["a"])), holds=True, early=True),
        "poison": Small(build(reversed_("a")), poison=True, early=True),
        "poison and holds": Small(build(command("a")), poison=True, holds=True, early=True),
        "one after the other": Small(
            build(reversed_("a"), reversed_("b"), command("c"), compensation=SEQUENTIAL)
        ),
        "side by side": Small(build(reversed_("a"), reversed_("b", after=["a"]), compensation=PARALLEL)),
        "a pivot that is asked about": Small(
            build(reversed_("a"), pivot("p", ASK, after=["a"]), command("b", after=["p"])), refusals=True
        ),
        "a pivot that is waited for": Small(build(pivot("p"), reversed_("a"))),
        "a step after the pivot that is compensated in doubt": Small(
            build(pivot("p", ASK, retry=TWICE), reversed_("b", after=["p"]))
        ),
        "steps in doubt that are waited for and asked about": Small(
            build(reversed_("a", in_doubt=WAIT), reversed_("b", in_doubt=ASK, ask=message("Ask")))
        ),
        "members, one is enough": Small(
            build(composite("g", reversed_("g.m"), each=two[0], need=1), command("z", after=["g"]))
        ),
        "members, all needed": Small(build(composite("g", reversed_("g.m"), each=two[0]))),
        "members, in order, each settled": Small(
            build(composite("g", reversed_("g.m"), each=two[0], in_order=True, settle_all=True, need=1))
        ),
        "a member that is bound by its pivot": Small(
            build(composite("g", pivot("g.p"), command("g.t", after=["p"]), each=two[1]), command("z"))
        ),
        "steps in a step, one is enough": Small(
            build(composite("g", reversed_("g.m"), event("g.n", after=["m"], reversible=True), need=1))
        ),
        "a guard that throws": Small(build(quiet, command("b", after=["a"], when=throws))),
        "a field that throws": Small(build(quiet, command("b", after=["a"], sends={"x": throws}))),
        "a compensation whose field throws": Small(
            build(
                command("a", compensation=reverse("A", x=throws)),
                command("b", after=["a"]),
            )
        ),
        "a question whose field throws": Small(
            build(command("p", pivot=True, in_doubt=ASK, ask=message("Ask", x=throws)))
        ),
        "an end that can't be told": Small(
            build(
                quiet,
                ends_with={
                    "completed": Command("x.Over", "t", fields(x=throws)),
                    "compensated": Command("x.Gone", "t", fields(x=throws)),
                },
                returns=fields(x=throws),
            )
        ),
        "a match that throws": Small(build(event("a", match=throws), command("b")), poison=True),
        "a signal, a pause": Small(
            build(
                step("s", kind="signal", succeeds_on="x.SDone", timeout=10_000),
                step("w", kind="sleep", sleep=lambda _: 1_000),
                reversed_("a", after=["w"]),
            )
        ),
        "a task with a result": Small(build(reversed_("a", bare="x.ABare"), command("b", after=["a"]))),
        "a child": Small(build(_child("c"), command("b", after=["c"]))),
        "a child that its parent reverses": Small(build(reversed_("a"), command("b")), parent=True),
        "a child that may never begin": Small(
            build(reversed_("a")), parent=True, early=True, refusals=True, poison=True
        ),
        "a child with a pivot": Small(build(pivot("p"), command("b", after=["p"])), parent=True),
        "only observed": Small(build(reversed_("a"), command("b", after=["a"]), mode=OBSERVE)),
        "optional, cancelled by an event": Small(
            build(
                reversed_("a", optional=True),
                reversed_("b", after=["a"]),
                cancel_on=Cancellation("x.Cancelled", "b", message("Refuse")),
            )
        ),
    }
