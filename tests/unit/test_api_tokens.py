"""The file of tokens, read again while it is served."""

from __future__ import annotations

import asyncio
from contextlib import closing
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from prometheus_client import CollectorRegistry

from api_kit import StoredBackend, checkouts, definitions
from kantor_orchestrator.api.app import create_app
from kantor_orchestrator.api.config import ApiSettings
from kantor_orchestrator.api.live import Live
from kantor_orchestrator.api.metrics import ApiMetrics
from kantor_orchestrator.api.people import Person
from kantor_orchestrator.api.tokens import LOOK, Tokens, fingerprint, new_token, read_tokens


class File:
    """A file of tokens, and who reads it by a clock of ours."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.ann, self.ann_line = new_token("ann", "operator")
        self.bob, self.bob_line = new_token("bob", "viewer")
        self.write(self.ann_line, self.bob_line)
        self.now = 0.0
        self.tokens = Tokens(read_tokens(path), path, lambda: self.now)

    def write(self, *lines: str) -> None:
        self.path.write_text("\n".join(lines))

    def who(self, token: str) -> Person | None:
        """After the time in which the file may be another one."""
        self.now += LOOK
        return self.tokens.get(fingerprint(token))


@pytest.fixture
def file(tmp_path: Path) -> File:
    return File(tmp_path / "tokens")


def said(caplog: pytest.LogCaptureFixture, action: str) -> list[str]:
    return [r.getMessage() for r in caplog.records if r.__dict__.get("action") == action]


def test_a_token_that_is_taken_out_is_out_of_force(file: File, caplog: pytest.LogCaptureFixture) -> None:
    """Without a restart; the log says whose, and the others' stay."""
    assert file.who(file.ann) == Person("ann", "operator")
    file.write(file.bob_line)
    assert file.who(file.ann) is None
    assert file.who(file.bob) == Person("bob", "viewer")
    assert said(caplog, "tokens_changed") == ["tokens have changed: one of ann (operator) has been revoked"]


def test_a_role_that_is_changed_and_a_token_that_is_new_count(
    file: File, caplog: pytest.LogCaptureFixture
) -> None:
    """Also when the file is as long as before."""
    cy, cy_line = new_token("cy", "admin")
    file.write(file.ann_line.replace("ann operator", "ann admin   "), cy_line)
    assert file.who(file.ann) == Person("ann", "admin")
    assert file.who(cy) == Person("cy", "admin")
    assert file.who(file.bob) is None
    (line,) = said(caplog, "tokens_changed")
    for part in (
        "that of ann (operator) is now of ann (admin)",
        "one of cy (admin) is new",
        "bob (viewer) has been revoked",
    ):
        assert part in line


def test_a_line_that_cant_be_read_lets_nobody_in_and_is_named_once(
    file: File, caplog: pytest.LogCaptureFixture
) -> None:
    """The other lines count: an error in one must not keep a token that was taken out."""
    file.write("bob boss sha256:12", file.ann_line)
    assert file.who(file.bob) is None
    assert file.who(file.ann) is not None
    (line,) = said(caplog, "tokens_wrong")
    assert f"{file.path}, line 1: write NAME ROLE" in line


def test_a_file_that_is_gone_lets_nobody_in_until_it_is_back(
    file: File, caplog: pytest.LogCaptureFixture
) -> None:
    """It is said once, and what is in force again, too."""
    file.path.unlink()
    assert file.who(file.ann) is None
    assert file.who(file.ann) is None
    assert len(said(caplog, "tokens_wrong")) == 1
    file.write(file.ann_line)
    assert file.who(file.ann) == Person("ann", "operator")


def test_the_file_is_read_once_a_look(file: File) -> None:
    """However many ask."""
    file.who(file.ann)
    file.write(file.bob_line)
    assert file.tokens.get(fingerprint(file.ann)) is not None
    assert file.who(file.ann) is None


def test_sessions_end_with_their_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who logged in with it is sent to the login; without any token left everybody still has to log in."""
    monkeypatch.setattr("kantor_orchestrator.api.tokens.LOOK", 0.0)
    file = File(tmp_path / "tokens")
    checkouts(tmp_path / "view.db")
    settings = ApiSettings(tokens=read_tokens(file.path), token_file=file.path)
    with (
        closing(StoredBackend(tmp_path, definitions())) as backend,
        TestClient(
            create_app(backend, settings), base_url="https://kantor.example", follow_redirects=False
        ) as browser,
    ):
        assert browser.post("/login", data={"token": file.ann}).status_code == 303
        assert browser.get("/transactions").status_code == 200
        file.write("")
        assert browser.get("/transactions").headers["location"] == "/login?next=%2Ftransactions"
        headers = {"Authorization": f"Bearer {file.ann}"}
        assert browser.get("/api/v1/me", headers=headers).status_code == 401


def test_a_stream_ends_with_the_token(tmp_path: Path) -> None:
    """Before the next event: who is not known any more hears nothing more."""
    checkouts(tmp_path / "view.db")
    live = Live(StoredBackend(tmp_path), ApiMetrics(CollectorRegistry()))
    known = [True]

    async def heard() -> list[bytes]:
        stamps = iter("abc")
        found = []
        async for part in live.stream(lambda: next(stamps), lambda: 1, 60, lambda: known[0]):
            found.append(part)
            known[0] = len(found) < 2
        return found

    assert asyncio.run(heard()) == [b"retry: 2000\n\n", b"event: changed\ndata: 1\n\n"]
