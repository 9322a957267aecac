"""A real OpenID provider, in a process of its own, and a browser that logs in there."""

from __future__ import annotations

import html
import json
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import httpx

from kantor_orchestrator.dev import ports
from waiting import PATIENCE, until

CLIENT = "kantor-pages"


class OpenIdProvider:
    """``people``: their claims by subject. Started anew it has other keys, at the same address."""

    def __init__(self, folder: Path, people: Mapping[str, Mapping[str, Any]]) -> None:
        self._log = folder / "provider.log"
        self._people = people
        self.port = ports.free_port()  # one that no client is given meanwhile: it is used again after a stop
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
        until(self._answers, "the provider answers", self._log.read_text, pause=0.05)

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, self._log.read_text()
        try:
            return httpx.get(f"{self.issuer}/jwks", timeout=PATIENCE).status_code == 200
        except httpx.TransportError:
            return False

    @property
    def is_running(self) -> bool:
        return self._process is not None

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(PATIENCE)
            self._process = None

    def approve(self, url: str, subject: str) -> str:
        """What somebody does there; where they are sent back to."""
        answer = httpx.post(url, data={"sub": subject}, timeout=PATIENCE)
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
        answer = httpx.post(f"{self.issuer}/oauth2/token", data=form, auth=(client, "any"), timeout=PATIENCE)
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
