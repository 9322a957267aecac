"""The checkout saga as a Restate workflow; granian serves ``app``. Runs in the peer's environment.

Three steps that return at once, each a durable one. If ``ship`` fails for good, refund and release follow.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import restate

Order = dict[str, Any]
Step = Callable[[Order], str]


def reserve(order: Order) -> str:
    return f"reserved-{order['id']}"


def release(order: Order) -> str:
    return f"released-{order['id']}"


def charge(order: Order) -> str:
    return f"charged-{order['id']}"


def refund(order: Order) -> str:
    return f"refunded-{order['id']}"


def ship(order: Order) -> str:
    if order["fail"]:
        raise restate.TerminalError("address refused")
    return f"shipped-{order['id']}"


async def run(ctx: restate.WorkflowContext, order: Order) -> list[str]:
    """The names of the steps that were carried out, in order."""
    trail: list[str] = []
    compensations: list[Step] = []

    async def step(function: Step) -> None:
        await ctx.run_typed(function.__name__, function, order=order)
        trail.append(function.__name__)

    try:
        for action, compensation in ((reserve, release), (charge, refund)):
            await step(action)
            compensations.append(compensation)
        await step(ship)
    except restate.TerminalError:
        for reversal in reversed(compensations):
            await step(reversal)
    return trail


workflow = restate.Workflow("Checkout")
workflow.main()(run)
app = restate.app([workflow])
