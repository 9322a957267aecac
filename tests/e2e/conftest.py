"""The stack as a user runs it: as processes of its own, on a real Kafka, ended when a test ends."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from e2e.demos import Demo


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[Demo]:
    """A demo that keeps everything in a folder of its own. Not started yet."""
    made = Demo(tmp_path)
    yield made
    made.end()
