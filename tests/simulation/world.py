"""One run: a plan, processes that take turns in one thread, and a clock that moves when nobody has anything to do.

Everything that chance decides comes from one generator, in an order that only the plan decides: the same plan is the same
run, to the last byte.
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from random import Random

from kantor.clients import TopicSpec
from kantor.envelope import child_id
from kantor.testing import MemoryBroker, VirtualClock
from kantor.testing.log import Partition
from kantor_orchestrator.engine.checkpoint import REST_INTERVAL
from kantor_orchestrator.engine.memory import is_gone
from kantor_orchestrator.engine.shard import Shard
from kantor_orchestrator.formats import topics
from simulation import services as acting
from simulation.faults import (
    Crash,
    Fail,
    Hold,
    Lag,
    Skew,
    Stall,
)
from simulation.hostile import STRANGERS
from simulation.ledger import Ledger
from simulation.outside import Outside
from simulation.plan import ENGINES, INTAKES, TROUBLE, VIEW, Plan, instances
from simulation.processes import EngineProcess, IntakeProcess, Process, ServiceProcess
from simulation.recovered import contradictions, taken_now
from simulation.sagas import definitions
from simulation.sagas import topics as topics_of
from simulation.seen import seen_now
from simulation.view import ViewProcess
from simulation.waits import Waits

SHARDS = 2
#: How often a person may have retried a saga step: its children are known that far.
ROUNDS = 5
#: Seconds after the trouble by which everything must have ended: several times what a plan's failures make it wait.
PATIENCE = 400.0
#: Seconds for which nothing happens before it counts as over: late timers have come by then, and a shard at rest has told where
#: it is.
_QUIET = REST_INTERVAL + 1.5
#: Seconds that an idle world jumps ahead, at first and at most.
_JUMP, _LONGEST_JUMP = 0.005, 1.0
#: At about these moments (s) the shards are taken on trial, besides whenever an engine takes one; and what people are shown is
#: compared, as soon as the view has caught up.
_LOOKS = (1.0, 8.0)
#: Turns in one run, in case something goes round in circles.
_MOST_TURNS = 400_000


def is_at_rest(shard: Shard) -> bool:
    """Everything that has reached it is decided, logged, sent and committed."""
    return (
        not (
            shard.pending
            or shard.recorded
            or shard._checkpoint
            or shard.transactions.changed
            or shard.sender.waiting
            or shard.is_behind
        )
        and shard.writer.is_at_rest
    )


class World:
    """A run of one plan in ``folder``, which is empty."""

    def __init__(self, plan: Plan, folder: Path) -> None:
        self.plan = plan
        self.folder = folder
        self.random = Random(plan.seed + 1)
        self.clock = VirtualClock()
        self.broker = MemoryBroker(self.clock)
        self.shards = SHARDS
        #: What happened, for the story: (moment in s, text).
        self.notes: list[tuple[float, str]] = []
        self.crashes: defaultdict[str, list[Crash]] = defaultdict(list)
        self.fails: defaultdict[str, list[int]] = defaultdict(list)
        self.stalls: defaultdict[str, list[Stall]] = defaultdict(list)
        self._holds: defaultdict[str, list[Hold]] = defaultdict(list)
        self._lags: defaultdict[str, list[Lag]] = defaultdict(list)
        self.skews: dict[str, float] = {}
        #: Engines have room in memory for one transaction.
        self.is_forgetful = plan.seed % 2 == 1
        self._calm_at = 0.0
        self._moments = 0
        self._turns, self._jump = 0, _JUMP
        self._plan_faults()
        behaviours = {(one.id, step): found for one in plan.transactions for step, found in one.behaviours}
        #: By child: the transaction of the plan that it belongs to.
        self.roots: dict[str, str] = {
            child_id(one.id, path, number): one.id
            for one in plan.transactions
            for path, _, step in instances(plan.shape.steps, one.lines)
            if step.child is not None
            for number in range(1, ROUNDS)
        }
        self._people = list(plan.people)
        self._stage = acting.Stage(behaviours, self._moment, self.roots)
        self._create_topics()
        self.processes = self._processes()
        self._by_name = {process.name: process for process in self.processes}
        self.outside = Outside(self)
        self.ledger = Ledger(self.broker)
        #: How shards that were taken in the run, or would have been, contradicted the log.
        self.contradictions: list[str] = []
        self._taken = set[tuple[int, int]]()  # (shard, epoch)
        moments = Random(plan.seed + 2)
        self._looks = sorted((moments.expovariate(1 / mean) for mean in _LOOKS), reverse=True)
        #: Where people were shown something else than what was, while everything was under way.
        self.shown_otherwise: list[str] = []
        self._glances = sorted((moments.expovariate(1 / mean) for mean in _LOOKS * plan.view), reverse=True)
        self.waits = Waits(self.broker, SHARDS, _LONGEST_JUMP)

    def _plan_faults(self) -> None:
        for fault in self.plan.faults:
            if isinstance(fault, Crash):
                self.crashes[fault.process].append(fault)
            elif isinstance(fault, Fail):
                self.fails[fault.process].append(fault.call)
            elif isinstance(fault, Stall):
                self.stalls[fault.process].append(fault)
            elif isinstance(fault, Hold):
                self._holds[fault.process].append(fault)
                self._calm_at = max(self._calm_at, fault.at + fault.seconds)
            elif isinstance(fault, Lag):
                self._lags[fault.topic].append(fault)
                self._calm_at = max(self._calm_at, fault.until + fault.seconds)
            elif isinstance(fault, Skew):
                self.skews[fault.process] = fault.seconds

    def _create_topics(self) -> None:
        for spec in topics.specs(SHARDS, 1 << 20):
            self.broker.create_topic(spec)
        for name in topics_of(self.plan.shape):
            self.broker.create_topic(TopicSpec(name, 1 + len(name) % 2))

    def _processes(self) -> list[Process]:
        plan, found = self.plan, list[Process]()
        for name in ENGINES[: plan.engines]:
            home = self.folder / ("home" if plan.shared_home else name)
            found.append(EngineProcess(self, name, home, definitions(plan.shape)))
        found += [IntakeProcess(self, name) for name in INTAKES[: plan.intakes]]
        for service in acting.services(plan.shape, self.folder, self._stage).values():
            found.append(ServiceProcess(self, service))
        if plan.view:
            found.append(ViewProcess(self, VIEW, self.folder, definitions(plan.shape)))
        return found

    # -- what processes ask

    def note(self, text: str) -> None:
        self.notes.append((self.clock.monotonic(), text))

    def _moment(self, service: str) -> int:
        self._by_name[service].before("handle")
        self._moments += 1
        return self._moments

    def order(self, process: str, partitions: list[Partition]) -> None:
        """What of these a process gets now, and in which order. A fetch may bring nothing at all."""
        self.random.shuffle(partitions)
        held = self._held_back(process, self.clock.monotonic())
        if held:
            partitions[:] = [partition for partition in partitions if partition[0] not in held]
        if self.random.random() < 0.05:
            partitions.clear()

    def _held_back(self, process: str, now: float) -> set[str]:
        """The topics of which it gets nothing now."""
        return {f.topic for f in self._holds.get(process, ()) if f.at <= now < f.at + f.seconds}

    def lag(self, partition: Partition) -> float:
        now = self.clock.monotonic()
        return max(
            (f.seconds for f in self._lags.get(partition[0], ()) if f.at <= now < f.until), default=0.0
        )

    def leaves(self, queued: int) -> int:
        return queued if self.random.random() < 0.8 else self.random.randint(0, queued)

    def marker_lag(self) -> float:
        most = self.plan.marker_lag
        return self.random.choice([0.0, self.random.uniform(0, most)]) if most else 0.0

    # -- the run

    def run(self) -> None:
        """Until everything has come to its end, or patience has."""
        quiet_since = 0.0
        while self._turns < _MOST_TURNS:
            if not self._turn():
                continue
            now = self.clock.monotonic()
            if not all(process.can_run for process in self.processes) or not self._is_over(now):
                quiet_since = 0.0
                if now > TROUBLE + PATIENCE:
                    return
            elif not quiet_since:
                quiet_since = now
            elif now - quiet_since > _QUIET:
                if not self._people_come():
                    return
                quiet_since = 0.0

    def stand_still(self, process: Process, seconds: float) -> None:
        """The others go on; a process is in the middle of a call, and does not know."""
        until = self.clock.monotonic() + seconds
        process.freeze(until)
        while self.clock.monotonic() < until and self._turns < _MOST_TURNS:
            self._turn()

    def _turn(self) -> bool:
        """The turn of somebody who may have something to do. Whether there was nobody: then time has jumped, which may give
        everybody something to do."""
        self._turns += 1
        now = self.clock.monotonic()
        self.outside.turn(now)
        if self._looks and self._looks[-1] <= now:
            self._looks.pop()
            self.contradictions += taken_now(self)
        if self._glances and self._glances[-1] <= now and (found := seen_now(self)) is not None:
            self._glances.pop()
            self.shown_otherwise += found
        version = self.broker.version
        awake = [process for process in self.processes if process.is_awake(now, version)]
        if awake:
            process = awake[int(self.random.random() * len(awake))]
            process.turn()
            if isinstance(process, EngineProcess) and process.engine is not None:
                self._watch(process)
            self.clock.sleep(0.0002 + self.random.random() * 0.002)
            if not process.is_idle:
                self._jump = max(_JUMP, self._jump / 4)
            return False
        self.clock.sleep(self._jump)
        self._jump = min(self._jump * 3, _LONGEST_JUMP)
        for process in self.processes:
            process.idle_at = -1
        return True

    def _watch(self, process: EngineProcess) -> None:
        """An engine has had a turn."""
        now = self.clock.monotonic()
        reads = topics.JOURNAL not in self._held_back(process.name, now)
        for shard in process.shards():
            taking = shard.number, shard.log.epoch
            if taking not in self._taken:
                self._taken.add(taking)
                self.contradictions += contradictions(self, shard, f"of {process.name}")
            self.waits.turn(process.name, shard, now, reads=reads)

    def _is_over(self, now: float) -> bool:
        if not self.outside.is_over or now < self._calm_at:
            return False
        shards = [shard for p in self.processes if isinstance(p, EngineProcess) for shard in p.shards()]
        if sorted(shard.number for shard in shards) != list(range(SHARDS)):
            return False
        if any(not is_at_rest(shard) for shard in shards):
            return False
        if any(m.silent_since() is not None for g in self.broker.groups.values() for m in g.members.values()):
            return False  # what a dead member owns, nobody has read yet
        if any(isinstance(p, ViewProcess) and p.is_behind for p in self.processes):
            return False
        self.ledger.read()
        return all(self.ledger.is_settled(id_) for id_ in self.transactions())

    def transactions(self) -> list[str]:
        """Those of the plan, and all others of which anything is left; none of strangers, and none that a stranger calls its
        parent."""
        planned = dict.fromkeys(one.id for one in self.plan.transactions)
        strange = {
            *STRANGERS,
            *(found.parent for id_ in STRANGERS if (found := self.ledger.transaction(id_))),
        }
        others = (id_ for id_ in self.ledger.history if id_ not in planned and id_ not in strange)
        return [*planned, *(id_ for id_ in others if not is_gone(self.ledger.folded(id_)))]

    def _people_come(self) -> bool:
        """All is quiet: whoever must care for what waits for a person does the next thing. Whether there was any."""
        waiting = [id_ for id_ in self.transactions() if self.ledger.incidents(id_)]
        if not self._people or not waiting:
            return False
        act = self._people.pop(0)
        for id_ in waiting:
            places = [""] if act == "close" else sorted({i.step for i in self.ledger.incidents(id_)})
            for step in places:
                self.outside.act(act, id_, step, {})
        return True

    def process(self, name: str) -> Process:
        return self._by_name[name]

    def close(self) -> None:
        """Let go of files."""
        for process in self.processes:
            process.shut()
