"""What every request passes first, and what every answer carries. Plain ASGI: it also guards what is streamed.

* A page of somebody else's must not be able to use a browser that reaches us: the ``Host`` must be ours (DNS rebinding), and
  what changes something must come from our own pages or from no page at all (``Sec-Fetch-Site``, ``Origin``).
* A request is small.
* A page of ours loads nothing from elsewhere, runs no inline script, is never shown in a frame.
"""

from __future__ import annotations

from contextlib import suppress
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from kantor_orchestrator.api import problems
from kantor_orchestrator.api.config import ApiSettings, is_loopback

#: Bytes of a request's body; of its query.
MOST_BODY, MOST_QUERY = 65_536, 8_192
_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; font-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
_ALWAYS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
}


class _TooLargeError(Exception):
    """The body went on beyond what is read."""


class Guards:
    """Middleware."""

    def __init__(self, app: ASGIApp, settings: ApiSettings) -> None:
        self._app = app
        self._settings = settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        sent, size = False, 0

        async def guarded(message: Message) -> None:
            nonlocal sent
            if size > MOST_BODY and not sent:
                return  # whatever the application makes of a body that was cut off
            if message["type"] == "http.response.start":
                sent = True
                headers = MutableHeaders(scope=message)
                for name, value in _ALWAYS.items():
                    headers.setdefault(name, value)
                # Static files are asked for by what is in them.
                is_static = scope["path"].startswith("/static/") and bool(scope.get("query_string"))
                headers.setdefault(
                    "cache-control", "max-age=31536000, immutable" if is_static else "no-store"
                )
            await send(message)

        async def counted() -> Message:
            nonlocal size
            message = await receive()
            size += len(message.get("body", b""))
            if size > MOST_BODY:
                raise _TooLargeError
            return message

        refusal = self._refusal(scope)
        with suppress(_TooLargeError):
            await (refusal or self._app)(scope, counted, guarded)
        if size > MOST_BODY and not sent:
            size = 0
            await problems.answer(413, f"a request may have at most {MOST_BODY:,} bytes")(
                scope, receive, guarded
            )

    def _refusal(self, scope: Scope) -> ASGIApp | None:
        headers = Headers(scope=scope)
        if len(scope.get("query_string", b"")) > MOST_QUERY:
            return problems.answer(414, f"a query string may have at most {MOST_QUERY:,} bytes")
        length = headers.get("content-length", "0")
        if not length.isdecimal() or int(length[:12]) > MOST_BODY:
            return problems.answer(413, f"a request may have at most {MOST_BODY:,} bytes")
        host = headers.get("host", "")
        if not self._is_ours(host):
            return problems.answer(
                421, "this server does not answer for the requested host; add it to KANTOR_API_HOSTS"
            )
        if scope["method"] not in _SAFE and _is_from_elsewhere(headers, host):
            return problems.answer(403, "this request comes from a page of another site")
        return None

    def _is_ours(self, host: str) -> bool:
        name = _name(host)
        if name in self._settings.hosts:
            return True
        if self._settings.needs_login:
            return not self._settings.hosts  # where people log in, another site's page has no session here
        return is_loopback(name)


def _name(host: str) -> str:
    try:
        return (urlsplit(f"//{host}").hostname or "").lower()
    except ValueError:
        return ""


def _is_from_elsewhere(headers: Headers, host: str) -> bool:
    """Whether a browser says so; other programs say nothing."""
    if headers.get("sec-fetch-site", "none") not in ("same-origin", "none"):
        return True
    origin = headers.get("origin")
    if origin is None:
        return False
    try:
        return urlsplit(origin).netloc.lower() != host.lower()
    except ValueError:
        return True
