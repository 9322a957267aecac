"""Calls that may never return, and processes that must end nevertheless (kit-6, kit-7, shard-6)."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from kantor import watchdog
from kantor.errors import KafkaUnavailableError, StuckError
from kantor.watchdog import Guard, guarded


@pytest.fixture
def hang() -> Iterator[Callable[[], str]]:
    """A call that does not return before the test is over."""
    over = threading.Event()

    def call() -> str:
        over.wait(30)
        return "late"

    yield call
    over.set()
    deadline = time.monotonic() + 10
    while watchdog.stuck():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_call_that_returns_in_time_is_as_if_it_were_called_directly() -> None:
    """Results and exceptions come through."""
    assert guarded(lambda: 7, 5, "seven") == 7
    with pytest.raises(ZeroDivisionError):
        guarded(lambda: 1 // 0, 5, "a division")
    assert watchdog.stuck() == []


def test_a_call_that_hangs_is_left_behind_and_named(hang: Callable[[], str]) -> None:
    """The caller goes on within the limit; what hangs, and for how long, is known until it comes back."""
    before = time.monotonic()
    with pytest.raises(StuckError, match=r"^commit did not return within 0\.05 s; its client is abandoned$"):
        guarded(hang, 0.05, "commit")
    assert time.monotonic() - before < 3
    assert [line.startswith("commit has hung for ") for line in watchdog.stuck()] == [True]
    assert issubclass(StuckError, KafkaUnavailableError)


def test_a_guarded_call_may_make_guarded_calls() -> None:
    """A consumer that is closed runs callbacks, which commit."""
    assert guarded(lambda: guarded(threading.get_ident, 5, "inner"), 5, "outer") != threading.get_ident()


def test_threads_are_used_again() -> None:
    """A guarded call is cheap: no thread is started for it if one is idle."""
    guarded(threading.get_ident, 5, "one")
    before = threading.active_count()
    for _ in range(50):
        guarded(threading.get_ident, 5, "more")
    assert threading.active_count() == before


def test_nothing_of_a_client_is_called_once_it_hangs(hang: Callable[[], str]) -> None:
    """Later calls fail at once, with the first one's words."""
    guard = Guard("the producer kantor-x")
    assert guard(lambda: 1, 5, "flush") == 1
    with pytest.raises(StuckError):
        guard(hang, 0.05, "commit_transaction")
    assert guard.is_stuck
    with pytest.raises(StuckError, match="commit_transaction of the producer kantor-x did not return"):
        guard(lambda: pytest.fail("it was called"), 5, "flush")


_HANGS = """
    import ctypes, logging, threading, time
    from kantor.watchdog import end_within
    logging.basicConfig(level=logging.INFO)
    stop = threading.Event()
    end_within(0.3, stop.set)
    threading.Thread(target=lambda: print("stopping", stop.wait(20), flush=True), daemon=True).start()
    print("up", flush=True)
    {hang}
"""


@pytest.mark.parametrize(
    ("hang", "where"),
    [
        # A mutex that is taken twice: C code that no signal interrupts.
        (
            "m = ctypes.create_string_buffer(64); l = ctypes.CDLL(None).pthread_mutex_lock; l(m); l(m)",
            "<module>",
        ),
        ("time.sleep(30)", "<module>"),
    ],
    ids=["in C", "in Python"],
)
def test_a_process_that_hangs_ends_within_its_deadline_after_a_signal(hang: str, where: str) -> None:
    """Who was to stop is told at once; the process ends by itself, and its log says what hung."""
    program = textwrap.dedent(_HANGS).format(hang=hang)
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
        process.terminate()
        out, errors = process.communicate(timeout=20)
    assert process.returncode == watchdog.HUNG
    assert out == "stopping True\n"
    assert "not stopped within 0.3 s of the signal" in errors
    assert where in errors


def test_a_process_that_stops_in_time_is_left_alone() -> None:
    """The deadline is for what hangs: the exit code is the program's own."""
    program = textwrap.dedent(_HANGS).format(hang="stop.wait(20); raise SystemExit(3)")
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
        process.terminate()
        process.communicate(timeout=20)
    assert process.returncode == 3
