"""A real OpenID provider, in a process of its own, and a browser that logs in there."""

from __future__ import annotations

import html
import json
import re
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import httpx

CLIENT = "kantor-pages"


class OpenIdProvider:
    """``people``: their claims by subject. Started anew it has other keys, at the same address."""

    def __init__(self, folder: Path, people: Mapping[str, Mapping[str, Any]]) -> None:
        self._log = folder / "provider.log"
        self._people = people
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.issuer = f"http://127.0.0.1:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        claims = [json.dumps({"sub": sub, **said}) for sub, said in self._people.items()]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "oidc_provider_mock", "--port", str(self.port)]
                + [part for one in claims for part in ("--user-claims", one)],
                stdout=log,
                stderr=log,
            )
        deadline = time.monotonic() + 60
        while True:
            try:
                if httpx.get(f"{self.issuer}/jwks").status_code == 200:
                    return
            except httpx.TransportError:
                pass
            assert self._process.poll() is None, self._log.read_text()
            assert time.monotonic() < deadline, self._log.read_text()
            time.sleep(0.05)

    @property
    def is_running(self) -> bool:
        return self._process is not None

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(20)
            self._process = None

    def approve(self, url: str, subject: str) -> str:
        """What somebody does there; where they are sent back to."""
        answer = httpx.post(url, data={"sub": subject})
        assert answer.status_code == 302, answer.text
        return answer.headers["location"]

    def id_token(self, subject: str, client: str = CLIENT) -> str:
        """What a program gets for itself, by the same flow."""
        back = "http://127.0.0.1:1/"
        query = {"client_id": client, "redirect_uri": back, "response_type": "code", "state": "s"}
        location = self.approve(
            f"{self.issuer}/oauth2/authorize?{urlencode(query | {'scope': 'openid email profile'})}", subject
        )
        code = dict(parse_qsl(urlsplit(location).query))["code"]
        form = {"grant_type": "authorization_code", "code": code, "redirect_uri": back}
        answer = httpx.post(f"{self.issuer}/oauth2/token", data=form, auth=(client, "any"))
        found: str = answer.json()["id_token"]
        return found


def changed(url: str, **values: str) -> str:
    """The address with other values in its query."""
    parts = urlsplit(url)
    return parts._replace(query=urlencode(dict(parse_qsl(parts.query)) | values)).geturl()


def path_of(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.path}?{parts.query}"


def next_of(page: str) -> str:
    """Where a page goes on by itself."""
    found = re.search(r'http-equiv="refresh" content="0;url=([^"]*)"', page)
    assert found, page
    return html.unescape(found[1])
