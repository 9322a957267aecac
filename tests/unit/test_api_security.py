"""Who may do what: the table walked route by route, logins, guards, personal data."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from api_kit import StoredBackend, checkouts, definitions, people
from kantor.errors import ConfigError
from kantor_orchestrator.api.access import PUBLIC, TABLE, Access
from kantor_orchestrator.api.app import create_app
from kantor_orchestrator.api.config import ApiSettings
from kantor_orchestrator.api.guards import MOST_BODY
from kantor_orchestrator.api.payloads import Payload
from kantor_orchestrator.api.people import ROLES
from kantor_orchestrator.api.server import _listen
from kantor_orchestrator.api.tokens import new_token, read_tokens
from kantor_orchestrator.definitions.personal import MASK

API = "/api/v1"
SETTINGS, TOKENS = people()


@pytest.fixture
def backend(tmp_path: Path) -> Iterator[StoredBackend]:
    checkouts(tmp_path / "view.db")
    with closing(StoredBackend(tmp_path, definitions(personal=["customer_id"]))) as made:
        yield made


@pytest.fixture
def api(backend: StoredBackend) -> Iterator[TestClient]:
    """With login."""
    with TestClient(create_app(backend, SETTINGS), base_url="https://kantor.example") as client:
        yield client


@pytest.fixture(scope="module")
def walked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """One for all routes: nothing that the walk does changes anything."""
    folder = tmp_path_factory.mktemp("walked")
    checkouts(folder / "view.db")
    with (
        closing(StoredBackend(folder, definitions())) as backend,
        TestClient(create_app(backend, SETTINGS), base_url="https://kantor.example") as client,
    ):
        yield client


def bearer(role: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {TOKENS[role]}"}


def test_every_route_is_in_the_table_and_nothing_else(backend: StoredBackend) -> None:
    """A new route without a role can't be forgotten."""
    routes = create_app(backend, SETTINGS).state.routes
    assert sorted(routes) == sorted(TABLE)


@pytest.mark.parametrize(("method", "path"), sorted(TABLE))
@pytest.mark.parametrize("role", ["", "wrong", *ROLES])
def test_the_table_is_what_happens(walked: TestClient, method: str, path: str, role: str) -> None:
    """Nobody, a wrong token and every role, on every route: in, or 401 (to the login, for a page), or 403."""
    if path.endswith("/events"):
        path += "?seconds=0"
    url = path.replace("{transaction_id}", "x").replace("{saga}", "s").replace("{version}", "1")
    url = url.replace("{topic}", "t").replace("{partition}", "0").replace("{offset}", "0")
    headers = {} if not role else {"Authorization": "Bearer wrong"} if role == "wrong" else bearer(role)
    status = walked.request(method, url, headers=headers, follow_redirects=False).status_code
    needed = TABLE[method, path.partition("?")[0]]
    if needed == PUBLIC:
        assert status not in (401, 404)
    elif role in ("", "wrong"):
        is_page = method == "GET" and not path.startswith(API)
        assert status == (303 if is_page else 401)
    elif ROLES.index(role) < ROLES.index(needed):
        assert status == 403
    else:
        assert status not in (401, 403, 500) or (
            method == "POST" and not path.startswith(API) and status == 403
        )


@pytest.mark.parametrize("address", ["0.0.0.0:8770", "192.168.1.5:80", "[::]:8770", "kantor.example:443"])
def test_other_addresses_are_refused_without_tokens(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the remedy."""
    monkeypatch.delenv("KANTOR_API_TOKENS", raising=False)
    monkeypatch.setenv("KANTOR_API_ADDRESS", address)
    with pytest.raises(ConfigError, match="kantor token"):
        ApiSettings.from_env()


def test_with_tokens_other_addresses_are_served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file holds hashes only."""
    token, line = new_token("ann", "admin")
    file = tmp_path / "tokens"
    file.write_text(f"# people\n\n{line}\n")
    assert token not in line
    monkeypatch.setenv("KANTOR_API_TOKENS", str(file))
    monkeypatch.setenv("KANTOR_API_ADDRESS", "0.0.0.0:8770")
    access = Access(ApiSettings.from_env())
    found = access.by_token(token)
    assert found is not None
    assert (found.name, found.role) == ("ann", "admin")
    assert access.by_token("kantor_other") is None


@pytest.mark.parametrize(
    "text", ["", "ann admin", "ann boss sha256:" + "0" * 64, "ann admin sha256:12", "# only this"]
)
def test_a_file_of_tokens_that_is_wrong_says_where(tmp_path: Path, text: str) -> None:
    """Nobody gets in by a line that can't be read."""
    file = tmp_path / "tokens"
    file.write_text(text)
    with pytest.raises(ConfigError, match=str(file)):
        read_tokens(file)


@pytest.mark.parametrize("text", [None, "", "no PEM"])
def test_a_certificate_that_is_none_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str | None
) -> None:
    """At the start: else each attempt to serve would end, and nobody but the log would know why."""
    for name in ("CERT", "KEY"):
        monkeypatch.setenv(f"KANTOR_API_TLS_{name}", str(tmp_path / name))
        if text is not None:
            (tmp_path / name).write_text(text)
    with pytest.raises(ConfigError, match=f"KANTOR_API_TLS_CERT={tmp_path}.*two PEM files"):
        ApiSettings.from_env()


