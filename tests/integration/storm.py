"""Weather for the platform on a real Kafka: faults that a seed chooses, and what must be true when it is calm again.

Two engines, intake, view and four services, each behind a proxy (the services share one), under load. A fault breaks
connections, kills or freezes a process, or kills the broker; one or two at a time. Then everything must settle, and:

* every order ended whole or compensated, by the services' own databases, or waits for a person in the lists;
* the history has each transition once, in the journal's order;
* a message that left more than once is the same, byte for byte;
* what left is in a valid decision of the log, and what the log says has left;
* the view shows every order as it is.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from integration import decisions
from integration.chaos_services import SERVICES
from integration.evidence import broken_promises, repeated_moves
from integration.platform_kit import Orders, Platform
from integration.program import Program
from integration.proxied_kafka import ProxiedKafka
from integration.settling import settle
from kantor.errors import KantorError
from kantor_orchestrator.formats import topics
from kantor_orchestrator.view.queries import View
from waiting import until

ENGINES = ("engine-1", "engine-2")
#: Who has a proxy.
ROLES = ("intake", *ENGINES, "view", "services")
#: Who can be killed and frozen.
PROGRAMS = ("intake", *ENGINES, "view", *SERVICES)
#: How likely each kind of fault is.
_KINDS = {"reset": 3, "half-closed": 1, "mute": 1, "killed": 2, "frozen": 2, "broker killed": 1}
#: Seconds that a frozen process stands still: longer than its session with the group's coordinator (6 s).
_FROZEN = (7.0, 11.0)
_DOWN = (0.0, 3.0)
_CALM = (0.2, 3.0)
#: Orders in one question to the view.
_PAGE = 500


@dataclass(frozen=True, slots=True)
class Fault:
    kind: str
    target: str = ""
    seconds: float = 0.0

    def __str__(self) -> str:
        lasting = f" for {self.seconds:.1f} s" if self.seconds else ""
        return f"{self.target} {self.kind}{lasting}".strip()


@dataclass(frozen=True, slots=True)
class Gust:
    """Faults at the same time, and how long it is calm before (s)."""

    calm: float
    faults: tuple[Fault, ...]

    def __str__(self) -> str:
        return " and ".join(map(str, self.faults))


def forecast(chance: random.Random, gusts: int) -> list[Gust]:
    """What will happen: a matter of ``chance`` alone."""
    return [
        Gust(chance.uniform(*_CALM), tuple(_faults(chance, 2 if chance.random() < 0.3 else 1)))
        for _ in range(gusts)
    ]


def _faults(chance: random.Random, count: int) -> Iterator[Fault]:
    """On different targets."""
    hit: set[str] = set()
    while len(hit) < count:
        (kind,) = chance.choices(list(_KINDS), list(_KINDS.values()))
        if kind == "broker killed":
            fault = Fault(kind, seconds=chance.uniform(*_DOWN))
        elif kind == "killed":
            fault = Fault(kind, chance.choice(PROGRAMS), chance.uniform(*_DOWN))
        elif kind == "frozen":
            fault = Fault(kind, chance.choice(PROGRAMS), chance.uniform(*_FROZEN))
        else:
            fault = Fault(kind, chance.choice(ROLES))
        if fault.target not in hit:
            hit.add(fault.target)
            yield fault


class Storm:
    """A platform that is being broken; a context manager that leaves nothing running."""

    def __init__(self, folder: Path) -> None:
        self._exit = ExitStack()
        self._kafka = ProxiedKafka(folder, ROLES)
        self._folder = folder
        #: Programs that ended by themselves, and were started again.
        self.restarts: list[str] = []
        #: Held by whoever starts or ends a program.
        self._hands = threading.Lock()
        self._over = threading.Event()

    def __enter__(self) -> Self:
        with ExitStack() as undo:
            kafka = undo.enter_context(self._kafka)
            self.platform = undo.enter_context(Platform(kafka.broker.start(), self._folder))
            platform = self.platform
            started = platform.services(KANTOR_BOOTSTRAP_SERVERS=kafka.address("services"))
            self.programs = dict(zip(SERVICES, started, strict=True))
            for name in ("intake", *ENGINES, "view"):
                role = name.partition("-")[0]
                address = kafka.address(name)
                self.programs[name] = platform.role(role, name, KANTOR_BOOTSTRAP_SERVERS=address).start()
            for program in self.programs.values():
                program.await_ready()
            supervisor = threading.Thread(target=self._supervise, name="supervisor")
            supervisor.start()
            undo.callback(supervisor.join)
            undo.callback(self._over.set)
            self._exit = undo.pop_all()
        return self

    def __exit__(
        self, type_: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._exit.__exit__(type_, value, traceback)

    def _supervise(self) -> None:
        """Start again what has ended by itself, as ``kantor run`` does."""
        while not self._over.wait(0.5):
            with self._hands:
                for name, program in self.programs.items():
                    code = program.start_again()
                    if code is not None:
                        self.restarts.append(f"{name} ended with {code}")

    # -- faults

    def blow(self, gusts: Sequence[Gust], said: Callable[[str], None]) -> None:
        for gust in gusts:
            self._over.wait(gust.calm)
            said(str(gust))
            with ExitStack() as mend:
                for fault in gust.faults:
                    mend.callback(self._begin(fault))
                self._over.wait(max(fault.seconds for fault in gust.faults))

    def _begin(self, fault: Fault) -> Callable[[], object]:
        """Do it; what ends it."""
        if fault.kind == "broker killed":
            self._kafka.broker.kill()
            return self._kafka.broker.start
        if fault.kind in ("reset", "half-closed", "mute"):
            proxy = self._kafka.proxies[fault.target]
            if fault.kind == "reset":
                proxy.reset()
            else:
                proxy.half_close("client" if fault.kind == "half-closed" else "broker")
            return lambda: None
        with self._hands:
            self.programs[fault.target].start_again()  # what has ended can't be hit
            if fault.kind == "killed":
                self.programs[fault.target].kill()
                return lambda: self._start(fault.target)
            self.programs[fault.target].freeze()
            return self.programs[fault.target].thaw

    def _start(self, name: str) -> None:
        with self._hands:
            self.programs[name].start()

    # -- afterwards

    @contextmanager
    def orders(self, per_second: float, plan: str = "") -> Iterator[Orders]:
        """Under load; at the end all of them have ended, or wait for a person, and the view shows them."""
        platform = self.platform
        shards = [(topics.JOURNAL, shard) for shard in range(platform.admin.topics()[topics.JOURNAL])]
        platform.began = platform.admin.ends(shards)
        with platform.load(per_second, plan=plan) as orders:
            yield orders
        settle(platform, orders)
        until(lambda: self._is_shown(orders), "the view shows every order as it is", platform.tails)

    def _is_shown(self, orders: Orders) -> bool:
        ids, shown = list(orders), dict[str, str]()
        with suppress(KantorError), View(self._folder / "home" / "view.db") as view:
            for first in range(0, len(ids), _PAGE):
                found = view.summaries(ids[first : first + _PAGE])
                shown |= {one.transaction_id: str(one.status) for one in found}
        return shown == {id_: str(self.platform.follower.folded(id_).status) for id_ in ids}

    def wrongs(self, orders: Orders) -> list[str]:
        """What should not be, of all ``orders`` so far."""
        platform = self.platform
        sent = decisions.sent_by_kantor(
            record for topic in (*platform.command_topics, topics.ENDED) for record in platform.read(topic)
        )
        found = broken_promises(platform, orders, tolerate_incidents=True)
        found += repeated_moves(platform, orders) + decisions.contradictions(sent)
        log = list(decisions.logged(platform.codec, platform.read(topics.HISTORY)))
        found += decisions.every_message_is_logged(sent, log)
        found += decisions.every_logged_message_was_sent(sent, log)
        return found

    def waiting(self, orders: Orders) -> int:
        """How many wait for a person."""
        return sum(self.platform.follower.waits_for_a_person(id_) for id_ in orders)

    def engine(self, name: str) -> Program:
        return self.programs[name]

    def reset(self, role: str) -> int:
        """Reset every connection of a role; how many."""
        return self._kafka.proxies[role].reset()
