"""Signed cookies: what a browser brings back is what it was given, for so long and for that purpose only."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
import time
from collections.abc import Callable
from typing import Any


class Sessions:
    """``secret`` signs. What has been ended is remembered until its time is over."""

    def __init__(self, secret: bytes, clock: Callable[[], float] = time.time) -> None:
        self._secret = secret
        self._clock = clock
        self._ended: dict[str, float] = {}

    def seal(self, purpose: str, facts: dict[str, Any], seconds: float) -> str:
        whole = facts | {"until": int(self._clock() + seconds), "id": secrets.token_urlsafe(12)}
        text = base64.urlsafe_b64encode(json.dumps(whole, separators=(",", ":")).encode()).decode()
        return f"{text}.{self.signed(purpose, text)}"

    def open(self, purpose: str, sealed: str) -> dict[str, Any] | None:
        """None: not ours, for something else, over, or ended."""
        text, _, signature = sealed.rpartition(".")
        if not text or not hmac.compare_digest(signature.encode(), self.signed(purpose, text).encode()):
            return None
        found: dict[str, Any] = json.loads(base64.urlsafe_b64decode(text))
        return None if found["until"] < self._clock() or found["id"] in self._ended else found

    def end(self, purpose: str, sealed: str) -> None:
        """It is good for nothing from now on, also to somebody who has a copy."""
        found = self.open(purpose, sealed)
        now = self._clock()
        self._ended = {id_: until for id_, until in self._ended.items() if until >= now}
        if found is not None:
            self._ended[found["id"]] = found["until"]

    def signed(self, purpose: str, text: str) -> str:
        digest = hmac.new(self._secret, f"{purpose}:{text}".encode(), hashlib.sha256).digest()
        return base64.urlsafe_b64encode(digest).decode().rstrip("=")
