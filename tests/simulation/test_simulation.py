"""Many small worlds in which everything goes wrong that can, and the promise holds in each."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from kantor_orchestrator.definitions.check import check
from simulation.mutations import MUTATIONS, Mutation
from simulation.plan import Crash, plan
from simulation.run import report, run, shrink, verdicts
from simulation.sagas import catalog, written

#: Runs in ``make test``; ``make simulate`` does as many as it is asked to.
SEEDS = 1_000
#: What a step may be besides its kind.
WORDS = ("guarded", "optional", "pivot", "transactional", "each", "need", "in_order", "settle")


def test_the_promise_holds() -> None:
    """All or nothing, once, in reverse, nothing orphaned, people see what is, and restored state is live state: a thousand
    seeds, on every core."""
    failed = [seed for seed, broken in verdicts(range(SEEDS)) if broken]
    assert not failed, "\n".join([f"{failed}", *(report(shrink(run(plan(seed)))) for seed in failed[:2])])


def test_a_seed_is_always_the_same_run() -> None:
    """To the last line of its story, whatever Python's hashes are today."""
    program = "import simulation.run as r, simulation.plan as p; print(*r.run(p.plan(3)).story, sep='\\n')"
    stories = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": str(Path(__file__).parents[1])},
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(stories) == 1
    assert b"ended" in stories.pop()


def test_generated_sagas_are_sound() -> None:
    """What is simulated could be deployed: lint finds nothing."""
    kinds, words = set(), set()
    for seed in range(150):
        shape = plan(seed).shape
        assert check([one.written for one in written(shape)], catalog(shape)) == []
        steps = [step for one in shape.family for step in one.every]
        kinds |= {step.kind for step in steps}
        words |= {word for step in steps for word in WORDS if getattr(step, word)}
        words |= {step.in_doubt for step in steps} | {shape.compensation}
    assert kinds == {"event", "command", "sleep", "signal", "saga", "group"}
    assert words == {*WORDS, "compensate", "wait", "ask", "topological", "sequential", "parallel"}


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.name)
def test_a_bug_is_found(mutation: Mutation) -> None:
    """The simulation catches what it is there for."""
    with mutation.applied():
        assert any(run(plan(seed, mutation.focus)).broken for seed in mutation.seeds)


def test_a_failure_is_made_smaller() -> None:
    """What does not matter to it is taken out; the story names what is left."""
    mutation = next(one for one in MUTATIONS if one.name == "the inbox forgets its answers")
    with mutation.applied():
        failed = next(v for seed in mutation.seeds if (v := run(plan(seed))).broken)
        noisy = replace(failed.plan, faults=(*failed.plan.faults, Crash("nobody", 1, 1.0)))
        small = shrink(run(noisy))
    assert small.names & failed.names
    assert Crash("nobody", 1, 1.0) not in small.plan.faults
    assert report(small).startswith(f"seed {failed.plan.seed}:")
