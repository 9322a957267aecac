"""Third-party files by name, version and sha256: fetched once, kept in the user's cache, checked at every use.

A lock file (``deploy/*/jgo.lock.toml``) names each file; where files come from is the resolver's business alone
(`maven.py`). Every checkout shares one cache, addressed by content:

    <cache>/artifacts/<sha256>/<file name>     complete and checked, or absent
    <cache>/staging-*/                         a fetch under way; what a killed one left is deleted by the next
    <cache>/fetch.lock                         one process fetches, the others wait for it
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import threading
import tomllib
from collections.abc import Callable, Mapping
from concurrent.futures import FIRST_EXCEPTION, CancelledError, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from .errors import DevError
from .files import hold, is_of_disk, megabytes, writing
from .progress import Progress

PARALLEL_FETCHES = 6  # Kafka is 46 files, most of them small: the time goes into round trips
ATTEMPTS = 3  # for each file; a connection that breaks is normal, three in a row are not


@dataclass(frozen=True, slots=True)
class Artifact:
    """One file as Maven names it, with the bytes we expect."""

    group: str
    name: str
    version: str
    packaging: str
    classifier: str
    sha256: str
    size: int  # bytes

    @property
    def file_name(self) -> str:
        classifier = f"-{self.classifier}" if self.classifier else ""
        return f"{self.name}-{self.version}{classifier}.{self.packaging}"

    def __str__(self) -> str:
        return f"{self.group}:{self.name}:{self.version}"


@dataclass(frozen=True, slots=True)
class Lock:
    """What a lock file says. ``title`` and ``version`` are what messages call it."""

    path: Path
    title: str
    version: str
    artifacts: tuple[Artifact, ...]

    @property
    def size(self) -> int:
        return sum(artifact.size for artifact in self.artifacts)

    @classmethod
    def read(cls, path: Path) -> Lock:
        """Raises `DevError` if the lock is missing or malformed: it is part of Kantor, so install Kantor again."""
        try:
            content = tomllib.loads(path.read_text(encoding="utf-8"))
            artifacts = tuple(
                Artifact(
                    group=entry["groupId"],
                    name=entry["artifactId"],
                    version=entry["version"],
                    packaging=entry["packaging"],
                    classifier=entry.get("classifier", ""),
                    sha256=entry["sha256"],
                    size=entry["size"],
                )
                for entry in content["dependencies"]
            )
            return cls(path, content["environment"]["title"], content["environment"]["version"], artifacts)
        except (OSError, KeyError, TypeError, tomllib.TOMLDecodeError) as error:
            raise DevError(
                f"The lock file {path} can't be read ({error!r}). Install Kantor again."
            ) from error


class Resolver(Protocol):
    """Where files come from."""

    def fetch(self, artifact: Artifact, folder: Path, advance: Callable[[int], None]) -> Path:
        """Puts the file somewhere under ``folder`` (its own, empty) and says where; ``advance`` hears of each part.

        Raises `OSError` when the source can't be reached or breaks off (worth another try), `DevError` when trying
        again is of no use.
        """


def cache_folder(environment: Mapping[str, str]) -> Path:
    base = environment.get("XDG_CACHE_HOME") or ""
    return (Path(base) if Path(base).is_absolute() else Path.home() / ".cache") / "kantor"


@dataclass(frozen=True, slots=True)
class ArtifactCache:
    folder: Path
    resolver: Callable[[], Resolver]  # called only when something has to be fetched

    def ensure(self, lock: Lock, progress: Progress) -> list[Path]:
        """The lock's files, in its order, each with the sha256 that the lock demands.

        Raises `DevError` when a file has other bytes than the lock says, or can't be fetched or stored.
        """
        if self._missing(lock):
            with writing(self.folder, "put the cache elsewhere (XDG_CACHE_HOME)"):
                self.folder.mkdir(parents=True, exist_ok=True)
                with (self.folder / "fetch.lock").open("a") as file:
                    hold(file, lambda: progress.say("Another process is fetching; waiting for it."))
                    for leftover in self.folder.glob("staging-*"):
                        shutil.rmtree(leftover, ignore_errors=True)
                    self._fetch(lock, self._missing(lock), progress)
        for artifact in lock.artifacts:
            self._check(artifact, self._path(artifact), lock, "Delete that file and start again")
        return [self._path(artifact) for artifact in lock.artifacts]

    def _path(self, artifact: Artifact) -> Path:
        return self.folder / "artifacts" / artifact.sha256 / artifact.file_name

    def _missing(self, lock: Lock) -> list[Artifact]:
        return [artifact for artifact in lock.artifacts if not self._path(artifact).exists()]

    def _fetch(self, lock: Lock, missing: list[Artifact], progress: Progress) -> None:
        if not missing:
            return
        size = sum(artifact.size for artifact in missing)
        free = shutil.disk_usage(self.folder).free
        if free < size:
            raise DevError(
                f"Only {megabytes(free)} are free at {self.folder}; {lock.title} takes {megabytes(size)}. "
                "Free some space, or put the cache elsewhere (XDG_CACHE_HOME)."
            )
        resolver = self.resolver()
        staging = Path(tempfile.mkdtemp(prefix="staging-", dir=self.folder))
        over = threading.Event()
        executor = ThreadPoolExecutor(PARALLEL_FETCHES, thread_name_prefix="fetch")
        try:
            with progress.task(f"Fetching {lock.title} {lock.version}", len(missing), size) as task:

                def advance(size: int) -> None:
                    if over.is_set():
                        raise CancelledError  # a Ctrl-C or another file's failure: don't finish a long download
                    task.advance(size)

                futures = [
                    executor.submit(self._fetch_one, resolver, lock, a, staging, advance) for a in missing
                ]
                finished, _ = wait(futures, return_when=FIRST_EXCEPTION)
                for future in finished:
                    future.result()
        except OSError as error:
            if is_of_disk(error):
                raise
            raise DevError(
                f"{lock.title} {lock.version} is not in {self.folder} yet and could not be fetched: {error}\n"
                "Connect to the network for this first start; a mirror is set under [repositories] in jgo's "
                "settings file. Later starts need no network."
            ) from error
        finally:
            over.set()
            executor.shutdown(wait=True, cancel_futures=True)
            shutil.rmtree(staging, ignore_errors=True)

    def _fetch_one(
        self,
        resolver: Resolver,
        lock: Lock,
        artifact: Artifact,
        staging: Path,
        advance: Callable[[int], None],
    ) -> None:
        for attempt in range(1, ATTEMPTS + 1):
            own = Path(tempfile.mkdtemp(dir=staging))
            try:
                fetched = resolver.fetch(artifact, own, advance)
                break
            except OSError as error:
                if attempt == ATTEMPTS or is_of_disk(error):
                    raise
        self._check(
            artifact,
            fetched,
            lock,
            "It was not kept. Try again; if it stays so, the source was tampered with",
        )
        final = self._path(artifact)
        final.parent.mkdir(parents=True, exist_ok=True)
        with fetched.open("rb+") as file:
            os.fsync(file.fileno())
        fetched.replace(final)

    def _check(self, artifact: Artifact, path: Path, lock: Lock, remedy: str) -> None:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if found != artifact.sha256:
            raise DevError(
                f"{artifact} is not the file that {lock.path.name} promises: {path} has sha256 {found}, "
                f"expected {artifact.sha256}. {remedy}."
            )
