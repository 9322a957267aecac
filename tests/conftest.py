"""The Kafka and the PostgreSQL that every tier of tests shares."""

from __future__ import annotations

import signal
from collections.abc import Generator, Iterator

import hypothesis
import pytest

from brokers import running_broker
from kantor_orchestrator.dev.broker import DevBroker
from view_places import Postgres, postgres

# How long an example takes says how busy the machine is.
hypothesis.settings.register_profile(
    "kantor", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("kantor")


def pytest_configure() -> None:
    """A shell starts what runs in the background with SIGINT ignored; then nobody's Ctrl-C would raise anything."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """What was logged may hold lone surrogates, which a worker could not send: the run would end there."""
    report = yield
    report.sections = [
        (name, text.encode(errors="backslashreplace").decode()) for name, text in report.sections
    ]
    return report


@pytest.fixture(scope="session")
def shared_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DevBroker]:
    """The Kafka that all tests share. Never stop it."""
    with running_broker(tmp_path_factory.mktemp("kafka")) as broker:
        yield broker


@pytest.fixture(scope="session")
def kafka(shared_broker: DevBroker) -> str:
    """Bootstrap servers of a Kafka that all tests share. Use topics and groups of your own; never stop it."""
    return shared_broker.start()


@pytest.fixture(scope="session")
def postgresql(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    """A PostgreSQL that all tests share: each empties the databases that it uses. Never stop it."""
    with postgres(tmp_path_factory.mktemp("pg") / "data") as server:
        yield server
