"""Settings of the API, from the environment; and when it refuses to start."""

from __future__ import annotations

import hashlib
import ipaddress
import os
import secrets
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from kantor.errors import ConfigError
from kantor.health import MOST_PORT
from kantor.numbers import whole_number
from kantor_orchestrator.api.people import ROLES, Person
from kantor_orchestrator.api.tokens import ENV_TOKENS, read_tokens
from kantor_orchestrator.definitions import durations

ENV_ADDRESS = "KANTOR_API_ADDRESS"
ENV_CERTIFICATE, ENV_KEY = "KANTOR_API_TLS_CERT", "KANTOR_API_TLS_KEY"
ENV_TRACES, ENV_HOSTS, ENV_SECRET = "KANTOR_TRACE_URL", "KANTOR_API_HOSTS", "KANTOR_API_SECRET"
ENV_ISSUER, ENV_CLIENT, ENV_CLIENT_SECRET = (
    "KANTOR_OIDC_ISSUER",
    "KANTOR_OIDC_CLIENT_ID",
    "KANTOR_OIDC_CLIENT_SECRET",
)
ENV_CLAIM, ENV_ROLES, ENV_AUDIENCE = "KANTOR_OIDC_ROLES_CLAIM", "KANTOR_OIDC_ROLES", "KANTOR_OIDC_AUDIENCE"
ENV_SCOPE, ENV_SESSION = "KANTOR_OIDC_SCOPE", "KANTOR_OIDC_SESSION"
_OF_A_PROVIDER = (ENV_CLIENT_SECRET, ENV_CLAIM, ENV_ROLES, ENV_AUDIENCE, ENV_SCOPE, ENV_SESSION)

HOST, PORT = "127.0.0.1", 8770
#: Characters of the secret that replicas share: fewer can be guessed.
_SHORTEST_SECRET = 32


@dataclass(frozen=True, slots=True)
class OidcSettings:
    """An OpenID provider that says who people are. ``roles``: what its claim ``roles_claim`` may say, and the role that this
    gives. ``audience``: whom tokens for the API are for. ``session``: seconds that a login lasts."""

    issuer: str
    client_id: str
    client_secret: str = ""
    audience: str = ""
    roles_claim: str = "roles"
    roles: Mapping[str, str] = field(default_factory=lambda: {role: role for role in ROLES})
    scope: str = "openid profile email"
    session: float = 8 * 3_600.0

    @classmethod
    def from_env(cls) -> OidcSettings | None:
        """None: there is no provider. Raises ``ConfigError``."""
        env = os.environ
        issuer, client_id = env.get(ENV_ISSUER, ""), env.get(ENV_CLIENT, "")
        if not issuer and not client_id:
            if alone := [name for name in _OF_A_PROVIDER if env.get(name)]:
                raise ConfigError(
                    f"{', '.join(alone)} have no effect without a provider: set {ENV_ISSUER} and {ENV_CLIENT}, or unset them"
                )
            return None
        if not issuer or not client_id:
            raise ConfigError(f"{ENV_ISSUER} and {ENV_CLIENT} belong together: set both or none")
        if not is_safe(issuer):
            raise ConfigError(
                f"{ENV_ISSUER}={issuer!r}: write the provider's https address, as its tokens name it (`iss`)"
            )
        scope = env.get(ENV_SCOPE, "") or "openid profile email"
        if "openid" not in scope.split():
            raise ConfigError(f"{ENV_SCOPE}={scope!r}: `openid` must be among the scopes")
        session = env.get(ENV_SESSION, "") or "8h"
        try:
            seconds = durations.parse(session) / 1000
        except ValueError as error:
            raise ConfigError(f"{ENV_SESSION}={session!r}: {error}") from error
        return cls(
            issuer,
            client_id,
            env.get(ENV_CLIENT_SECRET, ""),
            env.get(ENV_AUDIENCE, "") or client_id,
            env.get(ENV_CLAIM, "") or "roles",
            _roles(env.get(ENV_ROLES, "")),
            scope,
            seconds,
        )

    def fingerprint(self) -> str:
        """Sessions are of these settings: another client, or other roles, are another login."""
        facts = (self.issuer, self.client_id, self.roles_claim, *sorted(self.roles.items()))
        return hashlib.sha256(repr(facts).encode()).hexdigest()[:16]


def _roles(text: str) -> dict[str, str]:
    """``operator=cn=ops,ou=groups; admin=platform``: what the claim says is after the first ``=``."""
    if not text.strip():
        return {role: role for role in ROLES}
    found: dict[str, str] = {}
    for part in filter(None, (one.strip() for one in text.split(";"))):
        role, equals, said = (one.strip() for one in part.partition("="))
        if role not in ROLES or not equals or not said:
            raise ConfigError(
                f"{ENV_ROLES}: {part!r} gives no role: write ROLE=VALUE; ROLE=VALUE, with the roles {', '.join(ROLES)} and "
                "what the provider's claim says"
            )
        if found.get(said, role) != role:
            raise ConfigError(f"{ENV_ROLES}: {said!r} gives two roles, {found[said]} and {role}: choose one")
        found[said] = role
    return found


