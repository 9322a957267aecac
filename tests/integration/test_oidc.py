"""Logging in at an OpenID provider: a real one, in a process of its own."""

from __future__ import annotations

import base64
import hashlib
import json
import logging
import re
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import httpx
import pytest
from authlib.integrations.requests_client import OAuth2Session
from fastapi.testclient import TestClient
from joserfc import jwt
from joserfc.jwk import RSAKey
from prometheus_client import CollectorRegistry

from api_kit import StoredBackend, checkouts, definitions, people
from kantor.errors import ConfigError
from kantor_orchestrator.api.app import create_app
from kantor_orchestrator.api.config import ApiSettings, OidcSettings
from kantor_orchestrator.api.metrics import ApiMetrics
from kantor_orchestrator.api.oidc import Provider
from kantor_orchestrator.api.server import run_api
from kantor_orchestrator.config import ADDRESS_FILE
from oidc_places import CLIENT, OpenIdProvider, changed, next_of, path_of
from waiting import PATIENCE, until

API, SITE = "/api/v1", "https://kantor.example"
PEOPLE = {
    "u-ann": {"email": "ann@example.com", "groups": ["sre", "everybody"]},
    "u-vera": {"email": "vera@example.com", "groups": ["everybody"]},
    "u-guest": {"email": "guest@example.com", "groups": ["visitors"]},
}
ROLES = {"everybody": "viewer", "sre": "operator"}


@pytest.fixture(scope="module")
def lasting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenIdProvider]:
    made = OpenIdProvider(tmp_path_factory.mktemp("oidc"), PEOPLE)
    made.start()
    yield made
    made.stop()


@pytest.fixture
def provider(lasting: OpenIdProvider) -> OpenIdProvider:
    """It runs; a test may stop it."""
    if not lasting.is_running:
        lasting.start()
    return lasting


@pytest.fixture
def backend(tmp_path: Path) -> Iterator[StoredBackend]:
    checkouts(tmp_path / "view.db")
    with closing(StoredBackend(tmp_path, definitions())) as made:
        yield made


def settings(provider: OpenIdProvider, **more: object) -> OidcSettings:
    return OidcSettings(provider.issuer, CLIENT, "secret", CLIENT, roles_claim="groups", roles=ROLES, **more)  # type: ignore[arg-type]


@pytest.fixture
def browser(provider: OpenIdProvider, backend: StoredBackend) -> Iterator[TestClient]:
    app = create_app(backend, ApiSettings(oidc=settings(provider), hosts=("kantor.example",)))
    with TestClient(app, base_url=SITE, follow_redirects=False) as client:
        yield client


def begun(browser: TestClient, after: str = "/transactions") -> str:
    """The provider's address that a login leads to."""
    answer = browser.get("/login/oidc", params={"next": after})
    assert answer.status_code == 303
    return answer.headers["location"]


def logged_in(browser: TestClient, provider: OpenIdProvider, subject: str) -> Any:
    return browser.get(path_of(provider.approve(begun(browser), subject)))


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def claims_in(token: str) -> dict[str, object]:
    part = token.split(".")[1]
    found: dict[str, object] = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    return found


