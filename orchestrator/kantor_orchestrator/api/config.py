"""Settings of the API, from the environment; and when it refuses to start."""

from __future__ import annotations

import hashlib
import ipaddress
import os
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from kantor.errors import ConfigError

ENV_ADDRESS, ENV_TOKENS = "KANTOR_API_ADDRESS", "KANTOR_API_TOKENS"
ENV_CERTIFICATE, ENV_KEY = "KANTOR_API_TLS_CERT", "KANTOR_API_TLS_KEY"
ENV_TRACES, ENV_HOSTS = "KANTOR_TRACE_URL", "KANTOR_API_HOSTS"

HOST, PORT = "127.0.0.1", 8770
VIEWER, OPERATOR, ADMIN = "viewer", "operator", "admin"
#: Each may do what those before it may.
ROLES = (VIEWER, OPERATOR, ADMIN)
#: The name of who comes from this machine without login.
LOCAL = "local"


@dataclass(frozen=True, slots=True)
class Person:
    """Who asks. ``name`` is what the journal says who did it."""

    name: str
    role: str

    def may(self, role: str) -> bool:
        return ROLES.index(self.role) >= ROLES.index(role)


@dataclass(frozen=True, slots=True)
class ApiSettings:
    """``port`` 0: a free one; ``is_port_fixed``: nobody chose it, so another one will do if it is taken. ``tokens``: people
    by the SHA-256 of their tokens; empty: no login, on loopback only. ``hosts``: names that browsers may call it by.
    ``trace_url``: where the distributed trace of ``{trace_id}`` is shown."""

    host: str = HOST
    port: int = PORT
    is_port_fixed: bool = False
    tokens: Mapping[str, Person] = field(default_factory=dict)
    certificate: str = ""
    key: str = ""
    hosts: tuple[str, ...] = ()
    trace_url: str = ""
    #: Signs sessions and the pages' forms; they end with the process.
    secret: bytes = field(default_factory=lambda: secrets.token_bytes(32))

    @property
    def needs_login(self) -> bool:
        return bool(self.tokens)

    @classmethod
    def from_env(cls) -> ApiSettings:
        """Raises ``ConfigError`` naming the variable and the remedy."""
        address = os.environ.get(ENV_ADDRESS, "")
        host, port = _address(address) if address else (HOST, PORT)
        path = os.environ.get(ENV_TOKENS, "")
        tokens = read_tokens(Path(path)) if path else {}
        if not tokens and not is_loopback(host):
            raise ConfigError(
                f"{ENV_ADDRESS}={address} can be reached from other machines, and nobody would have to log in: "
                f"set {ENV_TOKENS} to a file of tokens (`kantor token NAME` makes one), or listen on {HOST}"
            )
        certificate, key = os.environ.get(ENV_CERTIFICATE, ""), os.environ.get(ENV_KEY, "")
        if bool(certificate) != bool(key):
            raise ConfigError(f"{ENV_CERTIFICATE} and {ENV_KEY} belong together: set both or none")
        traces = os.environ.get(ENV_TRACES, "")
        if traces and (not traces.startswith(("https://", "http://")) or "{trace_id}" not in traces):
            raise ConfigError(f"{ENV_TRACES}={traces!r}: write an http(s) address with {{trace_id}} in it")
        hosts = tuple(
            name.strip().lower() for name in os.environ.get(ENV_HOSTS, "").split(",") if name.strip()
        )
        return cls(host, port, bool(address), tokens, certificate, key, hosts, traces)


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
    if not colon or not port.isascii() or not port.isdecimal() or int(port) > 65_535 or not host:
        raise ConfigError(f"{ENV_ADDRESS}={text!r} is no address: write host:port, such as {HOST}:{PORT}")
    return host.removeprefix("[").removesuffix("]"), int(port)


# -- tokens

_LINE = re.compile(r"(?P<name>[\w.@+-]{1,100})\s+(?P<role>\w+)\s+sha256:(?P<hash>[0-9a-f]{64})")


def new_token(name: str, role: str) -> tuple[str, str]:
    """A token, and the line of the file that makes it known."""
    token = f"kantor_{secrets.token_urlsafe(32)}"
    return token, f"{name} {role} sha256:{fingerprint(token)}"


def fingerprint(token: str) -> str:
    """What is kept of a token. It is random and long: a fast hash will do."""
    return hashlib.sha256(token.encode()).hexdigest()


def read_tokens(path: Path) -> dict[str, Person]:
    """People by the hash of their tokens. Lines are ``NAME ROLE sha256:HASH``; ``#`` begins a comment."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{ENV_TOKENS}: {path} can't be read: {error}") from error
    found = {}
    for number, line in enumerate(lines, 1):
        text = line.partition("#")[0].strip()
        if not text:
            continue
        match = _LINE.fullmatch(text)
        if match is None or match["role"] not in ROLES:
            raise ConfigError(
                f"{path}, line {number}: write NAME ROLE sha256:HASH, with one of the roles {', '.join(ROLES)}; "
                "`kantor token NAME --role ROLE` makes such a line"
            )
        found[match["hash"]] = Person(match["name"], match["role"])
    if not found:
        raise ConfigError(f"{ENV_TOKENS}: {path} holds no token; `kantor token NAME` makes one")
    return found
