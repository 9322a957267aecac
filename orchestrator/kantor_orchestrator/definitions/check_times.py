"""Do the times of a saga fit each other? What comes too late to have an effect was not meant so."""

from __future__ import annotations

from collections.abc import Iterator

from kantor_orchestrator.definitions import durations, expressions, outcomes
from kantor_orchestrator.definitions.durations import text
from kantor_orchestrator.definitions.model import SagaModel
from kantor_orchestrator.definitions.parts import Retries, Task
from kantor_orchestrator.definitions.problem import Findings, Path
from kantor_orchestrator.definitions.tree import Node, Tree


def check_times(saga: SagaModel, tree: Tree, found: Findings) -> None:
    for node in tree.nodes.values():
        if node.step.retry is not None:
            _budget(node, node.step.retry, found)
        if node.step.compensate_with is not None:
            _compensation(node, node.step.compensate_with.retry, found)
        if node.step.task is not None and saga.deadline is not None:
            _task(node, node.step.task, saga.deadline, found)
    if saga.deadline is not None:
        _sleeps(tree, saga.deadline, found)


def _budget(node: Node, retry: Retries, found: Findings) -> None:
    if retry.budget is not None and retry.attempts > 1 and retry.budget < retry.backoff:
        what = (
            f"step {node.name}: no attempt may begin later than {text(retry.budget)} after the first, and the pause before the "
            f"second is up to {text(retry.backoff)}"
        )
        found.add(what, "set a longer `budget`, or a shorter `backoff`", (*node.at, "retry", "budget"))


def _compensation(node: Node, retry: Retries, found: Findings) -> None:
    if retry.budget is not None:
        what = f"step {node.name}: only `attempts` end a compensation, so `budget` has no effect"
        found.add(what, "remove it, and set `attempts`", (*node.at, "compensate_with", "retry", "budget"))


def _task(node: Node, task: Task, deadline: int, found: Findings) -> None:
    times: list[tuple[str, int | None, Path]] = [
        ("is due", task.due, ("due",)),
        *(("reminds of itself", delay, ("remind", index)) for index, delay in enumerate(task.remind)),
        ("is escalated", task.escalate.after if task.escalate else None, ("escalate", "after")),
    ]
    for what, delay, path in times:
        if delay is not None and delay >= deadline:
            told = f"step {node.name} {what} after {text(delay)}, and the saga's deadline is {text(deadline)} after its start"
            at: Path = (*node.at, "task")
            found.add(told, "set an earlier time, or a later `deadline`", (*at, *path), (*at, path[0]))


def _sleeps(tree: Tree, deadline: int, found: Findings) -> None:
    """A pause, with those that certainly come before it, that lasts until the deadline or longer."""
    passed: dict[str, int] = {}  # by step: how long it takes at least until it has ended
    for node in tree.ordered():
        before = max((passed.get(one.path, 0) for one in _earlier(tree, node)), default=0)
        own = _sleep_of(node)
        passed[node.path] = before if node.step.when is not None else before + own
        if own and before + own >= deadline > before:
            since = f", {text(before)} after the start at the earliest" if before else ""
            what = f"step {node.name} sleeps for {text(own)}{since}, and the saga's deadline is {text(deadline)} after its start"
            found.add(what, "sleep for less, or set a later `deadline`", (*node.at, "sleep"))


def _earlier(tree: Tree, node: Node) -> Iterator[Node]:
    """The steps that have ended before this one begins: its own group's, and those before the groups around it."""
    yield from tree.before(node)
    for outer in node.around:
        yield from tree.before(outer)


def _sleep_of(node: Node) -> int:
    """Milliseconds that a step certainly sleeps; 0: none, or who knows."""
    written = node.step.sleep
    if written is None:
        return 0
    if durations.is_written(written):
        try:
            return durations.parse(written, shortest=0)
        except ValueError:
            return 0  # reported where it is written
    if expressions.literal(written) is None:
        return 0
    try:
        return outcomes.Sleep(expressions.formula(written, lasting=True), written)({})
    except outcomes.EvaluationError:
        return 0