def test_somebody_logs_in_acts_under_their_name_and_logs_out(
    browser: TestClient, provider: OpenIdProvider, backend: StoredBackend
) -> None:
    """The whole way: the page asked for, the provider, back to it, an operator action, out; a copy of the cookie is worth nothing then."""
    wanted = browser.get("/transactions")
    assert wanted.headers["location"] == "/login?next=%2Ftransactions"
    page = browser.get("/login?next=%2Ftransactions").text
    assert f"Log in with 127.0.0.1:{provider.port}" in page
    assert 'name="token"' not in page
    entered = logged_in(browser, provider, "u-ann")
    assert (entered.status_code, next_of(entered.text)) == (200, "/transactions")
    cookie = next(c for c in entered.headers.get_list("set-cookie") if c.startswith("kantor_session="))
    assert {"HttpOnly", "SameSite=strict", "Secure", "Path=/", "Max-Age=28800"} <= set(cookie.split("; "))
    page = browser.get("/transactions/tx-stuck").text
    assert "ann@example.com" in page
    form = re.search(r'name="form" value="([^"]+)"', page)
    assert form
    act = {"act": "retry", "why": "again", "form": form[1]}
    assert browser.post("/transactions/tx-stuck/acts", data=act | {"form": "made up"}).status_code == 403
    assert (
        browser.post("/transactions/tx-stuck/acts", data=act, headers={"Origin": provider.issuer}).status_code
        == 403
    )
    assert browser.post("/transactions/tx-stuck/acts", data=act).status_code == 200
    assert [(name, who) for name, _, who, _, _ in backend.acted] == [("retry", "ann@example.com")]
    copy = browser.cookies["kantor_session"]
    out = browser.post("/logout", data={"form": form[1]})
    assert out.headers["location"] == "/login?out=1"
    assert f"{provider.issuer}/oauth2/end_session?client_id={CLIENT}" in browser.get("/login?out=1").text
    assert browser.get("/transactions").status_code == 303
    assert browser.get("/transactions", headers={"Cookie": f"kantor_session={copy}"}).status_code == 303


