"""Settings of the orchestrator, from the environment; read once, passed in."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from kantor.errors import ConfigError
from kantor.health import ENV_HOST, ENV_PORT, LOOPBACK, MOST_PORT, of_kubernetes
from kantor.kafka import ENV_BOOTSTRAP, KafkaSettings
from kantor.numbers import whole_number

INTAKE_GROUP = "kantor-intake"
ENGINE_GROUP = "kantor-engine"
VIEW_GROUP = "kantor-view"
#: Of consumers that are polled many times a second: so long does a request to join the group wait on a connection that is mute,
#: and so long does a member that hangs keep its partitions.
NEVER_LONG = {"max.poll.interval.ms": 15_000}

#: In ``home``: where the pages are, while they are served.
ADDRESS_FILE = "api.url"

#: Partitions of the journal when it is made: the most engines that can share the work. Fewer on a local broker.
SHARDS, LOCAL_SHARDS = 24, 4
#: More than any cluster wants: each shard is a partition of five topics.
MOST_SHARDS = 10_000


@dataclass(frozen=True, slots=True)
class Settings:
    """``home`` holds what one machine keeps: the local broker, the shards' stores, the view.

    ``shards``: partitions of the journal, 0 = what the cluster has, else ``default_shards``. ``view_url``: ``sqlite:///path``
    or ``postgresql://...``.
    """

    kafka: KafkaSettings
    home: Path
    view_url: str
    shards: int = 0
    default_shards: int = SHARDS
    registry_url: str = ""
    http_port: int = 0
    http_host: str = LOOPBACK

    @classmethod
    def from_env(cls, *, bootstrap_servers: str | None = None, home: Path | None = None) -> Settings:
        """Raises ``ConfigError`` naming the variable and the remedy."""
        home = home_folder() if home is None else home
        local = _local_broker(home)
        servers = bootstrap_servers or os.environ.get(ENV_BOOTSTRAP) or local
        return cls(
            kafka=KafkaSettings.from_env(servers),
            home=home,
            view_url=os.environ.get("KANTOR_VIEW_URL") or f"sqlite:///{home / 'view.db'}",
            shards=_number("KANTOR_SHARDS", 0, MOST_SHARDS),
            default_shards=LOCAL_SHARDS if servers == local else SHARDS,
            registry_url=os.environ.get("KANTOR_SCHEMA_REGISTRY_URL", ""),
            http_port=_number(ENV_PORT, 0, MOST_PORT),
            http_host=os.environ.get(ENV_HOST) or LOOPBACK,
        )


def home_folder() -> Path:
    """``KANTOR_HOME``, or ``.kantor`` in the current folder. Raises ``ConfigError`` for what can't be a folder's name."""
    found = Path(os.environ.get("KANTOR_HOME") or ".kantor").absolute()
    try:
        found.stat()
    except (FileNotFoundError, NotADirectoryError):
        pass  # it will be made, or what is in its place is told then
    except OSError as error:
        raise ConfigError(
            f"KANTOR_HOME={str(found)!r:.100} can't be a folder: {error.strerror}; name another one"
        ) from error
    return found


def _local_broker(home: Path) -> str | None:
    """The address of the broker that ``kantor dev start`` runs here, if any."""
    try:
        from kantor_orchestrator.dev.broker import running_address
    except ImportError:  # without the dev extra there is no local broker
        return None
    return running_address(home)


def _number(name: str, default: int, most: int) -> int:
    text = os.environ.get(name)
    if not text:
        return default
    number = whole_number(text, most)
    if number is None:
        remedy = of_kubernetes(text, name) or f"; give it a whole number from 0 to {most}"
        raise ConfigError(f"{name} is {text!r:.100}{remedy}")
    return number
