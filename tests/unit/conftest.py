"""What the unit tests of the view write to: files. ``tests/contract`` runs them on PostgreSQL, too."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from unit.kit_harness import OPENED
from view_places import Places


@pytest.fixture
def places(tmp_path: Path) -> Places:
    return lambda name: tmp_path / f"{name}.db"


@pytest.fixture(autouse=True)
def _desks_closed() -> Iterator[None]:
    """What a test's desks have opened is closed when it ends."""
    yield
    while OPENED:
        OPENED.pop().close()
