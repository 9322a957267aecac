"""Broker, platform and services of the demo: brought up, and down again in reverse order."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import kantor_schemas
from kantor.kafka import KafkaSettings
from kantor.schemas import schema_store
from kantor_orchestrator.config import ADDRESS_FILE, Settings
from kantor_orchestrator.definitions import deploy, files
from kantor_orchestrator.demo.children import DemoError, DemoProcesses
from kantor_orchestrator.demo.quiet import Quiet
from kantor_orchestrator.demo.show import Show
from kantor_orchestrator.dev.broker import DevBroker
from kantor_orchestrator.dev.progress import Progress
from kantor_schemas import Catalog

SERVICES = ("shop", "inventory", "payment", "shipping")
PLATFORM = "platform"
#: Seconds until something that takes moments has happened even on a machine that is busy with something else.
PATIENCE = 180.0
#: Seconds between two looks.
_LOOK = 0.1


class Running:
    """Everything that runs. :meth:`stop` may be called at any moment, also while it starts."""

    def __init__(self, home: Path, external: str | None, show: Show, progress: Progress) -> None:
        self.home = home
        self.data = home / "checkout"
        self.children = DemoProcesses(home / "logs")
        self._external = external
        self._broker = DevBroker(home, external=external, progress=progress)
        self._show = show
        self.settings: Settings
        self._quiet: Quiet | None = None

    def start(self) -> None:
        """Returns when every service and role has its partitions. Raises ``DemoError`` or ``KantorError``."""
        address = self._broker.start()
        os.environ["KANTOR_BOOTSTRAP_SERVERS"] = address
        self.settings = Settings.from_env(home=self.home)
        self._show.phase("Deploying the saga: checkout version 2 (demo.yaml)")
        self._deploy(self.settings.kafka)
        self._show.phase("Starting the platform (intake, engine, view, pages) and the services")
        self.children.start(PLATFORM, "-m", "kantor_orchestrator.cli.main", "run")
        self.start_services(*SERVICES)
        self._quiet = Quiet(self.settings.kafka, _topics_of_services())
        self.await_ready()
        self.wait(lambda: bool(self.pages()), lambda: "the pages are not served")

    def pages(self) -> str:
        """The pages' address; empty while they are not served."""
        try:
            return (self.home / ADDRESS_FILE).read_text(encoding="utf-8").strip()
        except FileNotFoundError:
            return ""

    @property
    def quiet(self) -> Quiet:
        assert self._quiet is not None, "started"
        return self._quiet

    def start_services(self, *names: str) -> None:
        for name in names:
            self.children.start(name, "-m", f"kantor_examples.checkout.{name}")

    def await_ready(self) -> None:
        """Until everybody has joined its group and has its partitions."""
        missing: list[str] = []

        def all_are() -> bool:
            missing[:] = self.quiet.ready()
            return not missing

        self.wait(all_are, lambda: f"{', '.join(missing)} did not get ready")

    def wait(
        self, until: Callable[[], bool], complaint: Callable[[], str], tick: Callable[[], None] = lambda: None
    ) -> None:
        """Wait for a condition. Raises ``DemoError`` if a process dies meanwhile, or if it takes longer than
        ``PATIENCE``; then with ``complaint``."""
        deadline = time.monotonic() + PATIENCE
        while not until():
            self.children.check()
            tick()
            if time.monotonic() > deadline:
                raise DemoError(f"{complaint()} within {PATIENCE:.0f} s.\n{self.children.logs()}")
            time.sleep(_LOOK)

    def stop(self) -> None:
        """Services, platform, broker; those that run."""
        if self._quiet is not None:
            self._quiet.close()
        self.children.stop_all(PLATFORM)
        if not self._external:
            self._broker.stop()

    def _deploy(self, kafka: KafkaSettings) -> None:
        import kantor_examples.checkout

        definition = Path(kantor_examples.checkout.__file__).parent / "demo.yaml"
        messages = Path(kantor_schemas.__file__).parent / "examples" / "checkout"
        written = files.read([definition]).models()
        deploy.deploy(written, Catalog.load(messages), kafka, schema_store(kafka))


def _topics_of_services() -> dict[str, list[str]]:
    """What each service reads."""
    from kantor_examples.checkout import inventory, payment, shipping, shop

    services = (shop.shop, inventory.inventory, payment.payment, shipping.shipping)
    return {service.name: [handler.topic for handler in service.handlers] for service in services}
