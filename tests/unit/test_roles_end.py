"""SIGTERM ends a role within its deadline, whatever hangs in it, and the log says what."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time

import pytest

from kantor.watchdog import HUNG

#: A role's process as ``kantor run --role`` makes it, but for the role's life.
PROCESS = """
import ctypes, sys, threading
from pathlib import Path
from kantor import logs
from kantor.kafka import KafkaSettings
from kantor_orchestrator.running import roles
from kantor.watchdog import end_within
from kantor_orchestrator.config import Settings
{life}
logs.configure("kantor-test")
stop = threading.Event()
end_within(float(sys.argv[1]), stop.set)
roles.agree = lambda *_: 1
roles.ROLES["test"] = lambda *_: live
settings = Settings(KafkaSettings("127.0.0.1:1"), Path("."), "")
roles.run_role("test", settings, stop)
"""

WELL = """
def live(stop, ready):
    ready()
    stop.wait()
"""
#: It does not look whether it shall stop.
DEAF = """
def live(stop, ready):
    ready()
    threading.Event().wait()
"""
#: Its only thread never comes back from a library: a mutex that is locked twice. No signal handler of Python's ever runs.
IN_A_LIBRARY = """
def live(stop, ready):
    mutex, library = ctypes.create_string_buffer(64), ctypes.CDLL(None)
    library.pthread_mutex_lock(mutex)
    ready()
    library.pthread_mutex_lock(mutex)
"""
#: It ends, but a thread that the interpreter waits for does not.
AT_EXIT = """
def live(stop, ready):
    threading.Thread(target=threading.Event().wait, name="commit").start()
    ready()
    stop.wait()
"""


def ended(life: str, deadline: float) -> tuple[int, str, float]:
    """Exit code, log, and seconds from SIGTERM to the end."""
    command = [sys.executable, "-c", PROCESS.format(life=life), str(deadline)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        said = ""
        while "action=ready" not in said:
            line = process.stderr.readline()
            assert line, said
            said += line
        began = time.monotonic()
        process.send_signal(signal.SIGTERM)
        code = process.wait(300)
        return code, said + process.stderr.read(), time.monotonic() - began


@pytest.mark.parametrize(
    ("life", "where"),
    [
        (DEAF, r"MainThread is still in .* \(wait\) < <string>:12 \(live\) < roles.py"),
        (IN_A_LIBRARY, r"MainThread is still in <string>:14 \(live\) < roles.py"),
        (AT_EXIT, r"commit is still in .* \(wait\) < threading.py"),
    ],
    ids=["deaf", "in a library", "at exit"],
)
def test_a_role_that_hangs_ends_all_the_same(life: str, where: str) -> None:
    """With an exit code of its own, and a line for each thread that says where it stands."""
    code, said, _ = ended(life, 0.2)
    assert code == HUNG
    lines = [line for line in said.splitlines() if "action=left_behind" in line]
    assert any(re.search(where, line) for line in lines), said


def test_a_role_that_ends_by_itself_is_not_kept() -> None:
    """The deadline is a limit, not a pause."""
    code, said, seconds = ended(WELL, 200.0)
    assert code == 0
    assert "action=stopped" in said
    assert seconds < 150
