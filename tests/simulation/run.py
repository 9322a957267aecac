"""From a seed to a verdict, and from a failure to the smallest one like it."""

from __future__ import annotations

import logging
import multiprocessing
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from unittest.mock import patch

from kantor_orchestrator.engine import checkpoint
from simulation.drawing import plan
from simulation.invariants import check
from simulation.plan import Plan
from simulation.shapes import ACTING, StepShape
from simulation.world import World

_WORDS = ("guarded", "optional", "pivot", "transactional", "each", "in_order", "settle")

#: Where the runs' files are, if there is such a place: in memory. What a disk does is not simulated.
_MEMORY = Path("/dev/shm")

#: Seconds between checkpoints in half of the runs: more goes wrong between two of them.
_OFTEN = 0.25

#: Runs at most while a failure is made smaller.
_TRIES = 150


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a run came to: the invariants that it broke, and how it went."""

    plan: Plan
    broken: tuple[str, ...]
    story: tuple[str, ...]

    @property
    def names(self) -> frozenset[str]:
        """Of the broken invariants."""
        return frozenset(text.partition(":")[0] for text in self.broken)


def run(found: Plan) -> Verdict:
    """One run of a plan."""
    in_memory = os.access(_MEMORY, os.W_OK)
    folder = Path(tempfile.mkdtemp(prefix="kantor-sim-", dir=_MEMORY if in_memory else None))
    try:
        often = _OFTEN if found.seed % 4 < 2 else checkpoint.INTERVAL
        with _quietly(), patch.object(checkpoint, "INTERVAL", often):
            return _run(found, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def broken_by(seed: int) -> tuple[int, tuple[str, ...]]:
    """A seed, and the invariants that it breaks: what one process of many is asked."""
    return seed, run(plan(seed)).broken


def verdicts(seeds: Iterable[int]) -> Iterator[tuple[int, tuple[str, ...]]]:
    """Each of these seeds with the invariants that it breaks, as they come: a process for each core. They are spawned, so
    that nothing is shared that a parent has open."""
    with multiprocessing.get_context("spawn").Pool(os.cpu_count()) as pool:
        yield from pool.imap_unordered(broken_by, seeds, chunksize=8)


def _run(plan: Plan, folder: Path) -> Verdict:
    world = World(plan, folder)
    try:
        try:
            world.run()
            broken = check(world)
        except Exception as error:  # noqa: BLE001 - whatever leaves the platform's code is a finding
            broken = [f"no crash: {_where(error)}"]
        return Verdict(plan, tuple(broken), tuple(_story(world)))
    finally:
        world.close()


def _where(error: Exception) -> str:
    trace, place = error.__traceback__, ""
    while trace is not None:
        place = f"{Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}"
        trace = trace.tb_next
    return f"{type(error).__name__}: {error} ({place})"


def _story(world: World) -> Iterator[str]:
    """Faults and transitions in the order of time."""
    from kantor.testing.clock import EPOCH

    told = [(moment, 0, text) for moment, text in world.notes]
    for id_, moves in world.ledger.history.items():
        for move in moves:
            facts = f"{move['kind']} {move['step']} {move['code']}".strip()
            text = (
                f"{id_}: {facts} (entry {move['journal_offset']} {move['entry_kind']} {move['message_type']})"
            )
            told.append(((move["at"] - EPOCH) / 1000, 1, f"{text} -> {move['status']}"))
    for moment, _, text in sorted(told, key=lambda one: one[:2]):
        yield f"{moment:9.3f} s  {text}"


@contextmanager
def _quietly() -> Iterator[None]:
    """Without the platform's logs: a run has hundreds of warnings, all of them wanted."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(before)


def shrink(failed: Verdict) -> Verdict:
    """Take out faults and transactions, one by one, while one of the same invariants is still broken."""
    best, left = failed, _TRIES
    progress = True
    while progress:
        progress = False
        for smaller in _smaller(best.plan):
            if not left:
                return best
            left -= 1
            verdict = run(smaller)
            if verdict.names & failed.names:
                best, progress = verdict, True
                break
    return best


def _smaller(plan: Plan) -> Iterator[Plan]:
    for index in range(len(plan.transactions) if len(plan.transactions) > 1 else 0):
        yield replace(plan, transactions=plan.transactions[:index] + plan.transactions[index + 1 :])
    for index in range(len(plan.faults)):
        yield replace(plan, faults=plan.faults[:index] + plan.faults[index + 1 :])
    for index, one in enumerate(plan.transactions):
        for number in range(len(one.behaviours)):
            calmer = replace(one, behaviours=one.behaviours[:number] + one.behaviours[number + 1 :])
            yield replace(
                plan, transactions=(*plan.transactions[:index], calmer, *plan.transactions[index + 1 :])
            )
    if plan.marker_lag:
        yield replace(plan, marker_lag=0.0)
    if plan.people:
        yield replace(plan, people=plan.people[:-1])
    if plan.view:
        yield replace(plan, view=False)


def report(verdict: Verdict) -> str:
    """A failure as a person reads it."""
    plan = verdict.plan
    lines = [
        f"seed {plan.seed}: {len(verdict.broken)} broken",
        *(f"  {text}" for text in verdict.broken[:6]),
        (
            f"saga: {'checkout' if plan.shape.example else 'generated'}, deadline {plan.shape.deadline} s,"
            f" {plan.shape.compensation}, {plan.engines} engines, {plan.intakes} intakes"
        ),
        *_steps(plan.shape.steps, "  "),
        *(f"  {one}" for one in plan.transactions),
        *(f"  {fault}" for fault in plan.faults),
        "story:",
        *(f"  {line}" for line in verdict.story[-120:]),
    ]
    return "\n".join(lines)


def _steps(steps: tuple[StepShape, ...], indent: str) -> Iterator[str]:
    for step in steps:
        words = [word for word in _WORDS if getattr(step, word)]
        if step.kind in ACTING and not step.is_compensated:
            words.append("not compensated")
        facts = [f"after {', '.join(step.after)}"] if step.after else []
        facts += [f"on {step.trigger or 'the start'}"] if step.kind == "event" else []
        facts += [f"{step.timeout} s"] if step.timeout else []
        facts += [f"{step.attempts} attempts"] if step.attempts > 1 else []
        facts += [f"need {step.need}"] if step.need else []
        facts += [f"in doubt {step.in_doubt}"] if step.in_doubt != "compensate" else []
        yield f"{indent}{step.name}: {', '.join([step.kind, *facts, *words])}"
        yield from _steps(step.steps or (step.child.steps if step.child else ()), f"{indent}  ")
