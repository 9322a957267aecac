"""The API's metrics, and what counts each request. No ids as labels: a request is known by its route's template."""

from __future__ import annotations

import time

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
#: What has no route of ours, such as a wrong address; static files; methods that anybody may invent.
NO_ROUTE, STATIC, OTHER = "none", "/static", "other"


class ApiMetrics:
    def __init__(self, registry: CollectorRegistry) -> None:
        self._requests = Counter(
            "kantor_api_requests",
            "Requests answered, by route template; `none`: no such route",
            ["route", "method", "status"],
            registry=registry,
        )
        self._seconds = Histogram(
            "kantor_api_request_seconds",
            "Time from a request to the start of its response: a `wait` counts, the length of an event stream does not",
            ["route", "method"],
            buckets=_SECONDS,
            registry=registry,
        )
        self._streams = Gauge(
            "kantor_api_event_streams", "Open streams of server-sent events", registry=registry
        )

    def answered(self, route: str, method: str, status: int, seconds: float) -> None:
        self._requests.labels(route, method, str(status)).inc()
        self._seconds.labels(route, method).observe(seconds)

    def stream_began(self) -> None:
        self._streams.inc()

    def stream_ended(self) -> None:
        self._streams.dec()


class Counted:
    """Middleware, the outermost: what the guards refuse counts, too. An answer counts when it begins: a stream goes on for
    minutes. One that breaks before counts as 500."""

    def __init__(self, app: ASGIApp, metrics: ApiMetrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()
        has_begun = False

        def count(status: int) -> None:
            nonlocal has_begun
            has_begun = True
            method = scope["method"] if scope["method"] in _METHODS else OTHER
            self._metrics.answered(_route(scope), method, status, time.perf_counter() - began)

        async def counted(message: Message) -> None:
            if message["type"] == "http.response.start":
                count(message["status"])
            await send(message)

        try:
            await self._app(scope, receive, counted)
        except Exception:
            if not has_begun:
                count(500)
            raise


def _route(scope: Scope) -> str:
    path = getattr(scope.get("route"), "path", None)
    if isinstance(path, str):
        return path
    return STATIC if scope["path"].startswith("/static/") else NO_ROUTE
