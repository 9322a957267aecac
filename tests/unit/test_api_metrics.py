"""What the API counts."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from prometheus_client import CollectorRegistry

from api_kit import StoredBackend, checkouts, definitions
from kantor_orchestrator.api.app import create_app
from kantor_orchestrator.api.config import ApiSettings
from kantor_orchestrator.api.live import Live
from kantor_orchestrator.api.metrics import ApiMetrics

ONE = "/api/v1/transactions/{transaction_id}"


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def backend(tmp_path: Path) -> Iterator[StoredBackend]:
    checkouts(tmp_path / "view.db")
    with closing(StoredBackend(tmp_path, definitions())) as made:
        yield made


def counted(registry: CollectorRegistry) -> dict[tuple[str, str, str], float]:
    return {
        (sample.labels["route"], sample.labels["method"], sample.labels["status"]): sample.value
        for metric in registry.collect()
        for sample in metric.samples
        if sample.name == "kantor_api_requests_total"
    }


def test_requests_count_by_the_routes_template(backend: StoredBackend, registry: CollectorRegistry) -> None:
    """Whoever is asked for, and whatever somebody invents, there are as many series as routes; refusals and failures
    count, too."""
    app = create_app(backend, ApiSettings(), metrics=ApiMetrics(registry))
    with TestClient(app, base_url="http://localhost", raise_server_exceptions=False) as api:
        for id_ in ("tx-stuck", "tx-running", "nope"):
            api.get(f"/api/v1/transactions/{id_}")
        api.get("/transactions/tx-stuck")
        api.get("/static/app.css?x")
        api.get("/no/such/place")
        api.request("BREW", "/coffee")
        api.get("/", headers={"Host": "evil.example"})
        backend.condition = None  # type: ignore[assignment, method-assign]
        assert api.get("/api/v1/status").status_code == 500
    assert counted(registry) == {
        (ONE, "GET", "200"): 2,
        (ONE, "GET", "404"): 1,
        ("/transactions/{transaction_id}", "GET", "200"): 1,
        ("/static", "GET", "200"): 1,
        ("none", "GET", "404"): 1,
        ("none", "other", "404"): 1,
        ("none", "GET", "421"): 1,
        ("/api/v1/status", "GET", "500"): 1,
    }
    seconds = registry.get_sample_value("kantor_api_request_seconds_count", {"route": ONE, "method": "GET"})
    assert seconds == 3
    assert registry.get_sample_value("kantor_api_request_seconds_sum", {"route": ONE, "method": "GET"})


def test_who_listens_counts_while_they_do(backend: StoredBackend, registry: CollectorRegistry) -> None:
    """Also when they go away in the middle."""
    live = Live(backend, ApiMetrics(registry))

    def listening() -> float | None:
        return registry.get_sample_value("kantor_api_event_streams")

    async def listen() -> list[float | None]:
        streams = [live.stream(lambda: "a", lambda: 1, 60, lambda: True) for _ in range(2)]
        seen = [listening()]
        for stream in streams:
            await anext(stream)
            seen.append(listening())
        for stream in streams:
            await stream.aclose()  # type: ignore[attr-defined]
            seen.append(listening())
        return seen

    assert asyncio.run(listen()) == [0, 1, 2, 1, 0]
