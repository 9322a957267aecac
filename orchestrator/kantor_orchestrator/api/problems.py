"""Errors as ``application/problem+json`` (RFC 9457): what is wrong, where, and what to do. Translated once, here."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, ConfigDict
from starlette.exceptions import HTTPException

from kantor.errors import (
    ConfigError,
    KafkaUnavailableError,
    KantorError,
    NotFoundError,
    RegistryUnavailableError,
)
from kantor_orchestrator.api.backend import KeyUsedError
from kantor_orchestrator.api.identity import NoRoleError, ProviderDownError
from kantor_orchestrator.api.payloads import GoneError
from kantor_orchestrator.operations.acts import NoAnswerError
from kantor_orchestrator.view.reader import NoViewError
from kantor_orchestrator.view.search import PageTokenError

log = logging.getLogger("kantor.api")

MEDIA_TYPE = "application/problem+json"
#: Characters of somebody's input that an answer repeats.
_ECHO = 100

TITLES = {
    400: "Wrong request",
    401: "Login required",
    403: "Not allowed",
    404: "Not found",
    405: "Method not allowed",
    409: "Conflict with the current state",
    410: "No longer available",
    413: "Too large",
    414: "Too long",
    415: "Unsupported media type",
    421: "Wrong host",
    422: "Wrong request",
    503: "Temporarily unavailable",
}


class FieldProblem(BaseModel):
    """One part of a request that is wrong."""

    model_config = ConfigDict(extra="forbid")

    place: str
    message: str


class Problem(BaseModel):
    """What is wrong (RFC 9457)."""

    model_config = ConfigDict(extra="forbid")

    type: str
    title: str
    status: int
    detail: str
    errors: list[FieldProblem] | None = None


class ProblemError(Exception):
    """Raised by a route: it becomes the answer."""

    def __init__(self, status: int, detail: str, *, headers: dict[str, str] | None = None) -> None:
        super().__init__(detail)
        self.status, self.detail, self.headers = status, detail, headers


def answer(
    status: int,
    detail: str,
    *,
    headers: dict[str, str] | None = None,
    errors: Sequence[dict[str, str]] = (),
) -> JSONResponse:
    body: dict[str, Any] = {
        "type": "about:blank",
        "title": TITLES.get(status, "Error"),
        "status": status,
        "detail": detail,
    }
    if errors:
        body["errors"] = list(errors)
    return JSONResponse(body, status, headers, MEDIA_TYPE)


#: By kind of error, the most special first.
_STATUS: tuple[tuple[type[KantorError], int], ...] = (
    (PageTokenError, 400),
    (NoViewError, 503),
    (GoneError, 410),
    (NotFoundError, 404),
    (KeyUsedError, 409),
    (NoAnswerError, 503),
    (NoRoleError, 403),
    (ProviderDownError, 503),
    (KafkaUnavailableError, 503),
    (RegistryUnavailableError, 503),
    (ConfigError, 503),
)


def status_of(error: KantorError) -> int:
    return next((status for kind, status in _STATUS if isinstance(error, kind)), 500)


#: Makes the answer of a page: of the request, the status and what is wrong.
Page = Callable[[Request, int, str], Response]


def install(app: FastAPI, is_api: Callable[[str], bool], page: Page) -> None:
    """Whatever a route raises becomes a problem; a page tells it as a page (``page``)."""

    def told(request: Request, status: int, detail: str, headers: dict[str, str] | None = None) -> Response:
        if is_api(request.url.path):
            return answer(status, detail, headers=headers)
        return page(request, status, detail)

    async def kantor(request: Request, error: Exception) -> Response:
        assert isinstance(error, KantorError)
        status = status_of(error)
        if status == 500:
            log.error("%s", error, exc_info=error, extra={"action": "request_failed"})
        return told(request, status, str(error))

    async def problem(request: Request, error: Exception) -> Response:
        assert isinstance(error, ProblemError)
        return told(request, error.status, error.detail, error.headers)

    async def http(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        return told(request, error.status_code, str(error.detail), dict(error.headers or {}) or None)

    async def invalid(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        errors = [
            {
                "place": ".".join(str(part) for part in one["loc"])[:_ECHO],
                "message": str(one["msg"])[: 2 * _ECHO],
            }
            for one in error.errors()
        ]
        said = "; ".join(f"{one['place']}: {one['message']}" for one in errors[:5])
        return answer(422, said, errors=errors[:20]) if is_api(request.url.path) else page(request, 404, said)

    app.add_exception_handler(KantorError, kantor)
    app.add_exception_handler(ProblemError, problem)
    app.add_exception_handler(HTTPException, http)
    app.add_exception_handler(RequestValidationError, invalid)


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """For OpenAPI: a route may answer with these problems, and with those that all may."""
    schema = {"$ref": "#/components/schemas/Problem"}
    return {
        status: {"description": TITLES[status], "content": {MEDIA_TYPE: {"schema": schema}}}
        for status in sorted({400, 401, 403, 405, 413, 414, 421, 422, 503, *statuses})
    }
