"""Who asks, and whether they may: one table for every route. A route that is not in it answers nobody."""

from __future__ import annotations

import base64
import hashlib
import hmac
import time
from collections.abc import Mapping

from fastapi import Request
from starlette.requests import HTTPConnection

from kantor_orchestrator.api.config import ADMIN, LOCAL, OPERATOR, VIEWER, ApiSettings, Person, fingerprint
from kantor_orchestrator.api.problems import ProblemError

#: Anybody, without login.
PUBLIC = ""
API = "/api/v1"
COOKIE = "kantor_session"
#: Seconds that a login lasts.
SESSION = 12 * 3_600

#: By method and path: the least role.
TABLE: Mapping[tuple[str, str], str] = {
    ("GET", f"{API}/openapi.json"): PUBLIC,
    ("GET", f"{API}/transactions"): VIEWER,
    ("GET", f"{API}/transactions/{{transaction_id}}"): VIEWER,
    ("GET", f"{API}/transactions/{{transaction_id}}/events"): VIEWER,
    ("GET", f"{API}/transactions/{{transaction_id}}/messages/{{topic}}/{{partition}}/{{offset}}"): VIEWER,
    ("GET", f"{API}/transactions/{{transaction_id}}/messages/{{topic}}/{{partition}}/{{offset}}/raw"): VIEWER,
    ("POST", f"{API}/transactions/{{transaction_id}}/acts"): OPERATOR,
    ("POST", f"{API}/bulk/count"): OPERATOR,
    ("POST", f"{API}/bulk/acts"): OPERATOR,
    ("POST", f"{API}/sagas/acts"): ADMIN,
    ("GET", f"{API}/incidents"): VIEWER,
    ("GET", f"{API}/definitions"): VIEWER,
    ("GET", f"{API}/definitions/{{saga}}/{{version}}"): VIEWER,
    ("GET", f"{API}/definitions/{{saga}}/{{version}}/diagram"): VIEWER,
    ("GET", f"{API}/status"): VIEWER,
    ("GET", f"{API}/me"): VIEWER,
    ("GET", f"{API}/events"): VIEWER,
    ("GET", "/"): VIEWER,
    ("GET", "/transactions"): VIEWER,
    ("GET", "/transactions/{transaction_id}"): VIEWER,
    ("GET", "/transactions/{transaction_id}/messages/{topic}/{partition}/{offset}"): VIEWER,
    ("POST", "/transactions/{transaction_id}/acts"): OPERATOR,
    ("POST", "/bulk/count"): OPERATOR,
    ("POST", "/bulk/acts"): OPERATOR,
    ("POST", "/sagas/acts"): ADMIN,
    ("GET", "/incidents"): VIEWER,
    ("GET", "/definitions"): VIEWER,
    ("GET", "/definitions/{saga}/{version}"): VIEWER,
    ("GET", "/login"): PUBLIC,
    ("POST", "/login"): PUBLIC,
    ("POST", "/logout"): PUBLIC,
}


class Access:
    """Who is who."""

    def __init__(self, settings: ApiSettings) -> None:
        self._settings = settings

    @property
    def needs_login(self) -> bool:
        return self._settings.needs_login

    def check(self, request: Request) -> None:
        """A dependency of every route. Sets ``request.state.person``; raises ``ProblemError`` (401, 403)."""
        person = self.identify(request)
        request.state.person = person
        route = request.scope.get("route")
        role = TABLE.get((request.method, getattr(route, "path", "")))
        if role is None:
            raise ProblemError(403, "nobody may do this: the table of roles does not know it")
        if role == PUBLIC:
            return
        if person is None:
            raise ProblemError(
                401, "say who you are: Authorization: Bearer TOKEN", headers={"WWW-Authenticate": "Bearer"}
            )
        if not person.may(role):
            raise ProblemError(403, f"this needs the role {role}; {person.name} is {person.role}")

    def identify(self, request: HTTPConnection) -> Person | None:
        """By token or by session; None: nobody we know."""
        if not self.needs_login:
            return Person(LOCAL, ADMIN)
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if token:
            return self.by_token(token.strip()) if scheme.lower() == "bearer" else None
        return self._by_session(request.cookies.get(COOKIE, ""))

    def by_token(self, token: str) -> Person | None:
        return self._settings.tokens.get(fingerprint(token))

    # -- sessions: who has shown a token gets a cookie that names its hash, signed

    def session(self, token: str, now: float | None = None) -> str:
        text = f"{fingerprint(token)}.{int((time.time() if now is None else now) + SESSION)}"
        return f"{text}.{self._signed('session', text)}"

    def _by_session(self, cookie: str) -> Person | None:
        text, _, signature = cookie.rpartition(".")
        if not text or not hmac.compare_digest(signature.encode(), self._signed("session", text).encode()):
            return None
        token_hash, _, until = text.partition(".")
        if int(until) < time.time():
            return None
        return self._settings.tokens.get(token_hash)  # a token that was taken away ends its sessions

    # -- the pages' forms

    def form_token(self, request: HTTPConnection) -> str:
        """What a form must bring back: only our own pages know it."""
        return self._signed("form", request.cookies.get(COOKIE, "") if self.needs_login else LOCAL)

    def check_form(self, request: HTTPConnection, token: str) -> None:
        """Raises ``ProblemError``."""
        if not hmac.compare_digest(token.encode(), self.form_token(request).encode()):
            raise ProblemError(
                403, "this form is not from this page, or the server was restarted: load the page again"
            )

    def _signed(self, purpose: str, text: str) -> str:
        digest = hmac.new(self._settings.secret, f"{purpose}:{text}".encode(), hashlib.sha256).digest()
        return base64.urlsafe_b64encode(digest).decode().rstrip("=")


def person_of(request: Request) -> Person:
    """Of a route that needs a role."""
    person: Person = request.state.person
    return person
