"""Memory that was used for a moment goes back to the system."""

from __future__ import annotations

import platform
import threading
import time
from pathlib import Path

import pytest

from kantor_orchestrator.process.thrift import Thrift


def resident() -> int:
    """Bytes of this process that are in memory."""
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * 4096


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries are not asked")
def test_what_lies_below_something_that_is_kept_is_given_back() -> None:
    """glibc gives back by itself only what is at the end of its heap: one message that stays keeps all before it."""
    used = [bytes(2_000) for _ in range(50_000)]
    kept = used[::100]
    full = resident()
    used.clear()
    thrift = Thrift(interval=0.01)
    thrift.start()
    deadline = time.monotonic() + 30.0
    while resident() > full - 60_000_000 and time.monotonic() < deadline:
        threading.Event().wait(0.01)
    thrift.stop()
    assert len(kept) == 500
    assert resident() < full - 60_000_000