def test_the_login_asks_for_a_code_that_nobody_else_can_use(
    browser: TestClient, provider: OpenIdProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    """State, nonce and a PKCE challenge, new each time; what is sent with the code fits the challenge."""
    asked = [dict(parse_qsl(urlsplit(begun(browser)).query)) for _ in range(2)]
    for name in ("state", "nonce", "code_challenge"):
        assert len({one[name] for one in asked}) == 2
    assert asked[0]["code_challenge_method"] == "S256"
    assert asked[0]["redirect_uri"] == f"{SITE}/login/oidc/callback"
    sent: list[str] = []
    fetch = OAuth2Session.fetch_token

    def noted(self: Any, *values: Any, **named: Any) -> Any:
        sent.append(named["code_verifier"])
        return fetch(self, *values, **named)

    monkeypatch.setattr(OAuth2Session, "fetch_token", noted)
    url = begun(browser)
    assert browser.get(path_of(provider.approve(url, "u-ann"))).status_code == 200
    challenge = base64.urlsafe_b64encode(hashlib.sha256(sent[0].encode()).digest()).decode().rstrip("=")
    assert dict(parse_qsl(urlsplit(url).query))["code_challenge"] == challenge


def test_an_answer_with_another_state_is_refused(browser: TestClient, provider: OpenIdProvider) -> None:
    """Somebody else's login must not become that of this browser."""
    location = provider.approve(begun(browser), "u-ann")
    answer = browser.get(path_of(changed(location, state="another")))
    assert answer.status_code == 400
    assert "does not belong to a login started in this browser" in answer.text
    assert "kantor_session" not in browser.cookies
    again = browser.get(path_of(location))  # a flow is good for one answer
    assert again.status_code == 400


def test_an_answer_in_another_browser_is_refused(
    browser: TestClient, provider: OpenIdProvider, backend: StoredBackend
) -> None:
    """Who sends somebody the address of a finished login does not log them in."""
    location = provider.approve(begun(browser), "u-ann")
    browser.cookies.clear()
    answer = browser.get(path_of(location))
    assert answer.status_code == 400
    assert "did not begin in this browser" in answer.text


def test_a_token_with_another_nonce_is_refused(browser: TestClient, provider: OpenIdProvider) -> None:
    """A code that was got for another login is not taken, though the state fits."""
    answer = browser.get(path_of(provider.approve(changed(begun(browser), nonce="another"), "u-ann")))
    assert answer.status_code == 400
    assert "nonce" in answer.text
    assert "kantor_session" not in browser.cookies


def test_a_code_that_is_none_and_a_refusal_are_told(browser: TestClient, provider: OpenIdProvider) -> None:
    """In the provider's words."""
    url = begun(browser)
    state = dict(parse_qsl(urlsplit(url).query))["state"]
    answer = browser.get(f"/login/oidc/callback?code=made-up&state={state}")
    assert answer.status_code == 400
    assert "refused the code" in answer.text
    url = begun(browser)
    state = dict(parse_qsl(urlsplit(url).query))["state"]
    answer = browser.get(f"/login/oidc/callback?state={state}&error=access_denied&error_description=no+way")
    assert answer.status_code == 400
    assert "access_denied: no way" in answer.text


def test_who_has_no_role_is_told_what_to_ask_for(browser: TestClient, provider: OpenIdProvider) -> None:
    """On the page and in the API: 403."""
    answer = logged_in(browser, provider, "u-guest")
    assert answer.status_code == 403
    assert "visitors" in answer.text
    assert "sre (operator)" in answer.text
    assert "kantor_session" not in browser.cookies
    found = browser.get(f"{API}/me", headers=bearer(provider.id_token("u-guest")))
    assert found.status_code == 403
    assert "everybody (viewer)" in found.json()["detail"]


def test_a_session_ends_by_itself(provider: OpenIdProvider, backend: StoredBackend) -> None:
    """However often it is used."""
    api = ApiSettings(oidc=settings(provider, session=-1.0), hosts=("kantor.example",))
    with TestClient(create_app(backend, api), base_url=SITE, follow_redirects=False) as browser:
        location = path_of(provider.approve(begun(browser), "u-ann"))
        entered = browser.get(location)
        cookie = entered.headers["set-cookie"].partition(";")[0]
        assert "kantor_session=" in str(entered.headers.get_list("set-cookie"))
        assert browser.get("/transactions", headers={"Cookie": cookie}).status_code == 303


def test_programs_send_a_token_of_the_provider(
    browser: TestClient, provider: OpenIdProvider, backend: StoredBackend
) -> None:
    """Its roles count, its name is in the journal; nothing of it is kept."""
    ann, vera = bearer(provider.id_token("u-ann")), bearer(provider.id_token("u-vera"))
    assert browser.get(f"{API}/me", headers=ann).json() == {"name": "ann@example.com", "role": "operator"}
    body = {"act": "retry", "why": "x"}
    assert browser.post(f"{API}/transactions/tx-stuck/acts", json=body, headers=vera).status_code == 403
    assert browser.post(f"{API}/transactions/tx-stuck/acts", json=body, headers=ann).status_code == 200
    assert [who for _, _, who, _, _ in backend.acted] == ["ann@example.com"]
    assert browser.get(f"{API}/me").status_code == 401


def test_bad_tokens_are_refused(browser: TestClient, provider: OpenIdProvider) -> None:
    """For somebody else, signed by somebody else, not signed: 401 with the reason."""
    good = provider.id_token("u-ann")
    (key_id,) = [
        key.get("kid") for key in httpx.get(f"{provider.issuer}/jwks", timeout=PATIENCE).json()["keys"]
    ]
    forged = jwt.encode(
        {"alg": "RS256"} | ({"kid": key_id} if key_id else {}),
        dict(claims_in(good)),
        RSAKey.generate_key(2048),
    )
    header = base64.urlsafe_b64encode(b'{"alg":"none"}').decode().rstrip("=")
    for token, why in (
        (provider.id_token("u-ann", "another-client"), "it was not issued for kantor-pages"),
        (forged, "not signed with any of the provider's keys"),
        (f"{header}.{good.split('.')[1]}.", "'none' is not accepted"),
        ("kantor_unknown", "authentication required"),
    ):
        answer = browser.get(f"{API}/me", headers=bearer(token))
        assert (answer.status_code, why in answer.json()["detail"]) == (401, True), answer.text
        assert answer.headers["www-authenticate"].startswith("Bearer")


def test_a_token_that_has_expired_is_refused(provider: OpenIdProvider, backend: StoredBackend) -> None:
    """By our clock, which is two hours on."""
    later = Provider(settings(provider), lambda: time.time() + 7_200)
    app = create_app(backend, ApiSettings(oidc=settings(provider)), provider=later)
    with TestClient(app, base_url=SITE) as api:
        answer = api.get(f"{API}/me", headers=bearer(provider.id_token("u-ann")))
        assert (answer.status_code, "expired" in answer.json()["detail"]) == (401, True)


def test_new_keys_of_the_provider_are_known_with_the_first_token(
    browser: TestClient, provider: OpenIdProvider
) -> None:
    """And tokens of the old keys are out of force."""
    old = bearer(provider.id_token("u-ann"))
    assert browser.get(f"{API}/me", headers=old).status_code == 200
    provider.stop()
    provider.start()
    assert browser.get(f"{API}/me", headers=bearer(provider.id_token("u-ann"))).status_code == 200
    assert browser.get(f"{API}/me", headers=old).status_code == 401


def test_while_the_provider_is_down_tokens_are_good_and_logins_are_told(
    provider: OpenIdProvider, backend: StoredBackend
) -> None:
    """And when it is back, one can log in, without a restart."""
    known, tokens = people()
    token = provider.id_token("u-ann")
    provider.stop()
    api = ApiSettings(tokens=known.tokens, oidc=settings(provider), hosts=("kantor.example",))
    with TestClient(create_app(backend, api), base_url=SITE, follow_redirects=False) as browser:
        assert browser.get(f"{API}/me", headers=bearer(tokens["admin"])).status_code == 200
        assert 'name="token"' in browser.get("/login").text
        answer = browser.get("/login/oidc")
        assert answer.status_code == 503
        assert "correct KANTOR_OIDC_ISSUER" in answer.text
        found = browser.get(f"{API}/me", headers=bearer(token))
        assert (found.status_code, "can't be reached" in found.json()["detail"]) == (503, True)
        provider.start()
        until(lambda: browser.get("/login/oidc").status_code == 303, "one can log in")
        assert logged_in(browser, provider, "u-ann").status_code == 200


def environment(provider: OpenIdProvider, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KANTOR_API_TOKENS", raising=False)
    monkeypatch.setenv("KANTOR_API_ADDRESS", "127.0.0.1:0")
    monkeypatch.setenv("KANTOR_OIDC_CLIENT_ID", CLIENT)
    monkeypatch.setenv("KANTOR_OIDC_ISSUER", provider.issuer)


def test_it_starts_without_the_provider_and_says_so(
    provider: OpenIdProvider,
    backend: StoredBackend,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Whoever is logged in, or has a token, is not shut out."""
    environment(provider, monkeypatch)
    provider.stop()
    stop, ready = threading.Event(), threading.Event()
    with caplog.at_level(logging.WARNING):
        thread = threading.Thread(
            target=run_api, args=(backend.settings, stop, ready.set, ApiMetrics(CollectorRegistry()))
        )
        thread.start()
        try:
            assert ready.wait(PATIENCE)
            url = (backend.settings.home / ADDRESS_FILE).read_text().strip()
            assert httpx.get(f"{url}/login/oidc", timeout=PATIENCE).status_code == 503
        finally:
            stop.set()
            thread.join(PATIENCE)
    assert "oidc_unavailable" in [record.__dict__.get("action") for record in caplog.records]


def test_a_provider_with_another_name_stops_the_start(
    provider: OpenIdProvider, backend: StoredBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its tokens would all be refused; the error has the name to set."""
    environment(provider, monkeypatch)
    monkeypatch.setenv("KANTOR_OIDC_ISSUER", f"{provider.issuer}/")
    with pytest.raises(ConfigError, match=f"says its issuer is '{provider.issuer}'"):
        run_api(backend.settings, threading.Event(), lambda: None, ApiMetrics(CollectorRegistry()))
