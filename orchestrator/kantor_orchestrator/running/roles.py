"""The roles of the one program: what each needs, joined here; and how a role lives through trouble.

A role is one process. When Kafka refuses for good (a fenced or fatal client), its clients are discarded and created again;
positions are in Kafka, so nothing is lost and nothing is done twice.

Each role imports its own parts alone: most of the time that a process takes to start goes into imports.
"""

from __future__ import annotations

import gc
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

from kantor.errors import ConfigError, KafkaUnavailableError, KantorError
from kantor.health import HealthServer, Readiness
from kantor.kafka import Admin
from kantor_orchestrator.config import Settings
from kantor_orchestrator.formats.sharding import agree
from kantor_orchestrator.metrics import RoleMetrics
from kantor_orchestrator.operations.durability import weaknesses
from kantor_orchestrator.process.handover import when_free
from kantor_orchestrator.process.pulse import Pulse
from kantor_orchestrator.process.thrift import Thrift
from kantor_orchestrator.process.wellness import Wellness

log = logging.getLogger("kantor.role")

#: Seconds between attempts to start again.
_RETRY = 1.0
#: Seconds that a role may take until its loop turns: it makes topics, reads definitions, asks Kafka for much.
_START = 120.0

#: Bytes of the pages that an engine's stores cache, all together.
_PAGES = 16 << 20

#: One life of a role: returns when told to stop, raises ``KantorError`` when it must be started again.
Life = Callable[[Event, Callable[[], None]], None]


class _Exposition:
    content_type = CONTENT_TYPE_LATEST

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry

    def text(self) -> bytes:
        return generate_latest(self._registry)


def intake(settings: Settings, shards: int, registry: CollectorRegistry, wellness: Wellness) -> Life:
    from kantor_orchestrator.intake.loop import Intake
    from kantor_orchestrator.metrics import IntakeMetrics

    metrics = IntakeMetrics(registry)
    return lambda stop, ready: Intake(settings.kafka, shards, metrics, wellness=wellness).run(stop, ready)


def engine(settings: Settings, shards: int, registry: CollectorRegistry, wellness: Wellness) -> Life:
    from kantor.clock import SYSTEM_CLOCK
    from kantor.codec import Codec
    from kantor.schemas import schema_store
    from kantor_orchestrator.definitions.catalogue import DefinitionsTopic
    from kantor_orchestrator.definitions.lookups import Lookups
    from kantor_orchestrator.engine.loop import Engine
    from kantor_orchestrator.metrics import EngineMetrics
    from kantor_orchestrator.process.aside import Aside
    from kantor_orchestrator.store.sqlite import limit_memory

    metrics = EngineMetrics(registry)
    limit_memory(_PAGES)

    def live(stop: Event, ready: Callable[[], None]) -> None:
        schemas = schema_store(settings.kafka, settings.registry_url)
        asking = Aside("engine-definitions")
        lookups = Lookups(schemas, asking, SYSTEM_CLOCK)
        topic = DefinitionsTopic(settings.kafka, Codec(lookups), "kantor-engine-definitions")
        try:
            definitions = topic.load()
            folder = settings.home / "store"
            running = Engine(
                settings.kafka,
                shards,
                folder,
                schemas,
                definitions,
                metrics,
                waits_for_schemas=bool(settings.registry_url),
                wellness=wellness,
            )
            running.run(stop, ready)
        finally:
            topic.close()
            asking.shutdown()

    return live


def view(settings: Settings, _shards: int, registry: CollectorRegistry, wellness: Wellness) -> Life:
    from kantor_orchestrator.view.metrics import CensusMetrics, ViewMetrics
    from kantor_orchestrator.view.role import run_view

    metrics, census = ViewMetrics(registry), CensusMetrics(registry)
    return lambda stop, ready: run_view(settings, stop, ready, metrics, census, wellness)


