"""One Apache Kafka node for one machine: `start`, `stop`, `status`, `reset`.

    <home>/kafka/broker.json        what runs, or ran: pid, token, ports, version
    <home>/kafka/data/              Kafka's data; formatted under another name, then renamed: complete or absent
    <home>/kafka/logs/server.log    Kafka's log; console.log has what Java itself printed
    <home>/kafka/lock               one process at a time starts or stops

The broker lives on when we end. Whoever comes next finds it through `broker.json` and trusts it only if the process
bears the token written there.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from . import config, probe
from .artifacts import ArtifactCache, Lock, cache_folder
from .errors import DevError
from .files import disk_use, locked, megabytes, write_atomically, writing
from .maven import MavenResolver, java
from .process import Ending, OwnProcess, start_detached
from .progress import PlainProgress, Progress

READY_S = 60.0  # measured: 2 s; a machine under load takes several times that
STOP_S = 30.0  # measured: 1 s
FREE_BYTES = 200_000_000  # below this Kafka would soon die of a full disk
LOG_LINES = 12  # of Kafka's log, shown when it dies at start
STARTS = 3  # with new ports each, when somebody takes the ones we chose

# Serial: on two cores other collectors' threads take more than they give (docs/decisions/0002).
JVM = ("-Xmx1g", "-XX:+UseSerialGC", "-Djava.awt.headless=true", "--enable-native-access=ALL-UNNAMED")

ELSEWHERE = f"set {config.HOME} to a folder elsewhere"


@dataclass(frozen=True, slots=True)
class Record:
    """What `broker.json` says. ``pid`` is None after an orderly stop; the ports are kept for the next start."""

    bootstrap_servers: str
    port: int
    controller_port: int
    version: str
    pid: int | None
    token: str
    started_at: str  # RFC 3339, UTC

    @property
    def process(self) -> OwnProcess | None:
        return None if self.pid is None else OwnProcess(self.pid, self.token)


@dataclass(frozen=True, slots=True)
class Status:
    """``died``: it was started and never stopped, and is gone. ``unreachable``: it is there and doesn't answer."""

    state: Literal["running", "unreachable", "stopped", "died"]
    external: bool  # named by KANTOR_BOOTSTRAP_SERVERS: none of ours
    bootstrap_servers: str | None
    pid: int | None
    version: str | None
    started_at: str | None
    data: str | None
    disk_bytes: int | None
    log: str | None


