"""Kafka's Java command lines, and what makes them quick: Java's own cache of loaded and linked classes (JEP 483, 514).

Without it most of a start goes into reading classes. The first broker on a machine writes the cache when it is stopped,
which takes that stop some seconds; later starts of the same files use it. A start never depends on it: Java goes on
without one that is absent or doesn't fit.

    <caches>/kafka-<key>.aot                complete; the key stands for the files, the Java and the flags
    <caches>/kafka-<key>.<token>            what the broker with that token wrote: complete if ...
    <caches>/kafka-<key>.<token>.config     ... this is not there (any more)
"""

from __future__ import annotations

import hashlib
import os
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

# Serial: as fast as G1 here and a third less memory. docs/decisions/0002 has the numbers.
FLAGS = (
    "-Xmx1g",
    "-XX:+UseSerialGC",
    "-Djava.awt.headless=true",
    "--enable-native-access=ALL-UNNAMED",
)
CACHING_SINCE = 25  # the first Java that writes such a cache by itself
STALE_S = 3600.0  # writing one takes seconds; what is older was left by a Java that was killed


@dataclass(frozen=True, slots=True)
class KafkaJava:
    java: Path
    major: int  # Java's version
    classpath: tuple[Path, ...]
    logging: Path  # log4j2's settings
    logs: Path
    caches: Path  # the folder of Java's caches

    def server(self, properties: Path, token: str) -> list[str]:
        """The command of a broker whose process bears ``token``."""
        caching = [*self._writing(token), "-Xlog:aot*=off"] if self.writes_cache() else self._using()
        return [*self._java(), *caching, f"-Dkantor.token={token}", "kafka.Kafka", str(properties)]

    def format(self, properties: Path, cluster_id: str) -> list[str]:
        """The command that prepares a data folder."""
        short_lived = self._using() or ["-XX:TieredStopAtLevel=1"]
        storage_tool = [
            "kafka.tools.StorageTool",
            "format",
            "--cluster-id",
            cluster_id,
            "--config",
            str(properties),
        ]
        return [*self._java(), *short_lived, *storage_tool]

    def writes_cache(self) -> bool:
        """Whether the next broker will write a cache when it is stopped."""
        return self.major >= CACHING_SINCE and not self._find_cache()

    def drop_cache(self, token: str) -> None:
        """Deletes what a broker wrote that never came up: it knows too few classes."""
        for path in self.caches.glob(f"kafka-*.{token}*"):
            path.unlink(missing_ok=True)

    def _using(self) -> list[str]:
        if self.major < CACHING_SINCE or not self._find_cache():
            return []
        return [f"-XX:AOTCache={self._cache}", "-Xlog:aot*=off"]

    def _writing(self, token: str) -> list[str]:
        return [f"-XX:AOTCacheOutput={self._cache.with_suffix(f'.{token}')}"]

    def _find_cache(self) -> bool:
        """Whether there is a cache. Takes over one that a broker has completed; deletes what killed ones left."""
        for unfinished in self.caches.glob(f"{self._cache.stem}.*.config"):
            with suppress(FileNotFoundError):  # another process does the same
                if unfinished.stat().st_mtime < time.time() - STALE_S:
                    unfinished.with_suffix("").unlink(missing_ok=True)  # before what marks it as unfinished
                    unfinished.unlink()
        for written in self.caches.glob(f"{self._cache.stem}.*"):
            with suppress(FileNotFoundError):
                if written.suffix not in (".aot", ".config") and not Path(f"{written}.config").exists():
                    written.replace(self._cache)
        return self._cache.exists()

    @property
    def _cache(self) -> Path:
        files = [f"{path} {path.stat().st_mtime_ns}" for path in (self.java, *self.classpath)]
        key = hashlib.sha256("\n".join([*files, *FLAGS]).encode()).hexdigest()[:16]
        return self.caches / f"kafka-{key}.aot"

    def _java(self) -> list[str]:
        logging = [f"-Dlog4j2.configurationFile={self.logging}", f"-Dkantor.logs={self.logs}"]
        return [
            str(self.java),
            *FLAGS,
            *logging,
            "-cp",
            os.pathsep.join(str(path) for path in self.classpath),
        ]
