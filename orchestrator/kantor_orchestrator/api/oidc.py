"""An OpenID provider says who people are: the authorization code flow with PKCE for the pages, bearer tokens for the API.

Authlib speaks the protocol, ``jwt.py`` judges tokens, ``identity.py`` what they say. The provider is asked when it is needed,
not at the start: while it is away tokens of our own and sessions are as good as ever.
"""

from __future__ import annotations

import hmac
import logging
import secrets
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from kantor.errors import ConfigError
from kantor_orchestrator.api.config import ENV_ISSUER, OidcSettings, is_safe
from kantor_orchestrator.api.identity import ProviderDownError, RejectedError, has_claim, person_in
from kantor_orchestrator.api.people import Person

try:
    from authlib.common.errors import AuthlibBaseError
    from authlib.integrations.requests_client import OAuth2Session
    from requests import RequestException

    from kantor_orchestrator.api.answers import Timely
    from kantor_orchestrator.api.jwt import Keys, claims_of
except ImportError as error:
    raise ConfigError(
        f"{ENV_ISSUER} names an OpenID provider, but support for OpenID is not installed: pip install 'kantor[oidc]'"
    ) from error

log = logging.getLogger("kantor.api")

#: Seconds that the provider gets for an answer; that its description is good for.
_TIMEOUT, _FRESH = 5.0, 3_600.0
#: Seconds after a failure in which it is not asked again: those who wait for an answer use up threads.
_PAUSE = 2.0
#: Characters of what the provider says that an error repeats.
_ECHO = 200
_ENDPOINTS = ("authorization_endpoint", "token_endpoint", "jwks_uri")


@dataclass(frozen=True, slots=True)
class Flow:
    """A login that has begun: only the browser that began it may end it (``state``), with a token that was made for it
    (``nonce``), by a code that nobody else can use (``verifier``)."""

    state: str
    nonce: str
    verifier: str


