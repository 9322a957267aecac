"""The application: routes, guards and errors joined. What it asks is passed in."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, Depends, FastAPI, Request
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute
from prometheus_client import CollectorRegistry
from starlette.middleware import Middleware
from starlette.staticfiles import StaticFiles

from kantor_orchestrator.api import acts, login, pages, problems, rest, transactions
from kantor_orchestrator.api.access import API, Access
from kantor_orchestrator.api.backend import Backend
from kantor_orchestrator.api.config import ApiSettings, OidcSettings
from kantor_orchestrator.api.frame import Frame
from kantor_orchestrator.api.guards import Guards
from kantor_orchestrator.api.live import Live
from kantor_orchestrator.api.metrics import ApiMetrics, Counted
from kantor_orchestrator.web.render import STATIC, Pages

if TYPE_CHECKING:
    from kantor_orchestrator.api.oidc import Provider


def provider_of(settings: OidcSettings) -> Provider:
    """Raises ``ConfigError`` if what speaks with it is not installed."""
    from kantor_orchestrator.api.oidc import Provider  # an extra: who has tokens only does without

    return Provider(settings)


def create_app(
    backend: Backend,
    settings: ApiSettings,
    live: Live | None = None,
    provider: Provider | None = None,
    metrics: ApiMetrics | None = None,
) -> FastAPI:
    """Serves ``backend``. ``live``: its changes; who passes it may end its streams (``Live.end``). ``provider``: that of the
    settings, if they name one. ``metrics``: what requests are counted in; its streams are ``live``'s."""
    metrics = metrics or ApiMetrics(CollectorRegistry())
    live = live or Live(backend, metrics)
    if provider is None and settings.oidc is not None:
        provider = provider_of(settings.oidc)
    access = Access(settings, provider)
    doing = acts.Doing(backend)

    @asynccontextmanager
    async def life(_: FastAPI) -> AsyncIterator[None]:
        live.start()
        try:
            yield
        finally:
            live.stop()

    async def check(request: Request) -> None:
        await access.check(request)

    app = FastAPI(
        lifespan=life,
        dependencies=[Depends(check)],
        middleware=[Middleware(Counted, metrics=metrics), Middleware(Guards, settings=settings)],
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        responses=problems.documented(),
    )
    frame = Frame(backend, access, Pages())
    problems.install(app, lambda path: path.startswith("/api/"), frame.problem)
    app.mount("/static", StaticFiles(directory=STATIC), name="static")
    description: dict[str, Any] = {}
    own = APIRouter(prefix=API)

    @own.get("/openapi.json", include_in_schema=False)
    def openapi() -> JSONResponse:
        """What there is, for programs."""
        return JSONResponse(description)

    routers = [
        own,
        transactions.router(backend, live),
        acts.router(doing),
        rest.router(backend, live),
        pages.router(backend, settings, access, doing, frame),
        login.router(settings, access, frame, provider),
    ]
    for router in routers:
        app.include_router(router)
    #: Every route that there is, as the table of roles names it.
    app.state.routes = [
        (method, route.path)
        for router in routers
        for route in router.routes
        if isinstance(route, APIRoute)
        for method in sorted(route.methods or ())
    ]
    description.update(rest.describe(app))
    return app
