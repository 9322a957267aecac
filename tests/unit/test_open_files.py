"""How many files a process may have open."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from pathlib import Path

import pytest

from kantor_orchestrator.process import open_files


@pytest.fixture
def limits() -> Iterator[tuple[int, int]]:
    """This process's own, as they were at the end."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    yield before
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_a_process_takes_what_the_system_would_give_it(limits: tuple[int, int]) -> None:
    """The default of many systems is too few for an engine with many shards."""
    most = limits[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, most))
    open_files.raise_limit()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert soft > 256
    assert soft <= open_files.MOST
    assert hard == most
    assert open_files.shortage() == ""


def test_what_is_enough_is_left_as_it_is(limits: tuple[int, int]) -> None:
    """It is never lowered."""
    open_files.raise_limit()
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    open_files.raise_limit()
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == before


@pytest.mark.usefixtures("limits")
def test_too_few_are_told_with_the_remedy() -> None:
    """Also where there is none left even to count them with."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    used = [Path("/dev/null").open("rb") for _ in range(30)]  # noqa: SIM115
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (used[-1].fileno() + 3, hard))
        some_left = open_files.shortage()
        resource.setrlimit(resource.RLIMIT_NOFILE, (used[0].fileno(), hard))
        none_left = open_files.shortage()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        for file in used:
            file.close()
    assert "files and connections open, and needs more: raise the limit (`ulimit -n" in some_left
    assert "needs more" in none_left
