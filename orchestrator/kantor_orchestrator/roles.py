"""The roles of the one program: what each needs, joined here; and how a role lives through trouble.

A role is one process. When Kafka refuses for good (a fenced or fatal client), its clients are thrown away and made anew;
positions are in Kafka, so nothing is lost and nothing is done twice.

Each role imports its own parts alone: most of the time that a process takes to start goes into imports.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from importlib.metadata import version
from threading import Event

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    disable_created_metrics,
    generate_latest,
)

from kantor.errors import ConfigError, KantorError
from kantor.health import HealthServer
from kantor.kafka import Admin
from kantor_orchestrator import topics
from kantor_orchestrator.config import Settings
from kantor_orchestrator.metrics import RoleMetrics
from kantor_orchestrator.pulse import Pulse

log = logging.getLogger("kantor.role")

#: Seconds between attempts to start anew.
_RETRY = 1.0

#: One life of a role: returns when told to stop, raises ``KantorError`` when it must be started anew.
Life = Callable[[Event, Callable[[], None]], None]


class _Exposition:
    content_type = CONTENT_TYPE_LATEST

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry

    def text(self) -> bytes:
        return generate_latest(self._registry)


def intake(settings: Settings, shards: int, registry: CollectorRegistry) -> Life:
    from kantor_orchestrator.intake import Intake
    from kantor_orchestrator.metrics import IntakeMetrics

    metrics = IntakeMetrics(registry)
    return lambda stop, ready: Intake(settings.kafka, shards, metrics).run(stop, ready)


def engine(settings: Settings, shards: int, registry: CollectorRegistry) -> Life:
    from kantor.codec import Codec
    from kantor.schemas import schema_store
    from kantor_orchestrator.definitions.catalogue import DefinitionsTopic
    from kantor_orchestrator.engine import Engine
    from kantor_orchestrator.entries import UNKNOWN_SCHEMA_GRACE
    from kantor_orchestrator.metrics import EngineMetrics

    metrics = EngineMetrics(registry)

    def live(stop: Event, ready: Callable[[], None]) -> None:
        schemas = schema_store(settings.kafka, settings.registry_url)
        topic = DefinitionsTopic(settings.kafka, Codec(schemas), "kantor-engine-definitions")
        # Without a registry, an id that the schemas' topic lacks when read to its end was never published: no waiting.
        grace = UNKNOWN_SCHEMA_GRACE if settings.registry_url else 0.0
        try:
            definitions = topic.load()
            folder = settings.home / "store"
            running = Engine(
                settings.kafka, shards, folder, schemas, definitions, metrics, schema_grace=grace
            )
            running.run(stop, ready)
        finally:
            topic.close()

    return live


def view(settings: Settings, _shards: int, registry: CollectorRegistry) -> Life:
    from kantor_orchestrator.view.role import run_view

    return lambda stop, ready: run_view(settings, stop, ready, registry)


def api(settings: Settings, _shards: int, registry: CollectorRegistry) -> Life:
    from kantor_orchestrator.api.metrics import ApiMetrics
    from kantor_orchestrator.api.server import run_api

    metrics = ApiMetrics(registry)
    return lambda stop, ready: run_api(settings, stop, ready, metrics)


#: By name, in the order in which ``kantor run`` starts them.
ROLES: dict[str, Callable[[Settings, int, CollectorRegistry], Life]] = {
    "intake": intake,
    "engine": engine,
    "view": view,
    "api": api,
}


def run_role(name: str, settings: Settings, stop: Event) -> None:
    """Run one role until ``stop``. Raises ``ConfigError`` for what no retry can mend."""
    disable_created_metrics()  # type: ignore[no-untyped-call]  # a second series a counter, which nobody reads
    registry = CollectorRegistry()
    metrics = RoleMetrics(registry, name, version("kantor"))
    is_ready = Event()
    pulse = Pulse(settings.kafka, f"kantor-{name}-pulse", metrics.reachable)

    def is_well() -> bool:
        """The pages show what is in the view, with or without Kafka; the others do nothing without it."""
        return is_ready.is_set() and (name == "api" or pulse.is_there)

    metrics.ready_is(is_well)
    server = HealthServer(_Exposition(registry), is_well, settings.http_port, settings.http_host)
    pulse.start()
    log.info(
        "metrics on port %d", server.port, extra={"action": "started", "role": name, "port": server.port}
    )

    def ready() -> None:
        if not is_ready.is_set():
            is_ready.set()
            log.info("ready", extra={"action": "ready", "role": name})

    life: Life | None = None
    try:
        while not stop.is_set():
            try:
                if life is None:
                    shards = topics.ensure(Admin(settings.kafka), settings.shards, settings.default_shards)
                    life = ROLES[name](settings, shards, registry)
                life(stop, ready)
            except ConfigError:
                raise
            except KantorError as error:
                is_ready.clear()
                metrics.restarted()
                log.warning("starting anew: %s", error, extra={"action": "role_restarted", "role": name})
                stop.wait(_RETRY)
    finally:
        pulse.stop()
        server.close()
    log.info("stopped", extra={"action": "stopped", "role": name})
