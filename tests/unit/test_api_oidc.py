"""Tokens of an OpenID provider: which are taken, whom they name, what role they give; and the settings. No provider is asked:
``tests/integration/test_oidc.py`` has a real one."""

from __future__ import annotations

import base64
import hmac
import json
import logging
from collections.abc import Mapping
from typing import Any

import pytest
from joserfc import jwt
from joserfc.jwk import ECKey, RSAKey

from kantor.errors import ConfigError
from kantor_orchestrator.api.config import ApiSettings, OidcSettings
from kantor_orchestrator.api.identity import (
    NoRoleError,
    ProviderDownError,
    RejectedError,
    name_in,
    person_in,
)
from kantor_orchestrator.api.jwt import LEEWAY, Keys, claims_of
from kantor_orchestrator.api.people import Person
from kantor_orchestrator.api.sessions import Sessions

ISSUER, AUDIENCE, NOW = "https://id.example", "kantor", 1_800_000_000
RSA, OTHER_RSA = (RSAKey.generate_key(2048, {"kid": kid, "use": "sig"}) for kid in ("one", "two"))
EC = ECKey.generate_key("P-256", {"kid": "curve"})
GOOD = {"iss": ISSUER, "aud": AUDIENCE, "sub": "u-1", "exp": NOW + 300, "iat": NOW}


class Published:
    """What the provider publishes, and how often it was asked."""

    def __init__(self, *keys: RSAKey | ECKey) -> None:
        self.keys = list(keys)
        self.asked = 0
        self.is_away = False
        self.now = 0.0

    def __call__(self) -> Mapping[str, Any]:
        self.asked += 1
        if self.is_away:
            raise ProviderDownError("it is away")
        return {"keys": [key.as_dict(private=False) for key in self.keys]}

    def known(self) -> Keys:
        return Keys(self, lambda: self.now)


def token(key: RSAKey | ECKey = RSA, algorithm: str = "RS256", kid: str | None = "one", **claims: Any) -> str:
    header = {"alg": algorithm} | ({"kid": kid} if kid else {})
    whole = {name: value for name, value in (GOOD | claims).items() if value is not None}
    return jwt.encode(header, whole, key, algorithms=[algorithm])


def unsigned(header: dict[str, Any], claims: Mapping[str, Any] = GOOD) -> str:
    parts = [
        base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in (header, claims)
    ]
    return ".".join([*parts, ""])


def taken(text: str, keys: Keys | None = None) -> dict[str, Any]:
    return claims_of(
        text, keys or Published(RSA, EC).known(), issuer=ISSUER, audience=AUDIENCE, now=lambda: NOW
    )


@pytest.mark.parametrize(
    "text",
    [
        token(),
        token(kid=None),
        token(EC, "ES256", "curve"),
        token(RSA, "PS256"),
        token(aud=["other", AUDIENCE]),
        token(exp=NOW - LEEWAY + 1),
        token(nbf=NOW + LEEWAY),
    ],
)
def test_a_token_of_the_provider_for_us_is_taken(text: str) -> None:
    """Whichever of its keys signed it, within what clocks differ by."""
    assert taken(text)["sub"] == "u-1"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (token(aud="another"), "it was not issued for kantor"),
        (token(aud=None), "aud"),
        (token(iss="https://evil.example"), f"it was not issued by {ISSUER}"),
        (token(iss=None), "iss"),
        (token(exp=NOW - LEEWAY), "expired"),
        (token(exp=None), "exp"),
        (token(exp="2099-01-01"), "exp"),
        (token(nbf=NOW + LEEWAY + 1), "not valid yet"),
        (token(iat=NOW + LEEWAY + 1), "in the future"),
        (token(sub=None), "sub"),
        (token(OTHER_RSA, kid="two"), "not signed with any of the provider's keys"),
        (token(OTHER_RSA, kid="one"), "not signed with any of the provider's keys"),
        (token(OTHER_RSA, kid=None), "not signed with any of the provider's keys"),
        (token(EC, "ES256", "one"), "not signed with any of the provider's keys"),
        (unsigned({"alg": "none"}), "'none' is not accepted"),
        (unsigned({"alg": "None", "kid": "one"}), "'None' is not accepted"),
        (unsigned({"alg": "RS256", "kid": "one"}), "not signed with any of the provider's keys"),
        (unsigned({"alg": "RS256", "kid": 1}), "malformed token"),
        (unsigned({"kid": "one"}), "malformed token"),
        ("a.b.c", "malformed token"),
        ("é.b.c", "malformed token"),
        (f"{token()}x", "not signed with any of the provider's keys|malformed token"),
        ("a" * 20_000, "malformed token"),
    ],
)
def test_any_other_token_is_refused_with_the_reason(text: str, why: str) -> None:
    """Not for us, over, not yet, of somebody else, unsigned, garbage."""
    with pytest.raises(RejectedError, match=why):
        taken(text)


