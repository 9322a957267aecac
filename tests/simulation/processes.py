"""The processes of a run: real engines, intakes and services, each with clients that fail when the plan says so.

A crash is a ``BaseException`` that leaves the code at a client's call, as a kill does: nothing can catch it on purpose, and
whatever ``finally`` still tries finds dead clients.
"""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry

from kantor import Service
from kantor.errors import KafkaUnavailableError, KantorError
from kantor.inbox import Inbox
from kantor.metrics import Metrics
from kantor.runner import Session
from kantor.testing import MemoryClients
from kantor.testing.clock import SkewedClock
from kantor.testing.log import Partition
from kantor_orchestrator.definitions.catalogue import Definitions
from kantor_orchestrator.engine.loop import Engine
from kantor_orchestrator.engine.shard import Shard
from kantor_orchestrator.intake.loop import Intake
from kantor_orchestrator.metrics import EngineMetrics, IntakeMetrics
from simulation.faults import Crash, Stall
from simulation.instead import Schemas, Steps, VirtualStop

if TYPE_CHECKING:
    from simulation.world import World

#: Schemas by fingerprint, and metrics that nobody reads: one of each is enough for all runs.
SCHEMAS = Schemas()
ENGINE_METRICS, INTAKE_METRICS = EngineMetrics(CollectorRegistry()), IntakeMetrics(CollectorRegistry())
SERVICE_METRICS = Metrics()
#: Seconds after which a role that met trouble is started again.
_RESTART = 1.0
#: Calls that can report a failure. Others wait, or are answered by the client itself.
_FAILING = frozenset(
    {
        "flush",
        "send offsets",
        "commit",
        "abort",
        "init",
        "end",
        "ends",
        "topics",
        "topic ids",
        "commit offsets",
    }
)


class Crashed(BaseException):
    """The process is dead."""


class Process:
    """One process of the platform, through all its lives. It is also the :class:`Faults` of its clients."""

    def __init__(self, world: World, name: str) -> None:
        self.world = world
        self.name = name
        self.clock = SkewedClock(world.clock, world.skews.get(name, 0.0))
        self.calls = 0
        self.crashes = sorted(world.crashes.get(name, ()), key=lambda crash: crash.call)
        self.stalls = sorted(world.stalls.get(name, ()), key=lambda stall: stall.call)
        self._named: Counter[str] = Counter()
        #: It is in the middle of a call.
        self.is_still = False
        self.fails = sorted(world.fails.get(name, ()))
        self.clients: MemoryClients = world.broker.clients(self)
        self.steps = Steps()
        self.stop = VirtualStop(self.clock)
        self.runs = False
        #: Not before this moment (monotonic, s).
        self.wakes_at = 0.0
        self.thaws_at = 0.0
        self._killed_by: Crash | None = None
        #: The broker's version at which it had nothing to do; -1: it may have.
        self.idle_at = -1

    # -- faults

    def before(self, call: str) -> None:
        if self.clients.is_dead:
            raise Crashed
        if call != "poll":
            self.calls += 1
            self._point(call, 2 * self.calls - 1)

    def after(self, call: str) -> None:
        self._point(call, 2 * self.calls)

    def _point(self, call: str, number: int) -> None:
        if self.crashes and self.crashes[0].call <= number:
            self.world.note(f"{self.name} dies {'before' if number % 2 else 'after'} {call!r}")
            self._die(self.crashes.pop(0))
            raise Crashed
        if number % 2:
            self._named[call] += 1
        stall = None if self.is_still else self._stalls_at(call, number)
        if stall is not None:
            self.stalls.remove(stall)
            where = "before" if number % 2 else "after"
            self.world.note(f"{self.name} stands still for {stall.seconds} s {where} {call!r}")
            self.is_still = True
            self.world.stand_still(self, stall.seconds)
            self.is_still = False
            self.clients.silent_since = None
        fails = self.fails
        if fails and fails[0] <= number and call in _FAILING and fails[0] % 2 == number % 2:
            del fails[0]
            what = "fails" if number % 2 else "took effect, yet is reported failed"
            self.world.note(f"{self.name}: {call!r} {what}")
            raise KafkaUnavailableError(f"simulated: {call} {what}")

    def _stalls_at(self, call: str, number: int) -> Stall | None:
        for stall in self.stalls:
            if stall.name == call and number % 2 and stall.call <= self._named[call]:
                return stall
            if not stall.name and stall.call <= number:
                return stall
        return None

    def lag(self, partition: Partition) -> float:
        return self.world.lag(partition)

    def marker_lag(self) -> float:
        return self.world.marker_lag()

    def leaves(self, queued: int) -> int:
        return self.world.leaves(queued)

    def order(self, partitions: list[Partition]) -> None:
        self.world.order(self.name, partitions)

    def wait(self, seconds: float, *, is_member: bool) -> None:
        if not is_member:  # members take turns; a reader waits by itself
            self.clock.sleep(seconds)

    # -- life

    @property
    def can_run(self) -> bool:
        now = self.clock.monotonic()
        return not self.is_still and now >= self.wakes_at and now >= self.thaws_at

    @property
    def is_idle(self) -> bool:
        """Its last turn had no effect."""
        return self.idle_at >= 0

    def is_awake(self, now: float, version: int) -> bool:
        """Whether it can run, and may have something to do. ``version``: the broker's."""
        if self.is_still or now < self.wakes_at or now < self.thaws_at:
            return False
        if self.idle_at < 0 or self.steps.waiting:
            return True
        if self.idle_at != version:
            if self.clients.has_news():
                return True
            self.idle_at = version
        return False

    def turn(self) -> None:
        """Start it if it does not run; else one turn of its loop, or of a thread of its own."""
        clients, broker = self.clients, self.world.broker
        before = broker.version, clients.fetched, self.calls, len(self.steps.waiting)
        was_running = self.runs
        self._take_turn()
        after = broker.version, clients.fetched, self.calls, len(self.steps.waiting)
        is_idle = self.runs and was_running and before == after
        self.idle_at = broker.version if is_idle else -1

    def _take_turn(self) -> None:
        self.clients.silent_since = None
        try:
            if not self.runs:
                self.runs = True
                self._start()
            elif self.steps.waiting and self.world.random.random() < 0.5:
                self.steps.waiting.pop(0).run()
            else:
                self._turn()
        except KantorError as error:
            self.world.note(f"{self.name} starts again: {error}")
            self._restart()
        except Crashed:
            self._buried()

    def _restart(self) -> None:
        try:
            self._end()
            self.wakes_at = self.clock.monotonic() + _RESTART
        except Crashed:
            self._buried()

    def _end(self) -> None:
        """Leave in good order, as far as that goes."""
        try:
            self._close()
        except KantorError as error:
            self.world.note(f"{self.name} ends in trouble: {error}")
        self.runs = False

    def freeze(self, until: float) -> None:
        self.idle_at = -1
        self.thaws_at = max(self.thaws_at, until)
        if self.clients.silent_since is None:
            self.clients.silent_since = self.clock.monotonic()

    def halt(self, until: float) -> None:
        """Stop it in good order, and start it at that time."""
        if self.runs and self.can_run:
            try:
                self._end()
            except Crashed:
                self._buried()
                return
        self.wakes_at = max(self.wakes_at, until)
        self.idle_at = -1

    def _die(self, crash: Crash) -> None:
        """It is killed now, and started again later."""
        now = self.clock.monotonic()
        self.clients.is_dead = True
        self.clients.silent_since = now
        self.steps = Steps()
        self.runs = False
        self.wakes_at = self.thaws_at = now + crash.down
        self._killed_by = crash

    def _buried(self) -> None:
        """It has left its code: close what the system would close."""
        self._bury()
        self.clients = self.world.broker.clients(self)
        if self._killed_by is not None and self._killed_by.wipe:
            self.wipe()

    def wipe(self) -> None:
        """Lose its disk."""

    def shut(self) -> None:
        """The run is over: let go of files."""
        self._bury()

    def _start(self) -> None:
        raise NotImplementedError

    def _turn(self) -> None:
        raise NotImplementedError

    def _close(self) -> None:
        raise NotImplementedError

    def _bury(self) -> None:
        """Close files, as the system does when a process dies."""


