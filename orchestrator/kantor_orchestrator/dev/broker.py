"""One Apache Kafka node for one machine: `start`, `stop`, `status`, `reset`.

    <home>/kafka/broker.json        what runs, or ran: pid, token, ports, version
    <home>/kafka/data/              Kafka's data; formatted under another name, then renamed: complete or absent
    <home>/kafka/logs/server.log    Kafka's log; console.log has what Java itself printed
    <home>/kafka/lock               one process at a time starts or stops

The broker lives on when we end. Whoever comes next finds it through `broker.json` and trusts it only if the process
bears the token written there.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from kantor.kafka import KafkaSettings

from . import config, ports, probe
from .artifacts import ArtifactCache, Lock, cache_folder
from .errors import DevError, NotInstalledError
from .external import ANSWER_S, ExternalCluster
from .files import disk_use, hold, megabytes, tail, write_atomically, writing
from .jvm import KafkaJava
from .maven import MavenResolver, java
from .process import Ending, java_environment, start_detached
from .progress import PlainProgress, Progress
from .record import BrokerRecord, BrokerStatus, State

READY_S = 120.0  # measured: 1.5 s, 4 s without the class cache, 33 s with eight processes for each core
ASK_S = 0.5  # for the first attempts to connect and be answered: on a machine under load they take longer than this
STOP_S = 60.0  # measured: 0.3 s, and 7 s when Java writes its class cache
FREE_BYTES = 200_000_000  # below this Kafka would soon die of a full disk
LOG_LINES = 12  # of Kafka's log, shown when it dies at start
STARTS = 3  # with new ports each, when somebody takes the ones we chose

ELSEWHERE = f"set {config.HOME} to a folder elsewhere"


def running_address(home: Path) -> str | None:
    """The bootstrap servers of the broker that runs for this home, or None. Asks the system, not the broker.

    None too where the packages for a local broker are not installed: none can have been started there.
    """
    record = BrokerRecord.read(home / "kafka" / "broker.json")
    try:
        return record.bootstrap_servers if record and record.is_alive else None
    except NotInstalledError:
        return None


def _answers(record: BrokerRecord, timeout_s: float) -> bool:
    return probe.answers(KafkaSettings(record.bootstrap_servers), timeout_s)


class DevBroker:
    """The broker of one home folder, or the cluster ``external`` instead, which is only ever looked at.

    All methods raise `DevError` when they can't do what they say.
    """

    def __init__(
        self,
        home: Path,
        *,
        external: str | None = None,
        port: int | None = None,
        first_port: int | None = None,
        progress: Progress | None = None,
        cache: ArtifactCache | None = None,
        deploy: Path | None = None,
    ) -> None:
        """``port``: this one or an error. Without it the last start's if it is free, or ``first_port``, or any.

        ``deploy``: the folder with Kafka's lock and settings, if not Kantor's own.
        """
        self.folder = home.absolute() / "kafka"
        self.data = self.folder / "data"
        self.logs = self.folder / "logs"
        self.log = self.logs / "server.log"
        self._state = self.folder / "broker.json"
        self._port, self._first_port = port, first_port
        self._deploy = deploy
        self._progress = progress or PlainProgress(lambda _message: None)
        self._external = ExternalCluster(external, self._progress.say) if external else None
        self._cache = cache or ArtifactCache(cache_folder(os.environ), MavenResolver)

    def start(self) -> str:
        """The bootstrap servers of a broker that answers: the one that runs, else a new one on the kept data."""
        if self._external:
            return self._external.start()
        deploy = self._deploy or config.deploy_folder()
        lock = Lock.read(deploy / "jgo.lock.toml")
        with self._alone():
            record = BrokerRecord.read(self._state)
            if record and record.is_alive:
                return self._join(record)
            if record and record.process:
                record.process.await_end()
                self._say(f"{lock.title} (pid {record.pid}) ended without a stop; it recovers its data now.")
            chosen = self._choose_ports(record)
            kafka = self._java(deploy, lock)
            self._check_space()
            if not self.data.exists():
                self._format(kafka, deploy, *chosen)
            for attempt in range(1, STARTS + 1):
                self._say(f"Starting {lock.title} {lock.version}.")
                try:
                    return self._launch(kafka, deploy, lock.version, *chosen)
                except ports.PortTakenError:
                    if self._port or attempt == STARTS:
                        raise
                    chosen = self._choose_ports(record)
        raise AssertionError("unreachable")

    def stop(self) -> Ending:
        """Stops the broker of this home, if it runs. Its data stay. An external cluster is not stopped, and hides none of
        ours that was started before it was named."""
        if self._external and not self._runs_ours():
            return self._external.stop()
        if not self.folder.exists():
            return "not running"
        with self._alone():
            return self._stop()

    def _runs_ours(self) -> bool:
        record = BrokerRecord.read(self._state)
        return record is not None and record.is_alive

    def status(self) -> BrokerStatus:
        if self._external:
            return self._external.status()
        data, used = str(self.data), disk_use(self.data)
        record = BrokerRecord.read(self._state)
        if record is None:
            return BrokerStatus("stopped", False, data=data, disk_bytes=used)
        if not record.is_alive:
            ended: State = "died" if record.pid else "stopped"
            return BrokerStatus(
                ended, False, version=record.version, data=data, disk_bytes=used, log=str(self.log)
            )
        return BrokerStatus(
            "running" if _answers(record, ANSWER_S) else "unreachable",
            False,
            record.bootstrap_servers,
            record.pid,
            record.version,
            record.started_at,
            data,
            used,
            str(self.log),
        )

    def reset(self) -> Ending:
        """Stops the broker and deletes its data, logs and ports: the next start is a first one."""
        if self._external:
            return self._external.reset()
        if not self.folder.exists():
            return "not running"
        with self._alone():
            ending = self._stop()
            with writing(self.folder, "delete it by hand"):
                for path in self.folder.iterdir():
                    if path.is_dir():
                        shutil.rmtree(path)
                    elif path.name != "lock":
                        path.unlink()
        return ending

    def kill(self) -> None:
        """Ends the broker as a power cut would, for tests. The next `start` recovers."""
        record = BrokerRecord.read(self._state)
        if record and record.process:
            record.process.kill()

    # -- the parts, called with the lock held

    def _join(self, record: BrokerRecord) -> str:
        if self._port and self._port != record.port:
            raise DevError(
                f"Kafka is already running at {record.bootstrap_servers}. For port {self._port}, `kantor dev stop` it first."
            )
        self._say(f"Apache Kafka {record.version} is already running (pid {record.pid}).")
        self._await_ready(record, log_start=0)
        return record.bootstrap_servers

    def _launch(self, kafka: KafkaJava, deploy: Path, version: str, port: int, controller_port: int) -> str:
        token = uuid.uuid4().hex
        log_start = self.log.stat().st_size if self.log.exists() else 0
        properties = self.folder / "server.properties"
        text = config.server_properties(deploy / "server.properties", self.data, port, controller_port)
        writes_cache = kafka.writes_cache()
        with writing(self.folder, ELSEWHERE):
            write_atomically(properties, text)
            kafka.caches.mkdir(exist_ok=True)
            now = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
            command = kafka.server(properties, token)
            process = start_detached(command, token, self.folder, self.logs / "console.log")
            try:
                record = BrokerRecord(
                    bootstrap_servers=f"127.0.0.1:{port}",
                    port=port,
                    controller_port=controller_port,
                    version=version,
                    pid=process.pid,
                    token=token,
                    started_at=now,
                    writes_cache=writes_cache,
                )
                record.write(self._state)
                self._await_ready(record, log_start)
            except BaseException:  # a Ctrl-C too: nothing half-started stays behind
                process.stop(STOP_S)
                kafka.drop_cache(token)
                record.stopped().write(self._state)
                raise
        return record.bootstrap_servers

    def _await_ready(self, record: BrokerRecord, log_start: int) -> None:
        began = time.monotonic()
        patience = ASK_S
        while not _answers(record, patience):
            if not record.is_alive:
                raise self._death(record, log_start)
            waited = time.monotonic() - began
            # Short at first, so that a death is soon seen; but where all is slow, an answer is, too.
            patience = max(ASK_S, waited / 4)
            if waited > READY_S:
                raise DevError(
                    f"Kafka (pid {record.pid}) doesn't answer at {record.bootstrap_servers} after {READY_S:.0f} s. "
                    f"Look into {self.log}; `kantor dev stop`, then start again."
                )

    def _death(self, record: BrokerRecord, log_start: int) -> DevError:
        lines = tail(self.log, log_start) + tail(self.logs / "console.log", 0)
        text = "\n".join(lines)
        if "Address already in use" in text:
            return ports.PortTakenError(
                f"Port {record.port} or {record.controller_port} was taken just now. Start again."
            )
        said = [line for line in lines if not line.startswith(("\tat ", "\t... ", "WARNING: "))]
        last = "\n".join(f"  {line}" for line in said[-LOG_LINES:])
        reason = "The disk is full. " if "No space left on device" in text else ""
        return DevError(f"Kafka died at start. {reason}The last lines of {self.log}:\n{last}")

    def _stop(self) -> Ending:
        record = BrokerRecord.read(self._state)
        if record is None or record.process is None:
            return "not running"
        if record.writes_cache:
            self._say("Stopping. This once it takes some seconds: Java keeps what makes later starts quick.")
        ending = record.process.stop(STOP_S)
        record.stopped().write(self._state)
        return ending

    def _format(self, kafka: KafkaJava, deploy: Path, port: int, controller_port: int) -> None:
        fresh, properties = self.folder / "data.new", self.folder / "format.properties"
        self._say(f"Preparing {self.data}.")
        text = config.server_properties(deploy / "server.properties", fresh, port, controller_port)
        with writing(self.folder, ELSEWHERE):
            shutil.rmtree(fresh, ignore_errors=True)
            write_atomically(properties, text)
            command = kafka.format(properties, config.new_cluster_id())
            done = subprocess.run(
                command, capture_output=True, text=True, check=False, env=java_environment()
            )
            if done.returncode != 0:
                raise DevError(f"Kafka could not prepare {fresh}:\n{(done.stdout + done.stderr).strip()}")
            properties.unlink()
            fresh.rename(self.data)

    def _java(self, deploy: Path, lock: Lock) -> KafkaJava:
        jars = tuple(self._cache.ensure(lock, self._progress))
        program, major = java()
        settings = deploy / "log4j2.properties"
        return KafkaJava(program, major, jars, settings, self.logs, self._cache.folder / "java")

    def _choose_ports(self, record: BrokerRecord | None) -> tuple[int, int]:
        return ports.choose(self._port, self._first_port, record, self._say)

    def _check_space(self) -> None:
        free = shutil.disk_usage(self.folder).free
        if free < FREE_BYTES:
            raise DevError(
                f"Only {megabytes(free)} are free at {self.folder}; Kafka needs {megabytes(FREE_BYTES)}. "
                f"Free some space, or {ELSEWHERE}."
            )

    @contextmanager
    def _alone(self) -> Iterator[None]:
        with writing(self.folder, ELSEWHERE):
            self.logs.mkdir(parents=True, exist_ok=True)
            lock = (self.folder / "lock").open("a")
        with lock:
            hold(lock, lambda: self._say("Another `kantor dev` is at work here; waiting for it."))
            yield

    def _say(self, message: str) -> None:
        self._progress.say(message)