def is_safe(url: str) -> bool:
    """Whether what is sent there can't be read on the way: https, or this machine."""
    try:
        found = urlsplit(url)
        host = found.hostname or ""
    except ValueError:
        return False
    return bool(host) and (found.scheme == "https" or (found.scheme == "http" and is_loopback(host)))


@dataclass(frozen=True, slots=True)
class ApiSettings:
    """``port`` 0: a free one; ``is_port_fixed``: nobody chose it, so another one will do if it is taken. ``tokens``: people
    by the SHA-256 of their tokens, as ``token_file`` has them at the start; ``oidc``: a provider that knows more. Without any
    of them: no login, on loopback only. ``hosts``: names that browsers may call it by. ``trace_url``: where the distributed
    trace of ``{trace_id}`` is shown."""

    host: str = HOST
    port: int = PORT
    is_port_fixed: bool = False
    tokens: Mapping[str, Person] = field(default_factory=dict)
    token_file: Path | None = None
    oidc: OidcSettings | None = None
    certificate: str = ""
    key: str = ""
    hosts: tuple[str, ...] = ()
    trace_url: str = ""
    #: Signs sessions and the pages' forms; unless it is given, they end with the process.
    secret: bytes = field(default_factory=lambda: secrets.token_bytes(32))

    @property
    def needs_login(self) -> bool:
        return bool(self.tokens) or self.token_file is not None or self.oidc is not None

    @classmethod
    def from_env(cls) -> ApiSettings:
        """Raises ``ConfigError`` naming the variable and the remedy."""
        address = os.environ.get(ENV_ADDRESS, "")
        host, port = _address(address) if address else (HOST, PORT)
        path = os.environ.get(ENV_TOKENS, "")
        tokens = read_tokens(Path(path)) if path else {}
        oidc = OidcSettings.from_env()
        if not tokens and oidc is None and not is_loopback(host):
            raise ConfigError(
                f"{ENV_ADDRESS}={address} can be reached from other machines, and nobody would have to log in: "
                f"set {ENV_TOKENS} to a file of tokens (`kantor token NAME` makes one), or {ENV_ISSUER} to an OpenID provider, "
                f"or listen on {HOST}"
            )
        certificate, key = os.environ.get(ENV_CERTIFICATE, ""), os.environ.get(ENV_KEY, "")
        if bool(certificate) != bool(key):
            raise ConfigError(f"{ENV_CERTIFICATE} and {ENV_KEY} belong together: set both or none")
        if certificate:
            _try_certificate(certificate, key)
        traces = os.environ.get(ENV_TRACES, "")
        if traces and (not traces.startswith(("https://", "http://")) or "{trace_id}" not in traces):
            raise ConfigError(f"{ENV_TRACES}={traces!r}: write an http(s) address with {{trace_id}} in it")
        hosts = tuple(
            name.strip().lower() for name in os.environ.get(ENV_HOSTS, "").split(",") if name.strip()
        )
        return cls(
            host,
            port,
            bool(address),
            tokens,
            Path(path) if path else None,
            oidc,
            certificate,
            key,
            hosts,
            traces,
            _secret(),
        )


def _try_certificate(certificate: str, key: str) -> None:
    """Raises ``ConfigError`` if no server can use them."""
    try:
        # A key with a password would make the server ask for it at a terminal, and wait.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key, password=lambda: "")
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"{ENV_CERTIFICATE}={certificate}, {ENV_KEY}={key} can't be used: {error}; name two PEM files that this user can read, a "
            "certificate (with its chain) and its key, which has no password"
        ) from error


def _secret() -> bytes:
    """That replicas share, so that each knows the others' sessions; else one of this process."""
    text = os.environ.get(ENV_SECRET, "")
    if not text:
        return secrets.token_bytes(32)
    if len(text) < _SHORTEST_SECRET:
        raise ConfigError(
            f"{ENV_SECRET} is too short to be a secret: give it {_SHORTEST_SECRET} random characters or more (`openssl rand -hex 32`)"
        )
    return hashlib.sha256(text.encode()).digest()


def is_loopback(host: str) -> bool:
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _address(text: str) -> tuple[str, int]:
    """``host:port``; IPv6 in brackets."""
    host, colon, port = text.rpartition(":")
    number = whole_number(port, MOST_PORT)
    if not colon or number is None or not host.strip():
        raise ConfigError(
            f"{ENV_ADDRESS}={text!r:.200} is not an address: write host:port, such as {HOST}:{PORT}"
        )
    return host.removeprefix("[").removesuffix("]"), number
