"""Logging in, by a token or at the OpenID provider, and out."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from starlette.concurrency import run_in_threadpool

from kantor.errors import ConfigError
from kantor_orchestrator.api.access import COOKIE, Access
from kantor_orchestrator.api.config import ApiSettings
from kantor_orchestrator.api.frame import Frame, form_of, local
from kantor_orchestrator.api.identity import NoRoleError, ProviderDownError, RejectedError
from kantor_orchestrator.api.problems import ProblemError

if TYPE_CHECKING:
    from kantor_orchestrator.api.oidc import Provider

log = logging.getLogger("kantor.api")

#: Where the provider sends people back to; the login that has begun, and the seconds that it may take.
CALLBACK = "/login/oidc/callback"
FLOW_COOKIE, FLOW = "kantor_login", 600


def router(settings: ApiSettings, access: Access, frame: Frame, provider: Provider | None) -> APIRouter:
    routes = APIRouter(include_in_schema=False, default_response_class=HTMLResponse)

    def is_secure(request: Request) -> bool:
        """Behind a proxy that ends TLS we are asked by http."""
        return request.url.scheme == "https" or bool(settings.hosts)

    def place(request: Request, path: str) -> str:
        """As browsers call it."""
        return f"{'https' if is_secure(request) else 'http'}://{request.headers.get('host', '')}{path}"

    def form(
        request: Request, status: int = 200, *, problem: str = "", after: str = "/", logout_url: str = ""
    ) -> Response:
        return frame.page(
            request, "login.html", status, problem=problem, next=after, has_tokens=access.has_tokens, logout_url=logout_url,
            provider=urlsplit(settings.oidc.issuer).netloc if settings.oidc else "",
        )  # fmt: skip

    def enter(request: Request, answer: Response, session: tuple[str, int]) -> Response:
        cookie, seconds = session
        answer.set_cookie(
            COOKIE,
            cookie,
            max_age=seconds,
            httponly=True,
            samesite="strict",
            secure=is_secure(request),
            path="/",
        )
        return answer

    @routes.get("/login")
    def login(request: Request) -> Response:
        is_out = request.query_params.get("out") == "1"
        logout_url = provider.logout_url(place(request, "/login")) if provider and is_out else ""
        return form(request, after=local(request.query_params.get("next", "")), logout_url=logout_url)

    @routes.post("/login")
    async def log_in(request: Request) -> Response:
        given = await form_of(request)
        after = local(given.get("next", ""))
        token = given.get("token", "").strip()
        if not access.needs_login:
            return RedirectResponse(after, 303)
        if access.by_token(token) is None:
            return form(request, 403, problem="unknown token", after=after)
        return enter(request, RedirectResponse(after, 303), access.session(token))

    @routes.get("/login/oidc")
    def begin(request: Request) -> Response:
        after = local(request.query_params.get("next", ""))
        if provider is None:
            raise ProblemError(409, "no OpenID provider is set: KANTOR_OIDC_ISSUER names one")
        try:
            url, flow = provider.begin(place(request, CALLBACK))
        except (ProviderDownError, ConfigError) as error:
            log.warning("login failed: %s", error, extra={"action": "oidc_unavailable"})
            return form(request, 503, problem=str(error), after=after)
        answer = RedirectResponse(url, 303)
        facts = {"state": flow.state, "nonce": flow.nonce, "verifier": flow.verifier, "next": after}
        answer.set_cookie(
            FLOW_COOKIE,
            access.sessions.seal("login", facts, FLOW),
            max_age=FLOW,
            httponly=True,
            samesite="lax",  # the provider's page leads back to us: a strict one would stay behind
            secure=is_secure(request),
            path=CALLBACK,
        )
        return answer

    @routes.get(CALLBACK)
    async def finish(request: Request) -> Response:
        if provider is None:
            raise ProblemError(409, "no OpenID provider is set: KANTOR_OIDC_ISSUER names one")
        cookie = request.cookies.get(FLOW_COOKIE, "")
        begun = access.sessions.open("login", cookie)
        access.sessions.end("login", cookie)  # once
        after = begun["next"] if begun else "/"
        try:
            if begun is None:
                raise RejectedError(
                    "this login did not begin in this browser, or took too long: log in again"
                )
            from kantor_orchestrator.api.oidc import Flow

            flow = Flow(begun["state"], begun["nonce"], begun["verifier"])
            person = await run_in_threadpool(
                provider.finish, flow, place(request, CALLBACK), dict(request.query_params)
            )
        except (RejectedError, NoRoleError, ProviderDownError, ConfigError) as error:
            log.warning("login failed: %s", error, extra={"action": "login_refused"})
            status = {RejectedError: 400, NoRoleError: 403}.get(type(error), 503)
            answer = form(request, status, problem=str(error), after=after)
            answer.delete_cookie(FLOW_COOKIE, path=CALLBACK)
            return answer
        facts = {"action": "logged_in", "person": person.name, "role": person.role}
        log.info("%s has logged in as %s", person.name, person.role, extra=facts)
        # A page of ours that goes on by itself: a redirect would still count as the other site's, whose strict cookies
        # are not sent.
        answer = frame.page(request, "entered.html", next=after, name=person.name)
        answer.delete_cookie(FLOW_COOKIE, path=CALLBACK)
        return enter(request, answer, access.session_of(person))

    @routes.post("/logout")
    async def log_out(request: Request) -> Response:
        access.check_form(request, (await form_of(request)).get("form", ""))
        answer = RedirectResponse("/login?out=1" if provider else "/login", 303)
        access.log_out(request, answer)
        return answer

    return routes