def running_address(home: Path) -> str | None:
    """The bootstrap servers of the broker that runs for this home, or None. Asks the system, not the broker."""
    record = _read(home / "kafka" / "broker.json")
    if record is None or record.process is None or not record.process.is_alive():
        return None
    return record.bootstrap_servers


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
        progress: Progress | None = None,
        cache: ArtifactCache | None = None,
    ) -> None:
        """``port``: this one or an error; without it, the last start's port if it is free, else another."""
        self.folder = home.absolute() / "kafka"
        self.data = self.folder / "data"
        self.logs = self.folder / "logs"
        self._external = external or None
        self._port = port
        self._progress = progress or PlainProgress(lambda _message: None)
        self._cache = cache or ArtifactCache(cache_folder(os.environ), MavenResolver)

    def start(self) -> str:
        """The bootstrap servers of a broker that answers: the one that runs, else a new one on the kept data."""
        if self._external:
            return self._use_external(self._external)
        deploy = config.deploy_folder()
        lock = Lock.read(deploy / "jgo.lock.toml")
        with self._alone():
            record = self._record()
            if record and record.process and record.process.is_alive():
                self._say(
                    f"{lock.title} is already running at {record.bootstrap_servers} (pid {record.pid})."
                )
                self._await_ready(record, 0)
                return record.bootstrap_servers
            if record and record.pid is not None:
                self._say(
                    f"{lock.title} was not stopped (pid {record.pid} is gone); it recovers its data now."
                )
            classpath = os.pathsep.join(str(path) for path in self._cache.ensure(lock, self._progress))
            self._check_space()
            for attempt in range(1, STARTS + 1):
                port, controller_port = self._choose_ports(record)
                try:
                    return self._start(deploy, lock.version, classpath, port, controller_port)
                except PortTakenError:
                    if attempt == STARTS or self._port is not None:
                        raise
                    record = None
        raise AssertionError("unreachable")

    def stop(self) -> Ending:
        """Stops the broker, if it runs. Its data stay."""
        if self._external:
            raise DevError(f"The cluster {self._external} ({config.BOOTSTRAP_SERVERS}) is not ours to stop.")
        if not self.folder.exists():
            return "not running"
        with self._alone():
            return self._stop()

    def status(self) -> Status:
        if self._external:
            state: Literal["running", "unreachable"] = (
                "running" if probe.answers(self._external, 5) else "unreachable"
            )
            return Status(state, True, self._external, None, None, None, None, None, None)
        record = self._record()
        used = disk_use(self.data)
        if record is None:
            return Status("stopped", False, None, None, None, None, str(self.data), used, None)
        log = str(self.logs / "server.log")
        if record.process is None:
            return Status("stopped", False, None, None, record.version, None, str(self.data), used, log)
        if not record.process.is_alive():
            return Status("died", False, None, None, record.version, None, str(self.data), used, log)
        return Status(
            "running" if probe.answers(record.bootstrap_servers, 5) else "unreachable",
            False,
            record.bootstrap_servers,
            record.pid,
            record.version,
            record.started_at,
            str(self.data),
            used,
            log,
        )

    def reset(self) -> Ending:
        """Stops the broker and deletes its data, logs and ports: the next start is a first one."""
        if self._external:
            raise DevError(f"The cluster {self._external} ({config.BOOTSTRAP_SERVERS}) is not ours to empty.")
        if not self.folder.exists():
            return "not running"
        with self._alone():
            ending = self._stop()
            with writing(self.folder, "delete it yourself"):
                for path in self.folder.iterdir():
                    if path.is_dir():
                        shutil.rmtree(path)
                    elif path.name != "lock":
                        path.unlink()
        return ending

    def kill(self) -> None:
        """Ends the broker as a power cut would, for tests. The next `start` recovers."""
        record = self._record()
        if record and record.process:
            record.process.kill()

    # -- the parts of start and stop, under the lock

    def _start(self, deploy: Path, version: str, classpath: str, port: int, controller_port: int) -> str:
        if not self.data.exists():
            self._format(deploy, classpath)
        properties = self.folder / "server.properties"
        with writing(self.folder, ELSEWHERE):
            text = config.server_properties(deploy / "server.properties", self.data, port, controller_port)
            write_atomically(properties, text)
        token = uuid.uuid4().hex
        log = self.logs / "server.log"
        log_start = log.stat().st_size if log.exists() else 0
        command = [*self._java(deploy, classpath), f"-Dkantor.token={token}", "kafka.Kafka", str(properties)]
        with writing(self.folder, ELSEWHERE):
            process = start_detached(command, token, self.folder, self.logs / "console.log")
            now = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
            record = Record(f"127.0.0.1:{port}", port, controller_port, version, process.pid, token, now)
            self._write(record)
        try:
            self._await_ready(record, log_start)
        except BaseException:  # a Ctrl-C too: nothing half-started stays behind
            process.stop(STOP_S)
            self._write_stopped(record)
            raise
        return record.bootstrap_servers

    def _await_ready(self, record: Record, log_start: int) -> None:
        deadline = time.monotonic() + READY_S
        while not probe.answers(record.bootstrap_servers, 0.5):
            if record.process is None or not record.process.is_alive():
                raise self._death(record, log_start)
            if time.monotonic() > deadline:
                raise DevError(
                    f"Kafka (pid {record.pid}) doesn't answer at {record.bootstrap_servers} after {READY_S:.0f} s. "
                    f"Its log: {self.logs / 'server.log'}. `kantor dev stop`, then start again."
                )

    def _stop(self) -> Ending:
        record = self._record()
        if record is None or record.process is None:
            return "not running"
        ending = record.process.stop(STOP_S)
        self._write_stopped(record)
        return ending

    def _format(self, deploy: Path, classpath: str) -> None:
        fresh = self.folder / "data.new"
        properties = self.folder / "format.properties"
        with writing(self.folder, ELSEWHERE):
            shutil.rmtree(fresh, ignore_errors=True)
            write_atomically(
                properties, config.server_properties(deploy / "server.properties", fresh, 9092, 9093)
            )
            command = [*self._java(deploy, classpath), "-XX:TieredStopAtLevel=1", "kafka.tools.StorageTool"]
            command += ["format", "--cluster-id", config.new_cluster_id(), "--config", str(properties)]
            done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=self.folder)
            if done.returncode != 0:
                raise DevError(f"Kafka could not prepare {fresh}:\n{(done.stdout + done.stderr).strip()}")
            fresh.rename(self.data)
            properties.unlink()

    def _java(self, deploy: Path, classpath: str) -> list[str]:
        logging = [f"-Dlog4j2.configurationFile={deploy / 'log4j2.properties'}", f"-Dkantor.logs={self.logs}"]
        return [str(java()), *JVM, *logging, "-cp", classpath]

    def _choose_ports(self, record: Record | None) -> tuple[int, int]:
        if self._port is not None:
            if not probe.is_free(self._port):
                raise PortTakenError(
                    f"Port {self._port} on 127.0.0.1 is taken. Stop what listens there, or start with another --port, "
                    "or with none: then a free one is found."
                )
            port = self._port
        elif record and probe.is_free(record.port):
            port = record.port
        else:
            port = probe.free_port()
            if record:
                self._say(f"Port {record.port}, used last time, is taken; using {port}.")
        if record and record.controller_port != port and probe.is_free(record.controller_port):
            return port, record.controller_port
        return port, probe.free_port(port)

    def _check_space(self) -> None:
        free = shutil.disk_usage(self.folder).free
        if free < FREE_BYTES:
            raise DevError(
                f"Only {megabytes(free)} are free at {self.folder}; Kafka needs {megabytes(FREE_BYTES)}. "
                f"Free some space, or {ELSEWHERE}."
            )

    def _use_external(self, address: str) -> str:
        self._say(f"Using the cluster {address} ({config.BOOTSTRAP_SERVERS}); nothing is started.")
        if not probe.answers(address, 10):
            raise DevError(
                f"The cluster {address} ({config.BOOTSTRAP_SERVERS}) doesn't answer. Check the address, or unset the "
                "variable to use a broker of Kantor's own."
            )
        return address

    def _death(self, record: Record, log_start: int) -> DevError:
        log, console = self.logs / "server.log", self.logs / "console.log"
        lines = _tail(log, log_start) or _tail(console, 0)
        text = "\n".join(lines)
        if "Address already in use" in text:
            return PortTakenError(
                f"Somebody took port {record.port} or {record.controller_port} just now. Start again."
            )
        shown = "\n".join(f"  {line}" for line in lines[-LOG_LINES:])
        reason = "The disk is full. " if "No space left on device" in text else ""
        return DevError(f"Kafka died at start. {reason}Its last words, from {log}:\n{shown}")

    @contextmanager
    def _alone(self) -> Iterator[None]:
        with writing(self.folder, ELSEWHERE):
            self.logs.mkdir(parents=True, exist_ok=True)
            lock = locked(
                self.folder / "lock",
                lambda: self._say("Another `kantor dev` is at work here; waiting for it."),
            )
            lock.__enter__()
        try:
            yield
        finally:
            lock.__exit__(None, None, None)

    def _record(self) -> Record | None:
        return _read(self.folder / "broker.json")

    def _write(self, record: Record) -> None:
        write_atomically(self.folder / "broker.json", json.dumps(asdict(record), indent=2) + "\n")

    def _write_stopped(self, record: Record) -> None:
        self._write(Record(**{**asdict(record), "pid": None}))

    def _say(self, message: str) -> None:
        self._progress.say(message)


class PortTakenError(DevError):
    """The port is somebody else's."""


def _read(path: Path) -> Record | None:
    try:
        return Record(**json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
    except (TypeError, ValueError) as error:
        raise DevError(
            f"{path} can't be read ({error}). Stop its broker if one runs, delete the file, start again."
        ) from error


def _tail(path: Path, start: int) -> list[str]:
    """The lines from byte ``start``; all of them, if the file was rolled over since."""
    if not path.exists():
        return []
    with path.open("rb") as file:
        file.seek(start if start <= path.stat().st_size else 0)
        return file.read().decode("utf-8", "replace").splitlines()