class Provider:
    """Thread-safe; its calls block. All raise ``ProviderDownError`` while it does not answer."""

    def __init__(self, settings: OidcSettings, clock: Callable[[], float] = time.time) -> None:
        self._settings = settings
        self._clock = clock
        self._lock = threading.Lock()
        self._described: dict[str, Any] = {}
        self._described_at = float("-inf")
        self._failed: dict[str, tuple[float, str]] = {}  # by address: until when, and why
        self._keys = Keys(lambda: self._get(self.describe()["jwks_uri"]))

    def describe(self) -> dict[str, Any]:
        """The provider's description of itself (OpenID Connect Discovery 1.0). Raises ``ConfigError`` if it is another one's."""
        with self._lock:
            if time.monotonic() - self._described_at > _FRESH:
                try:
                    self._described = self._checked(
                        self._get(f"{self._settings.issuer.rstrip('/')}/.well-known/openid-configuration")
                    )
                except ProviderDownError:
                    if not self._described:
                        raise
                self._described_at = time.monotonic()
            return self._described

    def begin(self, redirect_uri: str) -> tuple[str, Flow]:
        """Where the browser goes to log in."""
        endpoint = self.describe()["authorization_endpoint"]
        flow = Flow(secrets.token_urlsafe(32), secrets.token_urlsafe(32), secrets.token_urlsafe(48))
        with self._session(redirect_uri) as session:
            url, _ = session.create_authorization_url(
                endpoint, state=flow.state, nonce=flow.nonce, code_verifier=flow.verifier
            )
        return str(url), flow

    def finish(self, flow: Flow, redirect_uri: str, answer: Mapping[str, str]) -> Person:
        """Who came back with ``answer``, the query of the redirect. Raises ``RejectedError``, ``NoRoleError``."""
        if not hmac.compare_digest(answer.get("state", "").encode(), flow.state.encode()):
            raise RejectedError(
                "this response does not belong to a login started in this browser: log in again"
            )
        if answer.get("iss", self._settings.issuer) != self._settings.issuer:  # RFC 9207
            raise RejectedError(f"this response does not come from {self._settings.issuer}: log in again")
        if "error" in answer:
            said = f"{answer['error']}: {answer.get('error_description', '')}"[:_ECHO].rstrip(": ")
            raise RejectedError(f"the provider refused the login: {said}")
        if not answer.get("code"):
            raise RejectedError("the provider sent no code: log in again")
        token = self._exchange(flow, redirect_uri, answer["code"])
        id_token = token.get("id_token")
        if not isinstance(id_token, str):
            raise RejectedError("the provider sent no ID token: is `openid` among the scopes?")
        claims = self._claims(id_token, self._settings.client_id)
        if not hmac.compare_digest(str(claims.get("nonce", "")).encode(), flow.nonce.encode()):
            raise RejectedError("the provider's token was made for another login (nonce): log in again")
        if claims.get("azp", self._settings.client_id) != self._settings.client_id:
            raise RejectedError("the provider's token was made for another client (azp)")
        if not has_claim(claims, self._settings.roles_claim):
            claims = self._more(claims, token)
        return person_in(claims, self._settings)

    def bearer(self, token: str) -> Person:
        """Who sends a token to the API. Raises ``RejectedError``, ``NoRoleError``."""
        return person_in(self._claims(token, self._settings.audience), self._settings)

    def logout_url(self, back: str) -> str:
        """Where people log out of the provider, too; empty if it has no such place, or does not answer."""
        try:
            endpoint = self.describe().get("end_session_endpoint")
        except ProviderDownError as error:
            log.warning("logout at the provider failed: %s", error, extra={"action": "oidc_unavailable"})
            return ""
        if not isinstance(endpoint, str) or not is_safe(endpoint):
            return ""
        query = urlencode({"client_id": self._settings.client_id, "post_logout_redirect_uri": back})
        return f"{endpoint}{'&' if '?' in endpoint else '?'}{query}"

    def _claims(self, token: str, audience: str) -> dict[str, Any]:
        return claims_of(token, self._keys, issuer=self._settings.issuer, audience=audience, now=self._clock)

    def _more(self, claims: dict[str, Any], token: Mapping[str, Any]) -> dict[str, Any]:
        """Some providers say only there (userinfo) what groups somebody is in."""
        endpoint = self.describe().get("userinfo_endpoint")
        if not isinstance(endpoint, str) or not is_safe(endpoint) or not token.get("access_token"):
            return claims
        found = self._get(endpoint, {"Authorization": f"Bearer {token['access_token']}"})
        if found.get("sub") != claims["sub"]:
            raise RejectedError("the provider's userinfo describes another person: log in again")
        return found | claims

    # -- the wire

    def _session(self, redirect_uri: str = "") -> OAuth2Session:
        methods = self._described.get("token_endpoint_auth_methods_supported", ["client_secret_basic"])
        secret = self._settings.client_secret
        how = "client_secret_post" if "client_secret_basic" not in methods else "client_secret_basic"
        session = OAuth2Session(
            self._settings.client_id,
            secret or None,
            token_endpoint_auth_method=how if secret else "none",
            scope=self._settings.scope,
            redirect_uri=redirect_uri,
            code_challenge_method="S256",
        )
        for scheme in ("https://", "http://"):
            session.mount(scheme, Timely(_TIMEOUT))
        return session

    def _exchange(self, flow: Flow, redirect_uri: str, code: str) -> Mapping[str, Any]:
        endpoint = self.describe()["token_endpoint"]
        try:
            with self._session(redirect_uri) as session:
                found = session.fetch_token(
                    endpoint,
                    grant_type="authorization_code",
                    code=code,
                    code_verifier=flow.verifier,
                    timeout=_TIMEOUT,
                    allow_redirects=False,
                )
        except AuthlibBaseError as error:
            raise RejectedError(f"the provider refused the code: {str(error)[:_ECHO]}") from error
        except (RequestException, ValueError) as error:
            raise ProviderDownError(self._down(endpoint, error)) from error
        return found if isinstance(found, Mapping) else {}

    def _get(self, url: str, headers: Mapping[str, str] | None = None) -> dict[str, Any]:
        until, why = self._failed.get(url, (0.0, ""))
        if time.monotonic() < until:
            raise ProviderDownError(why)
        try:
            found = self._asked(url, headers or {})
        except ProviderDownError as error:
            self._failed[url] = time.monotonic() + _PAUSE, str(error)
            raise
        self._failed.pop(url, None)
        return found

    def _asked(self, url: str, headers: Mapping[str, str]) -> dict[str, Any]:
        try:
            with self._session() as session:
                answer = session.request(
                    "GET",
                    url,
                    withhold_token=True,
                    headers=dict(headers) | {"Accept": "application/json"},
                    timeout=_TIMEOUT,
                    allow_redirects=False,
                )
            if answer.status_code != 200:
                raise ProviderDownError(self._down(url, f"it answers {answer.status_code}"))
            found = answer.json()
        except (RequestException, ValueError) as error:
            raise ProviderDownError(self._down(url, error)) from error
        if not isinstance(found, dict):
            raise ProviderDownError(self._down(url, "its answer is not a JSON object"))
        return found

    def _down(self, url: str, why: object) -> str:
        return f"the OpenID provider can't be reached ({url}): {str(why)[:_ECHO]}; try again, or correct {ENV_ISSUER}"

    def _checked(self, found: dict[str, Any]) -> dict[str, Any]:
        issuer = self._settings.issuer
        if found.get("issuer") != issuer:
            raise ConfigError(
                f"{ENV_ISSUER}={issuer}: the provider at this address says its issuer is {str(found.get('issuer'))[:_ECHO]!r}; set exactly that, "
                "if you trust it"
            )
        for name in _ENDPOINTS:
            if not isinstance(found.get(name), str) or not is_safe(found[name]):
                raise ConfigError(
                    f"{ENV_ISSUER}={issuer}: the provider's description has no https address as its {name}"
                )
        return found