@pytest.mark.parametrize("name", ["SESSION", "ROLES", "ROLES_CLAIM", "AUDIENCE", "SCOPE", "CLIENT_SECRET"])
def test_a_setting_of_a_provider_that_is_not_there_is_told(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Whoever sets it believes that people log in."""
    monkeypatch.setenv(f"KANTOR_OIDC_{name}", "x")
    with pytest.raises(ConfigError, match=f"KANTOR_OIDC_{name} have no effect.*KANTOR_OIDC_ISSUER"):
        ApiSettings.from_env()


def test_a_host_that_can_be_none_is_told() -> None:
    """Whatever the system's resolver raises for it."""
    with pytest.raises(ConfigError, match=r"KANTOR_API_ADDRESS: .* can't be used"):
        _listen(ApiSettings(host="\u00fc" * 100, port=0, is_port_fixed=True))


@pytest.mark.parametrize(
    "address",
    ["8770", "localhost", "127.0.0.1:x", "127.0.0.1:99999", ":80", " :80", "127.0.0.1:" + "9" * 5_000],
)
def test_an_address_that_is_none_is_told(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With how to write one."""
    monkeypatch.setenv("KANTOR_API_ADDRESS", address)
    with pytest.raises(ConfigError, match="host:port"):
        ApiSettings.from_env()


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "", "[::", "169.254.1.1"])
def test_on_loopback_another_host_name_is_refused(backend: StoredBackend, host: str) -> None:
    """A page whose name was bound to this address anew must not read anything."""
    with TestClient(create_app(backend, ApiSettings()), base_url="http://localhost") as api:
        assert api.get(f"{API}/me", headers={"Host": host}).status_code == 421
        assert api.get(f"{API}/me", headers={"Host": "127.0.0.1:8770"}).status_code == 200
        assert api.get(f"{API}/me", headers={"Host": "[::1]:8770"}).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
def test_another_sites_page_can_change_nothing(backend: StoredBackend, headers: dict[str, str]) -> None:
    """Neither with the right body nor with the right host."""
    with TestClient(create_app(backend, ApiSettings()), base_url="http://localhost") as api:
        body = {"act": "retry", "why": "x"}
        answer = api.post(f"{API}/transactions/tx-stuck/acts", json=body, headers=headers)
        assert (answer.status_code, backend.acted) == (403, [])


def test_a_large_request_is_refused_whether_it_says_so_or_not(api: TestClient) -> None:
    """By its header, or while it is read."""
    url, headers = f"{API}/bulk/count", bearer("admin")
    assert api.post(url, content=b"x" * (MOST_BODY + 1), headers=headers).status_code == 413

    def chunks() -> Iterator[bytes]:
        for _ in range(20):
            yield b"[" * 8_192

    assert api.post(url, content=chunks(), headers=headers).status_code == 413


def test_every_answer_carries_the_policy(api: TestClient) -> None:
    """Pages, data and errors; no inline script anywhere."""
    for path in ("/login", f"{API}/me", "/nothing", "/static/app.css"):
        headers = api.get(path).headers
        assert "default-src 'none'" in headers["content-security-policy"], path
        assert "unsafe-inline" not in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-frame-options"] == "DENY"


def test_who_acts_is_who_logged_in(api: TestClient, backend: StoredBackend) -> None:
    """The journal's actor can't be chosen."""
    api.post(
        f"{API}/transactions/tx-stuck/acts", json={"act": "retry", "why": "x"}, headers=bearer("operator")
    )
    assert [actor for _, _, actor, _, _ in backend.acted] == ["operator@example"]


def test_a_viewer_sees_no_personal_keys(api: TestClient, backend: StoredBackend) -> None:
    """An operator does; and while nobody knows what is personal, a viewer sees no keys at all."""

    def keys(role: str) -> dict[str, str]:
        found = api.get(f"{API}/transactions/tx-completed", headers=bearer(role)).json()["keys"]
        return {key["name"]: key["value"] for key in found}

    assert keys("viewer") == {"order_id": "1041", "customer_id": MASK}
    assert keys("operator") == {"order_id": "1041", "customer_id": "c-71"}
    backend.deployed = None
    assert keys("viewer") == {"order_id": MASK, "customer_id": MASK}


def test_a_viewer_sees_no_personal_fields(api: TestClient, backend: StoredBackend) -> None:
    """Neither decoded nor in the bytes."""
    schema = {
        "type": "record",
        "name": "Order",
        "fields": [
            {"name": "id", "type": "string"},
            {"name": "email", "type": "string", "confluent:tags": ["PII"]},
        ],
    }
    url = f"{API}/transactions/tx-completed"
    first, second = api.get(url, headers=bearer("viewer")).json()["timeline"][:2]
    secret = {"id": "1", "email": "ann@example"}
    backend.stored[first["origin"]] = Payload(first["origin"], 1, None, [], b"ann@example", secret, schema)
    backend.stored[second["origin"]] = Payload(second["origin"], 1, None, [], b"who knows", "who knows")
    for message in (first, second):
        place = f"{url}/messages/{message['origin']}"
        found = api.get(place, headers=bearer("viewer"))
        assert "ann@example" not in found.text
        assert "who knows" not in found.text
        assert found.json()["hidden"] is True
        assert api.get(f"{place}/raw", headers=bearer("viewer")).status_code == 403
        assert api.get(f"{place}/raw", headers=bearer("operator")).status_code == 200
    shown = api.get(f"{url}/messages/{first['origin']}", headers=bearer("operator")).json()
    assert shown["decoded"] == secret


def test_a_viewer_sees_no_record_key_but_the_transaction(api: TestClient, backend: StoredBackend) -> None:
    """A saga may have filled it with personal data that is in none of the message's own fields."""
    schema = {"type": "record", "name": "Ship", "fields": [{"name": "id", "type": "string"}]}
    url = f"{API}/transactions/tx-completed"
    place = api.get(url, headers=bearer("viewer")).json()["timeline"][0]["origin"]

    def key(role: str) -> str:
        return str(api.get(f"{url}/messages/{place}", headers=bearer(role)).json()["key"])

    backend.stored[place] = Payload(place, 1, b"ann@example", [], b"x", {"id": "1"}, schema)
    assert (key("viewer"), key("operator")) == (MASK, "ann@example")
    assert (
        "ann@example"
        not in api.get(f"/transactions/tx-completed/messages/{place}", headers=bearer("viewer")).text
    )
    backend.stored[place] = Payload(place, 1, b"tx-completed", [], b"x", {"id": "1"}, schema)
    assert key("viewer") == "tx-completed"


@pytest.mark.parametrize("text", ["c-71", "customer_id=c-71"])
def test_a_viewer_finds_nothing_by_personal_data(api: TestClient, text: str) -> None:
    """Who may not see whose transaction it is can't try, either; other keys and ids are found."""

    def found(role: str, wanted: str) -> list[str]:
        answer = api.get(f"{API}/transactions", params={"q": wanted}, headers=bearer(role)).json()
        page = api.get("/transactions", params={"q": wanted, "saga": "checkout"}, headers=bearer(role)).text
        ids = [one["transaction_id"] for one in answer["transactions"]]
        assert [id_ in page for id_ in ids] == [True] * len(ids)
        assert ids or "tx-" not in page
        return ids

    assert "tx-completed" in found("operator", text)
    assert found("viewer", text) == []
    assert found("viewer", "order_id=1041") == ["tx-completed"] == found("viewer", "tx-completed")


def test_a_form_with_too_many_fields_is_refused(api: TestClient) -> None:
    """With what is wrong, not as a failure of the server."""
    form = "&".join(f"f{number}=1" for number in range(101))
    for path in (
        "/transactions/tx-stuck/acts",
        "/bulk/count",
        "/bulk/acts",
        "/sagas/acts",
        "/login",
        "/logout",
    ):
        headers = bearer("admin") | {"Content-Type": "application/x-www-form-urlencoded"}
        answer = api.post(path, content=form, headers=headers)
        assert (answer.status_code, "at most 100 fields" in answer.text) == (413, True)