def test_the_public_key_is_no_shared_secret() -> None:
    """Whoever has it could sign with it, if we let the token say how it is to be verified."""
    text = unsigned({"alg": "HS256", "kid": "one"}).rstrip(".")
    signature = hmac.digest(RSA.as_pem(private=False), text.encode(), "sha256")
    forged = f"{text}.{base64.urlsafe_b64encode(signature).decode().rstrip('=')}"
    with pytest.raises(RejectedError, match="'HS256' is not accepted"):
        taken(forged)


def test_a_key_that_is_for_encryption_signs_nothing() -> None:
    """Its holder need not be the signer."""
    key = RSAKey.generate_key(2048, {"kid": "enc", "use": "enc"})
    free = RSAKey.import_key({**key.as_dict(private=True), "use": "sig"})
    with pytest.raises(RejectedError, match="not signed with any of the provider's keys"):
        taken(token(free, kid="enc"), Published(RSA, key).known())


def test_a_new_key_is_asked_for_at_once_and_an_invented_one_only_now_and_then() -> None:
    """A rotation is noticed with the first token; whoever makes up keys can't make us ask all the time."""
    published = Published(RSA)
    keys = published.known()
    assert taken(token(), keys)["sub"] == "u-1"
    published.keys = [OTHER_RSA]
    assert taken(token(OTHER_RSA, kid="two"), keys)["sub"] == "u-1"
    assert published.asked == 2
    with pytest.raises(RejectedError):
        taken(token(), keys)  # the old one has been revoked
    for number in range(50):
        with pytest.raises(RejectedError):
            taken(token(kid=f"made-up-{number}"), keys)
    assert published.asked == 2
    published.now += 11
    with pytest.raises(RejectedError):
        taken(token(kid="made-up"), keys)
    assert published.asked == 3


def test_while_the_provider_is_away_its_keys_are_those_of_before(caplog: pytest.LogCaptureFixture) -> None:
    """And it is said; who never had them is told that it is away."""
    published = Published(RSA)
    keys = published.known()
    taken(token(), keys)
    published.is_away, published.now = True, 601.0
    with caplog.at_level(logging.WARNING):
        assert taken(token(), keys)["sub"] == "u-1"
    assert [record.__dict__["action"] for record in caplog.records] == ["oidc_unavailable"]
    with pytest.raises(ProviderDownError):
        taken(token(), published.known())


@pytest.mark.parametrize(
    ("claims", "name"),
    [
        ({"email": "ann@example.com", "preferred_username": "ann", "sub": "1"}, "ann@example.com"),
        ({"email": "boss@example.com", "email_verified": False, "preferred_username": "ann"}, "ann"),
        ({"email": "", "name": "Ann B", "sub": "1"}, "Ann B"),
        ({"name": "a\nb", "sub": "1"}, "1"),
    ],
)
def test_the_journal_gets_a_name_that_the_provider_vouches_for(claims: dict[str, Any], name: str) -> None:
    """An address that nobody has verified could be anybody's."""
    assert name_in(claims) == name


