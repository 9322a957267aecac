"""Who asks, and whether they may: one table for every route. A route that is not in it answers nobody."""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from typing import TYPE_CHECKING

from fastapi import Request
from fastapi.responses import Response
from starlette.concurrency import run_in_threadpool
from starlette.requests import HTTPConnection

from kantor_orchestrator.api.config import ApiSettings
from kantor_orchestrator.api.identity import NoRoleError, ProviderDownError, RejectedError
from kantor_orchestrator.api.people import ADMIN, LOCAL, OPERATOR, ROLES, VIEWER, Person
from kantor_orchestrator.api.problems import ProblemError
from kantor_orchestrator.api.sessions import Sessions
from kantor_orchestrator.api.tokens import Tokens, fingerprint

if TYPE_CHECKING:
    from kantor_orchestrator.api.oidc import Provider

#: Anybody, without login.
PUBLIC = ""
API = "/api/v1"
COOKIE = "kantor_session"
#: Seconds that a login by token lasts.
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
    ("GET", "/login/oidc"): PUBLIC,
    ("GET", "/login/oidc/callback"): PUBLIC,
    ("POST", "/logout"): PUBLIC,
}


class Access:
    """Who is who: by a token of ours, one of the provider's, or by a session."""

    def __init__(self, settings: ApiSettings, provider: Provider | None = None) -> None:
        self._settings = settings
        self._tokens = Tokens(settings.tokens, settings.token_file)
        self._provider = provider
        self.sessions = Sessions(settings.secret)
        self._of_provider = f"session of {settings.oidc.fingerprint()}" if settings.oidc else ""

    @property
    def needs_login(self) -> bool:
        return self._settings.needs_login

    @property
    def has_tokens(self) -> bool:
        return bool(self._settings.tokens) or self._settings.token_file is not None

    async def check(self, request: Request) -> None:
        """A dependency of every route. Sets ``request.state.person``; raises ``ProblemError`` (401, 403)."""
        request.state.person = None
        request.state.is_known = lambda: self.still_knows(request)
        route = request.scope.get("route")
        role = TABLE.get((request.method, getattr(route, "path", "")))
        if role is None:
            raise ProblemError(403, "forbidden: no role is assigned to this route")
        if role == PUBLIC:
            request.state.person = self._by_session(request)
            return
        if self._provider is not None and _bearer(request):  # the provider may have to be asked for its keys
            person = await run_in_threadpool(self.identify, request)
        else:
            person = self.identify(request)
        request.state.person = person
        if person is None:
            raise ProblemError(
                401,
                "authentication required: Authorization: Bearer TOKEN",
                headers={"WWW-Authenticate": "Bearer"},
            )
        if not person.may(role):
            raise ProblemError(403, f"this needs the role {role}; {person.name} is {person.role}")

    def identify(self, request: HTTPConnection) -> Person | None:
        """By token or by session; None: nobody we know. May ask the provider. Raises ``ProblemError`` (401),
        ``NoRoleError``, ``ProviderDownError``."""
        if not self.needs_login:
            return Person(LOCAL, ADMIN)
        if "authorization" in request.headers:
            token = _bearer(request)
            return self.by_token(token) or self._by_provider(token) if token else None
        return self._by_session(request)

    def still_knows(self, request: HTTPConnection) -> bool:
        """Of who listens for long: whether what they showed is still good. Nobody is cut off because the provider is away."""
        try:
            return self.identify(request) is not None
        except (ProblemError, NoRoleError):
            return False
        except ProviderDownError:
            return True

    def by_token(self, token: str) -> Person | None:
        return self._tokens.get(fingerprint(token))

    def _by_provider(self, token: str) -> Person | None:
        if self._provider is None or token.count(".") != 2:
            return None
        try:
            return self._provider.bearer(token)
        except RejectedError as error:
            raise ProblemError(
                401, str(error), headers={"WWW-Authenticate": 'Bearer error="invalid_token"'}
            ) from error

    # -- sessions: whoever has logged in gets a cookie that says so, signed

    def session(self, token: str) -> tuple[str, int]:
        """For who has shown a token of ours: the cookie, and its seconds. It ends with the token."""
        return self.sessions.seal("session", {"token": fingerprint(token)}, SESSION), SESSION

    def session_of(self, person: Person) -> tuple[str, int]:
        """For whom the provider knows."""
        assert self._settings.oidc is not None
        seconds = int(self._settings.oidc.session)
        return self.sessions.seal(
            self._of_provider, {"name": person.name, "role": person.role}, seconds
        ), seconds

    def log_out(self, request: HTTPConnection, answer: Response) -> None:
        cookie = request.cookies.get(COOKIE, "")
        self.sessions.end("session", cookie)
        if self._of_provider:
            self.sessions.end(self._of_provider, cookie)
        answer.delete_cookie(COOKIE, path="/")

    def _by_session(self, request: HTTPConnection) -> Person | None:
        if not self.needs_login:
            return Person(LOCAL, ADMIN)
        cookie = request.cookies.get(COOKIE, "")
        if not cookie:
            return None
        found = self.sessions.open("session", cookie)
        if found is not None:
            return self._tokens.get(found["token"])  # a token that was taken away ends its sessions
        found = self.sessions.open(self._of_provider, cookie) if self._of_provider else None
        return Person(found["name"], found["role"]) if found and found["role"] in ROLES else None

    # -- the pages' forms

    def form_token(self, request: HTTPConnection) -> str:
        """What a form must bring back: only our own pages know it."""
        return self.sessions.signed("form", request.cookies.get(COOKIE, "") if self.needs_login else LOCAL)

    def check_form(self, request: HTTPConnection, token: str) -> None:
        """Raises ``ProblemError``."""
        if not hmac.compare_digest(token.encode(), self.form_token(request).encode()):
            raise ProblemError(
                403, "this form is not from this page, or the server was restarted: load the page again"
            )


def _bearer(request: HTTPConnection) -> str:
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def person_of(request: Request) -> Person:
    """Of a route that needs a role."""
    person: Person = request.state.person
    return person