def _ready() -> None:
    pass


class EngineProcess(Process):
    def __init__(self, world: World, name: str, folder: Path, definitions: Definitions) -> None:
        super().__init__(world, name)
        self.folder = folder
        self._definitions = definitions
        self.engine: Engine | None = None

    def _start(self) -> None:
        self.engine = Engine(
            self.clients,
            self.world.shards,
            self.folder,
            SCHEMAS,
            self._definitions,
            ENGINE_METRICS,
            waits_for_schemas=False,
            clock=self.clock,
            jobs=self.steps,
        )
        if self.world.is_forgetful:
            self.engine._means.budget.limit = 1
        self.engine.start(_ready)

    def _turn(self) -> None:
        assert self.engine is not None
        self.engine.turn()

    def _close(self) -> None:
        if self.engine is not None:
            engine, self.engine = self.engine, None
            engine.close()

    def shards(self) -> list[Shard]:
        """Those that it has taken."""
        return [] if self.engine is None else list(self.engine._shards.values())

    def _bury(self) -> None:
        for shard in self.shards():
            shard.transactions.close()
        self.engine = None

    def wipe(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)


class IntakeProcess(Process):
    intake: Intake | None = None

    def _start(self) -> None:
        self.intake = Intake(
            self.clients, self.world.shards, INTAKE_METRICS, clock=self.clock, aside=self.steps
        )
        self.intake.start(_ready)

    def _turn(self) -> None:
        assert self.intake is not None
        self.intake.turn()

    def _close(self) -> None:
        if self.intake is not None:
            intake, self.intake = self.intake, None
            intake.close()


class ServiceProcess(Process):
    def __init__(self, world: World, service: Service) -> None:
        super().__init__(world, service.name)
        self._service = service
        self._session: Session | None = None
        self._inbox: Inbox | None = None

    def _start(self) -> None:
        if self._inbox is None and self._service.store is not None:
            self._inbox = self._service.store.open()
        self._session = Session(
            self._service,
            self.clients,
            SCHEMAS,
            SERVICE_METRICS,
            self._inbox,
            instance="1",
            stop=self.stop,
            clock=self.clock,
        )
        self._session.start(lambda _: None)

    def _turn(self) -> None:
        assert self._session is not None
        self._session.turn()

    def _close(self) -> None:
        if self._session is not None:
            session, self._session = self._session, None
            session.close()

    def _bury(self) -> None:
        self._session = None
        if self._inbox is not None:
            self._inbox.close()
            self._inbox = None
