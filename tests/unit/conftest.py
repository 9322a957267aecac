"""What the unit tests of the view write to: files. ``tests/contract`` runs them on PostgreSQL, too."""

from __future__ import annotations

from pathlib import Path

import pytest

from view_places import Places


@pytest.fixture
def places(tmp_path: Path) -> Places:
    return lambda name: tmp_path / f"{name}.db"
