"""Apicurio Registry for the tests: what a Confluent client sees of a schema registry, kept in memory."""

from __future__ import annotations

import os
import tarfile
import tempfile
import time
import urllib.error
import urllib.request
import uuid
from pathlib import Path

from kantor_orchestrator.dev import ports
from kantor_orchestrator.dev.artifacts import ArtifactCache, Lock, cache_folder
from kantor_orchestrator.dev.files import hold, tail
from kantor_orchestrator.dev.maven import MavenResolver, java
from kantor_orchestrator.dev.process import OwnProcess, start_detached
from kantor_orchestrator.dev.progress import PlainProgress
from waiting import PATIENCE

LOCK = Path(__file__).parents[2] / "deploy" / "registry" / "jgo.lock.toml"
STOP_S = 10.0
STARTS = 3  # with new ports each, when somebody takes the ones we chose


class Registry:
    """One registry on a free loopback port. ``url`` is its Confluent-compatible API, version 7."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._process: OwnProcess | None = None
        self.url = ""

    def start(self) -> str:
        """Returns ``url`` once the registry answers there."""
        for attempt in range(1, STARTS + 1):
            try:
                return self._launch()
            except ports.PortTakenError:
                if attempt == STARTS:
                    raise
        raise AssertionError("unreachable")

    def _launch(self) -> str:
        port, token = ports.free_port(), uuid.uuid4().hex
        self.url = f"http://127.0.0.1:{port}/apis/ccompat/v7"
        program, _ = java()
        command = [
            str(program),
            "-Xmx512m",
            "-XX:+UseSerialGC",
            "-XX:TieredStopAtLevel=1",
            f"-Dkantor.token={token}",
            "-Dquarkus.http.host=127.0.0.1",
            f"-Dquarkus.http.port={port}",
            "-Dquarkus.management.host=127.0.0.1",
            f"-Dquarkus.management.port={ports.free_port(port)}",
            "-jar",
            str(unpacked() / "quarkus-run.jar"),
        ]
        console = self._folder / "console.log"
        self._process = start_detached(command, token, self._folder, console)
        deadline = time.monotonic() + PATIENCE  # measured: 6 s on two idle cores
        while not _answers(f"{self.url}/subjects"):
            if not self._process.is_alive() or time.monotonic() > deadline:
                last = "\n".join(tail(console, 0)[-20:])
                if "Address already in use" in last or "seems to be in use" in last:
                    raise ports.PortTakenError(f"port {port} was taken just now:\n{last}")
                raise RuntimeError(f"the registry did not start on port {port}:\n{last}")
        return self.url

    def stop(self) -> None:
        if self._process is not None:
            self._process.stop(STOP_S)


def unpacked() -> Path:
    """The registry's folder in the user's cache, unpacked once for all checkouts."""
    cache = ArtifactCache(cache_folder(os.environ), MavenResolver)
    lock = Lock.read(LOCK)
    (archive,) = cache.ensure(lock, PlainProgress(print))
    place = cache.folder / "unpacked" / lock.artifacts[0].sha256
    place.parent.mkdir(exist_ok=True)
    with (place.parent / "lock").open("a") as file:
        hold(file, lambda: None)
        if not place.exists():
            with tempfile.TemporaryDirectory(dir=place.parent) as partial, tarfile.open(archive) as tar:
                tar.extractall(f"{partial}/all", filter="data")
                Path(partial, "all").rename(place)
    return place


def _answers(url: str) -> bool:
    """Whether there is a good answer; waits 100 ms before it says no, so that it may be asked in a loop."""
    try:
        with urllib.request.urlopen(url, timeout=5) as response:
            return bool(response.status == 200)
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        time.sleep(0.1)
        return False