def api(settings: Settings, _shards: int, registry: CollectorRegistry, wellness: Wellness) -> Life:
    from kantor_orchestrator.api.metrics import ApiMetrics
    from kantor_orchestrator.api.server import run_api

    metrics = ApiMetrics(registry)

    def live(stop: Event, ready: Callable[[], None]) -> None:
        wellness.forget("api")  # it has no loop of its own: its server's threads and tasks wait for requests
        run_api(settings, stop, ready, metrics)

    return live


#: By name, in the order in which ``kantor run`` starts them.
ROLES: dict[str, Callable[[Settings, int, CollectorRegistry, Wellness], Life]] = {
    "intake": intake,
    "engine": engine,
    "view": view,
    "api": api,
}


def _warn(admin: Admin) -> None:
    """Say what the broker does not keep though the decision log relies on it."""
    try:
        for what, remedy in weaknesses(admin):
            log.warning("%s; %s", what, remedy, extra={"action": "not_durable"})
    except KafkaUnavailableError as error:  # mostly an ACL forbids to ask: no reason not to start
        log.info("the topics' settings could not be read: %s", error, extra={"action": "settings_unknown"})


def collect_seldom() -> None:
    """Look for cycles seldom: there are few, and looking for them cost the engine an eighth of its time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)


def run_role(
    name: str, settings: Settings, stop: Event, tell: Callable[[str], None] = lambda _: None
) -> None:
    """Run one role until ``stop``. ``tell`` hears where its ``/readyz`` is. Raises ``ConfigError`` for what no retry can
    mend."""
    disable_created_metrics()  # type: ignore[no-untyped-call]  # a second series a counter, which nobody reads
    registry = CollectorRegistry()
    metrics = RoleMetrics(registry, name, version("kantor"))
    is_ready, trouble = Event(), [""]
    wellness = Wellness()
    pulse = Pulse(settings.kafka, f"kantor-{name}-pulse", metrics.reachable, wellness)

    def readiness() -> Readiness:
        """The pages show what is in the view, with or without Kafka; the others do nothing without it."""
        hangs = wellness.reasons()
        reasons = [] if is_ready.is_set() else [f"it begins{trouble[0]}"]
        reasons += wellness.waits()
        if pulse.is_there or name == "api":
            return Readiness(reasons + hangs, waits=not hangs)
        return Readiness(["Kafka does not answer", *reasons, *hangs])

    metrics.ready_is(lambda: not readiness().reasons)
    metrics.standing_still_is(wellness.longest)
    exposition = _Exposition(registry)
    server = when_free(
        lambda: HealthServer(exposition, readiness, settings.http_port, settings.http_host), stop
    )
    tell(server.url)
    pulse.start()
    thrift = Thrift()
    thrift.start()
    log.info(
        "metrics on port %d", server.port, extra={"action": "started", "role": name, "port": server.port}
    )

    def ready() -> None:
        if not is_ready.is_set():
            is_ready.set()
            trouble[0] = ""
            log.info("ready", extra={"action": "ready", "role": name})

    life: Life | None = None
    collect_seldom()
    try:
        while not stop.is_set():
            wellness.beat(name, _START)
            try:
                if life is None:
                    shards = 0
                    if (
                        name != "api"
                    ):  # it shows what is in the view, and says what is wrong while Kafka is away
                        admin = settings.kafka.admin()
                        shards = agree(settings.kafka, admin, settings.shards, settings.default_shards)
                        if name == "engine":
                            _warn(admin)
                    life = ROLES[name](settings, shards, registry, wellness)
                life(stop, ready)
            except ConfigError:
                raise
            except KantorError as error:
                is_ready.clear()
                wellness.begin_anew()
                trouble[0] = f" again: {error}"
                metrics.restarted()
                log.warning("restarting: %s", error, extra={"action": "role_restarted", "role": name})
                stop.wait(_RETRY)
    finally:
        pulse.stop()
        thrift.stop()
        server.close()
    log.info("stopped", extra={"action": "stopped", "role": name})