@pytest.mark.parametrize(
    ("claims", "path", "role"),
    [
        ({"roles": ["viewer", "sre"]}, "roles", "operator"),
        ({"roles": "everybody viewer"}, "roles", "viewer"),
        ({"realm_access": {"roles": ["platform", "viewer"]}}, "realm_access.roles", "admin"),
        ({"https://example.com/roles": ["sre"]}, "https://example.com/roles", "operator"),
        ({"groups": "cn=ops,ou=groups"}, "groups", "operator"),
    ],
)
def test_the_highest_role_that_the_claim_gives_counts(claims: dict[str, Any], path: str, role: str) -> None:
    """Wherever providers put it."""
    roles = {"viewer": "viewer", "sre": "operator", "cn=ops,ou=groups": "operator", "platform": "admin"}
    settings = OidcSettings(ISSUER, AUDIENCE, roles_claim=path, roles=roles)
    assert person_in(claims | {"sub": "1"}, settings) == Person("1", role)


@pytest.mark.parametrize("claims", [{}, {"roles": []}, {"roles": ["guest"]}, {"roles": {"admin": True}}])
def test_who_has_no_role_is_told_what_to_ask_for(claims: dict[str, Any]) -> None:
    """With the claim, what it says, and what it should say."""
    with pytest.raises(NoRoleError, match=rf"ann.*'roles'.*{ISSUER}.*sre \(operator\)"):
        person_in(
            claims | {"email": "ann", "sub": "1"}, OidcSettings(ISSUER, AUDIENCE, roles={"sre": "operator"})
        )


ENVIRONMENT = {"KANTOR_OIDC_ISSUER": ISSUER, "KANTOR_OIDC_CLIENT_ID": AUDIENCE}


def settings(monkeypatch: pytest.MonkeyPatch, **more: str) -> ApiSettings:
    for name, value in (ENVIRONMENT | more).items():
        monkeypatch.setenv(name, value)
    return ApiSettings.from_env()


def test_a_provider_is_enough_for_other_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tokens are not needed then."""
    found = settings(
        monkeypatch,
        KANTOR_API_ADDRESS="0.0.0.0:8770",
        KANTOR_OIDC_ROLES="operator=cn=ops,ou=groups; admin=platform;admin=root",
        KANTOR_OIDC_SESSION="30m",
    )
    assert found.needs_login
    assert found.oidc is not None
    assert found.oidc.roles == {"cn=ops,ou=groups": "operator", "platform": "admin", "root": "admin"}
    assert (found.oidc.audience, found.oidc.session) == (AUDIENCE, 1_800)


@pytest.mark.parametrize(
    ("name", "value", "why"),
    [
        ("KANTOR_OIDC_ISSUER", "", "belong together"),
        ("KANTOR_OIDC_ISSUER", "http://id.example", "https"),
        ("KANTOR_OIDC_ISSUER", "id.example", "https"),
        ("KANTOR_OIDC_CLIENT_ID", "", "belong together"),
        ("KANTOR_OIDC_ROLES", "boss=x", "ROLE=VALUE"),
        ("KANTOR_OIDC_ROLES", "admin", "ROLE=VALUE"),
        ("KANTOR_OIDC_ROLES", "admin=x; viewer=x", "two roles"),
        ("KANTOR_OIDC_SCOPE", "email", "openid"),
        ("KANTOR_OIDC_SESSION", "long", "KANTOR_OIDC_SESSION"),
        ("KANTOR_API_SECRET", "short", "32 random characters"),
    ],
)
def test_a_setting_that_is_wrong_is_told(
    name: str, value: str, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With its name and the remedy, before anything is served."""
    with pytest.raises(ConfigError, match=why):
        settings(monkeypatch, **{name: value})


def test_a_session_is_good_for_its_purpose_and_its_time_only() -> None:
    """Nobody can make one, nor use one for something else; logged out, a copy is worth nothing."""
    now = [0.0]
    sessions = Sessions(b"s" * 32, lambda: now[0])
    sealed = sessions.seal("session", {"name": "ann"}, 60)
    found = sessions.open("session", sealed)
    assert found is not None
    assert found["name"] == "ann"
    assert sessions.open("login", sealed) is None
    assert sessions.open("session", f"x{sealed}") is None
    assert sessions.open("session", sealed.rpartition(".")[0]) is None
    assert Sessions(b"t" * 32, lambda: now[0]).open("session", sealed) is None
    other = sessions.seal("session", {"name": "bob"}, 60)
    sessions.end("session", sealed)
    assert sessions.open("session", sealed) is None
    assert sessions.open("session", other) is not None
    now[0] = 61
    assert sessions.open("session", other) is None
