"""Kafka's Java command lines, and what makes them quick: Java's own cache of loaded and linked classes (JEP 483, 514).

Without it most of a start goes into reading classes. The first orderly stop on a machine writes the cache, which takes
that stop some seconds; all later starts of the same files use it. A start never depends on it: Java goes on without
one that is absent or doesn't fit.
"""

from __future__ import annotations

import hashlib
import os
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
        missing = self.missing_class_cache
        caching = (
            [f"-XX:AOTCacheOutput={_fresh(missing, token)}", "-Xlog:aot*=off"] if missing else self._caching()
        )
        return [*self._java(), *caching, f"-Dkantor.token={token}", "kafka.Kafka", str(properties)]

    def format(self, properties: Path, cluster_id: str) -> list[str]:
        """The command that prepares a data folder."""
        short_lived = self._caching() or ["-XX:TieredStopAtLevel=1"]
        storage_tool = [
            "kafka.tools.StorageTool",
            "format",
            "--cluster-id",
            cluster_id,
            "--config",
            str(properties),
        ]
        return [*self._java(), *short_lived, *storage_tool]

    @property
    def missing_class_cache(self) -> Path | None:
        """Where the next broker writes a cache when it is stopped; None if there is one, or this Java can't."""
        return None if self.major < CACHING_SINCE or self._class_cache.exists() else self._class_cache

    @property
    def _class_cache(self) -> Path:
        """One for exactly these files, this Java and these flags."""
        files = [f"{path} {path.stat().st_mtime_ns}" for path in (self.java, *self.classpath)]
        key = hashlib.sha256("\n".join([*files, *FLAGS]).encode()).hexdigest()[:16]
        return self.caches / f"kafka-{key}.aot"

    def _caching(self) -> list[str]:
        if self.major < CACHING_SINCE or not self._class_cache.exists():
            return []
        return [f"-XX:AOTCache={self._class_cache}", "-Xlog:aot*=off"]

    def _java(self) -> list[str]:
        logging = [f"-Dlog4j2.configurationFile={self.logging}", f"-Dkantor.logs={self.logs}"]
        return [
            str(self.java),
            *FLAGS,
            *logging,
            "-cp",
            os.pathsep.join(str(path) for path in self.classpath),
        ]


def keep_class_cache(cache: Path, token: str) -> None:
    """After the broker with ``token`` ended: keeps the cache that it wrote, if it is complete."""
    fresh = _fresh(cache, token)
    unfinished = Path(f"{fresh}.config")  # Java deletes it when the cache is complete
    if fresh.exists() and not unfinished.exists():
        fresh.replace(cache)
    drop_class_cache(cache, token)


def drop_class_cache(cache: Path, token: str) -> None:
    """Deletes what a broker that was not stopped in order may have left of its cache."""
    _fresh(cache, token).unlink(missing_ok=True)
    Path(f"{_fresh(cache, token)}.config").unlink(missing_ok=True)


def _fresh(cache: Path, token: str) -> Path:
    return cache.with_suffix(f".{token}")
