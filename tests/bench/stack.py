"""A platform of the benchmark's own: a fresh broker, ``kantor run``, the services, the deployed saga."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import kantor_examples.checkout
from bench import processes
from bench.ends import BenchError, Ends
from bench.processes import Accounts
from bench.services import GOOD, SERVICES, UNSHIPPABLE
from kantor.kafka import KafkaSettings
from kantor.schemas import schema_store
from kantor_orchestrator.config import LOCAL_SHARDS
from kantor_orchestrator.definitions import deploy as deploying
from kantor_orchestrator.definitions import files
from kantor_orchestrator.dev.broker import DevBroker
from kantor_orchestrator.formats import topics
from kantor_schemas import EXAMPLES_FOLDER, Catalog

#: Seconds for the first transactions to end, everything being just started.
START = 90.0

_TESTS = Path(__file__).resolve().parents[1]
_KANTOR = ["-m", "kantor_orchestrator.cli.main"]
_CHECKOUT = Path(kantor_examples.checkout.__path__[0]) / "checkout.yaml"


class Ground:
    """A broker with Kantor's topics and a saga on the checkout's messages; nothing runs on it yet."""

    def __init__(
        self, folder: Path, broker: DevBroker, say: Callable[[str], None], shards: int, saga: Path
    ) -> None:
        self.folder = folder
        self.kafka_data = broker.data
        self.settings = KafkaSettings(broker.start())
        self.broker_pid = broker.status().pid or 0
        self.say = say
        #: As a user's shell has it: the home says where the broker is.
        self.environment = {
            name: value for name, value in os.environ.items() if not name.startswith("KANTOR_")
        } | {
            "KANTOR_HOME": str(folder),
            "KANTOR_BOOTSTRAP_SERVERS": self.settings.bootstrap_servers,
            "PYTHONPATH": os.pathsep.join([str(_TESTS), os.environ.get("PYTHONPATH", "")]),
        }
        self.admin = self.settings.admin("bench")
        topics.ensure(self.admin, shards)
        deploying.deploy(
            files.read([saga]).models(),
            Catalog.load(EXAMPLES_FOLDER / "checkout"),
            self.settings,
            schema_store(self.settings),
        )

    def start(self, name: str, arguments: Sequence[str], **options: Any) -> subprocess.Popen[bytes]:
        """A Python process in this environment; see ``processes.start``."""
        return processes.start(arguments, self.environment, self.log(name), **options)

    def run(self, *roles: str, core: int | None = None, home: Path | None = None) -> subprocess.Popen[bytes]:
        """``kantor run``, all roles or these. ``home``: another folder for what this machine keeps."""
        chosen = [argument for role in roles for argument in ("--role", role)]
        environment = self.environment | ({"KANTOR_HOME": str(home)} if home else {})
        return processes.start([*_KANTOR, "run", *chosen], environment, self.log("kantor"), core=core)

    def log(self, name: str) -> Path:
        return self.folder / f"{name}.log"


@contextmanager
def ground(
    say: Callable[[str], None], *, shards: int = LOCAL_SHARDS, saga: Path = _CHECKOUT
) -> Iterator[Ground]:
    """A fresh broker, gone at the end with all its data. If something fails, says what the logs say."""
    with tempfile.TemporaryDirectory(prefix="kantor-bench-") as name:
        folder = Path(name)
        broker = DevBroker(folder)
        try:
            yield Ground(folder, broker, say, shards, saga)
        except BenchError:
            for log in sorted(folder.glob("*.log")):
                for line in log.read_text(encoding="utf-8", errors="replace").splitlines()[-5:]:
                    say(f"{log.stem}: {line[:300]}")
            raise
        finally:
            broker.reset()


class Moments(NamedTuple):
    """Of one order (``time.monotonic_ns``): placed, its end seen in the history, its end announced."""

    placed: int
    ended: int
    announced: int


class Platform:
    """Everything runs, and has been warmed up."""

    def __init__(self, ground: Ground, cleanup: ExitStack) -> None:
        self._ground = ground
        self._placed = 0
        self.view = ground.folder / "view.db"
        running = {"supervisor": ground.run()}
        running |= {name: ground.start(name, ["-m", "bench.services", name]) for name in SERVICES}
        self._shop = running["shop"] = ground.start("shop", ["-m", "bench.services", "shop"], pipes=True)
        cleanup.callback(processes.stop, list(running.values()))
        self.ends = Ends(ground.settings)
        cleanup.callback(self.ends.close)
        self._accounts = Accounts(
            {"broker": ground.broker_pid} | {name: process.pid for name, process in running.items()}
        )

    def warm_up(self, count: int) -> None:
        """The first orders, of both kinds and in both ways of placing them."""
        for sku in (GOOD, UNSHIPPABLE):
            for rate in (0.0, 20.0):
                self.place(min(count, 40) if rate else count, sku, rate)
        self.settle()

    def place(self, count: int, sku: str, rate: float = 0.0, timeout: float = START) -> dict[str, Moments]:
        """Have the shop place ``count`` orders and wait for their ends, by transaction.

        Raises ``BenchError`` if not all of them end as they should.
        """
        self._placed += 1
        prefix = f"{sku}-{self._placed}"
        asked = {"prefix": prefix, "count": count, "sku": sku, "rate": rate}
        assert self._shop.stdin is not None
        assert self._shop.stdout is not None
        self._shop.stdin.write(json.dumps(asked).encode() + b"\n")
        self._shop.stdin.flush()
        self.ends.wait(count, timeout + (count / rate if rate else 0.0))
        ids = [f"{prefix}-{number}" for number in range(count)]
        self.ends.check(ids, "completed" if sku == GOOD else "compensated")
        starts = json.loads(self._shop.stdout.readline())["starts"]
        moments = self.ends.moments()
        self.ends.forget()
        return {id_: Moments(start, *moments[id_]) for id_, start in zip(ids, starts, strict=True)}

    def cpu(self) -> Mapping[str, float]:
        """CPU seconds so far, by process."""
        return self._accounts.sample()

    def settle(self, timeout: float = 60.0) -> float:
        """Wait until nobody has work left (the view may be behind); how long that took (s)."""
        began = quiet = time.monotonic()
        before = sum(self.cpu().values())
        while time.monotonic() - began < timeout:
            time.sleep(0.5)
            after = sum(self.cpu().values())
            if after - before < 0.5 * _IDLE:
                return quiet - began
            before, quiet = after, time.monotonic()
        raise BenchError(f"the platform did not come to rest within {timeout:.0f} s")


#: All processes together use less than this (cores) when there is nothing to do.
_IDLE = 0.4


@contextmanager
def platform(ground: Ground, warm_up: int) -> Iterator[Platform]:
    with ExitStack() as cleanup:
        running = Platform(ground, cleanup)
        ground.say("warming up")
        running.warm_up(warm_up)
        yield running
