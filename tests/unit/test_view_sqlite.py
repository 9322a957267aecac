"""The view in an SQLite file: what is of files alone."""

from __future__ import annotations

from pathlib import Path

import apsw
import pytest

from kantor.errors import ConfigError, KantorError
from kantor_orchestrator.view.database import ViewWriter, is_shared
from kantor_orchestrator.view.queries import View
from kantor_orchestrator.view.reader import NoViewError
from view_traffic import Traffic, project


@pytest.fixture
def path(tmp_path: Path) -> Path:
    traffic = Traffic()
    traffic.completed("tx-1001", 1)
    path = tmp_path / "view.db"
    project(traffic, path)
    return path


def test_a_database_of_a_newer_kantor_is_refused(path: Path) -> None:
    """An older program would misread it."""
    apsw.Connection(str(path)).pragma("user_version", 99)
    with pytest.raises(ConfigError, match="newer"):
        ViewWriter(path)
    with pytest.raises(ConfigError, match="another version"):
        View(path)


def test_without_a_database_there_is_no_view(tmp_path: Path) -> None:
    """The message says what to start."""
    with pytest.raises(NoViewError, match="kantor run"):
        View(tmp_path / "view.db")
    (tmp_path / "view.db").touch()
    with pytest.raises(NoViewError, match="kantor run"):
        View(tmp_path / "view.db")


def test_a_damaged_file_is_named_with_the_remedy(tmp_path: Path) -> None:
    """It is a projection: it can be deleted."""
    (tmp_path / "view.db").write_bytes(b"no database" * 1_000)
    with pytest.raises(KantorError, match="delete it"):
        View(tmp_path / "view.db")
    with pytest.raises(KantorError, match="delete it"):
        ViewWriter(tmp_path / "view.db")


@pytest.mark.parametrize("url", ["", "mysql://host/db", "sqlite://", "view.db", "postgresql://"])
def test_an_unsupported_url_is_refused(url: str) -> None:
    """The message says which are supported."""
    with pytest.raises(ConfigError, match="postgresql://"):
        is_shared(url)


def test_a_new_database_has_one_version_or_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever reads while it is being made finds none yet, not one of another Kantor."""
    place = tmp_path / "view.db"
    met: list[str] = []

    def meanwhile(path: Path, **options: str) -> str:
        with pytest.raises(NoViewError) as none:
            View(place)
        met.append(str(none.value))
        return text(path, **options)

    text = Path.read_text
    monkeypatch.setattr(Path, "read_text", meanwhile)
    ViewWriter(place).close()
    assert len(met) > 1
