"""Tokens of Kantor's own: a file with a line for each, which holds its hash. What the file says now counts."""

from __future__ import annotations

import hashlib
import logging
import re
import secrets
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from kantor.errors import ConfigError
from kantor_orchestrator.api.people import ROLES, Person

log = logging.getLogger("kantor.api")

ENV_TOKENS = "KANTOR_API_TOKENS"

#: Seconds after which the file is read again, if somebody asks. It is small; its time would not tell two changes in one tick.
LOOK = 1.0
_LINE = re.compile(r"(?P<name>[\w.@+-]{1,100})\s+(?P<role>\w+)\s+sha256:(?P<hash>[0-9a-f]{64})")


def new_token(name: str, role: str) -> tuple[str, str]:
    """A token, and the line of the file that makes it known."""
    token = f"kantor_{secrets.token_urlsafe(32)}"
    return token, f"{name} {role} sha256:{fingerprint(token)}"


def fingerprint(token: str) -> str:
    """What is kept of a token. It is random and long: a fast hash will do."""
    return hashlib.sha256(token.encode()).hexdigest()


def read_tokens(path: Path) -> dict[str, Person]:
    """People by the hash of their tokens. Lines are ``NAME ROLE sha256:HASH``; ``#`` begins a comment. Raises ``ConfigError``
    for what is wrong with any of it."""
    found, wrong = _parse(_text(path), path)
    if wrong:
        raise ConfigError(wrong[0])
    if not found:
        raise ConfigError(f"{ENV_TOKENS}: {path} holds no token; `kantor token NAME` makes one")
    return found


class Tokens:
    """Who has which token. ``path``: the file, read again while we run: a line that is taken out ends its token and the
    sessions of it, also where another line can't be read; nobody is let in by a file that is gone. Thread-safe."""

    def __init__(
        self,
        known: Mapping[str, Person],
        path: Path | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._known = dict(known)
        self._path = path
        self._clock = clock
        self._lock = threading.Lock()
        self._text: str | None = None
        self._trouble: list[str] = []
        self._next = clock()

    def get(self, fingerprint: str) -> Person | None:
        if self._path is not None:
            with self._lock:
                if self._clock() >= self._next:
                    self._look(self._path)
                    self._next = self._clock() + LOOK
        return self._known.get(fingerprint)

    def _look(self, path: Path) -> None:
        text: str | None
        found: dict[str, Person]
        try:
            text = _text(path)
        except ConfigError as error:
            text, found, wrong = None, {}, [str(error)]
        else:
            if text == self._text:
                return
            found, wrong = _parse(text, path)
        self._text = text
        for one in wrong if wrong != self._trouble else ():
            log.error("%s; it is ignored", one, extra={"action": "tokens_wrong", "path": str(path)})
        self._trouble = wrong
        if found != self._known:
            said = "; ".join(_changes(self._known, found))
            log.warning(
                "tokens have changed: %s", said, extra={"action": "tokens_changed", "path": str(path)}
            )
        self._known = found


def _changes(before: Mapping[str, Person], now: Mapping[str, Person]) -> list[str]:
    said = []
    for hash_ in sorted(before.keys() | now.keys(), key=lambda one: (now.get(one) or before[one]).name):
        old, new = before.get(hash_), now.get(hash_)
        if old is None and new is not None:
            said.append(f"one of {new.name} ({new.role}) is new")
        elif new is None and old is not None:
            said.append(f"one of {old.name} ({old.role}) has been revoked")
        elif old is not None and new is not None and old != new:
            said.append(f"that of {old.name} ({old.role}) is now of {new.name} ({new.role})")
    return said


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{ENV_TOKENS}: {path} can't be read: {error}") from error


def _parse(text: str, path: Path) -> tuple[dict[str, Person], list[str]]:
    """People by hash, and what is wrong with the other lines."""
    found: dict[str, Person] = {}
    wrong = []
    for number, line in enumerate(text.splitlines(), 1):
        said = line.partition("#")[0].strip()
        if not said:
            continue
        match = _LINE.fullmatch(said)
        if match is None or match["role"] not in ROLES:
            wrong.append(
                f"{path}, line {number}: write NAME ROLE sha256:HASH, with one of the roles {', '.join(ROLES)}; "
                "`kantor token NAME --role ROLE` makes such a line"
            )
            continue
        found[match["hash"]] = Person(match["name"], match["role"])
    return found, wrong
