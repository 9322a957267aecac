"""Incidents, definitions, the platform's condition, who one is, what changes; and the description of all this."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, FastAPI, Path, Query, Request
from fastapi.openapi.utils import get_openapi
from fastapi.responses import JSONResponse, Response, StreamingResponse
from pydantic import TypeAdapter

from kantor_orchestrator.api import shapes
from kantor_orchestrator.api.access import API, person_of
from kantor_orchestrator.api.backend import Backend
from kantor_orchestrator.api.deployed import at_each_step, definition, deployed
from kantor_orchestrator.api.live import Live
from kantor_orchestrator.api.problems import Problem, documented
from kantor_orchestrator.definitions.diagram import mermaid
from kantor_orchestrator.definitions.diagram_svg import svg
from kantor_orchestrator.operations.diagnosis import condition_as_json, diagnose
from kantor_orchestrator.view import as_json
from kantor_orchestrator.view.reader import NoViewError

Name = Annotated[str, Path(max_length=300, min_length=1)]
Version = Annotated[int, Path(ge=1, le=2**31 - 1)]


def router(backend: Backend, live: Live) -> APIRouter:
    routes = APIRouter(prefix=API)

    @routes.get(
        "/incidents", tags=["incidents"], responses=documented() | {200: {"model": shapes.IncidentPage}}
    )
    def incidents(
        limit: Annotated[int, Query(ge=1, le=200)] = 50,
        page_token: Annotated[str, Query(pattern=r"^[A-Za-z0-9_-]*$", max_length=100)] = "",
    ) -> JSONResponse:
        """Open incidents, the oldest first: what waits for a person."""
        with backend.view() as view:
            found = view.incident_page(limit=limit, page=page_token)
            count = view.incident_count()
        shown = [as_json.open_incident(one) for one in found.incidents]
        return JSONResponse({"open": count, "incidents": shown, "next_page": found.next_page or None})

    @routes.get(
        "/definitions", tags=["definitions"], responses=documented() | {200: {"model": shapes.DefinitionPage}}
    )
    def definitions() -> JSONResponse:
        """The deployed sagas, with the number of transactions of each."""
        counts = counts_by_saga(backend)
        bundles = backend.definitions().bundles()
        return JSONResponse({"definitions": [definition(one, counts) for one in bundles]})

    @routes.get(
        "/definitions/{saga}/{version}",
        tags=["definitions"],
        responses=documented(404) | {200: {"model": shapes.WholeDefinition}},
    )
    def one(saga: Name, version: Version) -> JSONResponse:
        """One version of a saga, with the number of open transactions at each step."""
        found = deployed(backend, saga, version)
        whole = {
            "definition": found.model.model_dump(mode="json"),
            "open_steps": at_each_step(backend, saga, version),
        }
        return JSONResponse(definition(found, counts_by_saga(backend)) | whole)

    @routes.get(
        "/definitions/{saga}/{version}/diagram",
        tags=["definitions"],
        responses=documented(404)
        | {200: {"content": {t: {"schema": {"type": "string"}} for t in ("image/svg+xml", "text/plain")}}},
        response_class=Response,
    )
    def diagram(saga: Name, version: Version, format: Literal["svg", "mermaid"] = "svg") -> Response:  # noqa: A002
        """The saga as a picture."""
        model = deployed(backend, saga, version).model
        if format == "mermaid":
            return Response(mermaid(model), media_type="text/plain; charset=utf-8")
        # The picture's own style sheet is all that it may use.
        policy = "default-src 'none'; style-src 'unsafe-inline'"
        return Response(svg(model), media_type="image/svg+xml", headers={"Content-Security-Policy": policy})

    @routes.get("/status", tags=["platform"], responses=documented() | {200: {"model": shapes.StatusAnswer}})
    def status() -> JSONResponse:
        """The platform's condition and its problems, as ``kantor status --json``."""
        found = backend.condition()
        return JSONResponse(condition_as_json(found, diagnose(found)))

    @routes.get("/me", tags=["platform"], responses=documented() | {200: {"model": shapes.Me}})
    def me(request: Request) -> JSONResponse:
        """Who you are, and your role."""
        person = person_of(request)
        return JSONResponse({"name": person.name, "role": person.role})

    @routes.get(
        "/events",
        tags=["platform"],
        responses=documented() | {200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}}},
    )
    async def events(
        request: Request, seconds: Annotated[float, Query(ge=0, le=300)] = 300
    ) -> StreamingResponse:
        """Server-sent events: ``changed`` now and whenever counts or incidents have changed."""
        return StreamingResponse(
            live.stream(
                lambda: repr(counts(backend)), lambda: counts(backend), seconds, request.state.is_known
            ),
            media_type="text/event-stream",
        )

    return routes


def counts(backend: Backend) -> dict[str, Any]:
    """By saga and status, and the open incidents; what there is before there is a view: nothing."""
    try:
        with backend.view() as view:
            found, incidents = view.counts(), view.incident_count()
    except NoViewError:
        found, incidents = {}, 0
    return {
        "transactions": [
            {"saga": saga or None, "status": status, "count": count}
            for (saga, status), count in sorted(found.items())
        ],
        "open_incidents": incidents,
    }


def counts_by_saga(backend: Backend) -> dict[str, dict[str, int]] | None:
    """By saga and status; None: there is no view yet."""
    try:
        with backend.view() as view:
            found = view.counts()
    except NoViewError:
        return None
    sagas: dict[str, dict[str, int]] = {}
    for (saga, status), count in found.items():
        sagas.setdefault(saga, {})[status] = count
    return sagas


def describe(app: FastAPI) -> dict[str, Any]:
    """The OpenAPI description: of the API, not of the pages."""
    found = get_openapi(
        title="Kantor",
        version="1",
        openapi_version="3.1.0",
        summary="Transactions that span many services: search, follow, operate.",
        routes=app.routes,
        tags=[
            {"name": "transactions", "description": "Search, and the whole story of one."},
            {
                "name": "acts",
                "description": "Operator actions. Each is an entry in the journal: who, when, why.",
            },
            {"name": "incidents", "description": "Problems that need a person."},
            {"name": "definitions", "description": "The sagas that are deployed."},
            {"name": "platform", "description": "Its condition, who you are, and events."},
        ],
    )
    schemas = found.setdefault("components", {}).setdefault("schemas", {})
    schemas |= {"Problem": TypeAdapter(Problem).json_schema(ref_template="#/components/schemas/{model}")}
    schemas |= schemas["Problem"].pop("$defs", {})
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    found["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
    return found
