"""A role that dies again and again is told in `kantor status`, with how it died."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from pathlib import Path

import pytest

from kantor_orchestrator.operations import deaths
from kantor_orchestrator.operations.condition import Condition
from kantor_orchestrator.operations.deaths import Dead, manner, read, write
from kantor_orchestrator.operations.diagnosis import condition_as_json, diagnose
from kantor_orchestrator.running.supervisor import supervise
from waiting import until

ABORTS = "import os; os.abort()"


def test_a_role_that_aborts_again_and_again_is_told_while_it_does(tmp_path: Path) -> None:
    """`kantor run` writes it, with the signal's name and how often; nothing is left once it has ended."""
    stop = threading.Event()
    running = threading.Thread(
        target=supervise,
        args=(["engine"], stop, lambda _: [sys.executable, "-c", ABORTS]),
        kwargs={"home": tmp_path},
    )
    running.start()
    try:
        until(lambda: any(one.count >= 2 for one in read(tmp_path, time.time())), "it died twice")
        (one,) = read(tmp_path, time.time())
        assert (one.role, one.how, one.is_ready) == ("engine", "SIGABRT", False)
    finally:
        stop.set()
        running.join()
    assert list(tmp_path.iterdir()) == []


def test_a_role_that_was_killed_once_and_is_ready_again_is_no_problem(tmp_path: Path) -> None:
    """Status tells what is wrong now."""
    pids = tmp_path / "pids"
    program = (
        "import http.server, os, sys, json\n"
        f"open({str(pids)!r}, 'a').write(f'{{os.getpid()}}\\n')\n"
        "class H(http.server.BaseHTTPRequestHandler):\n"
        "    def do_GET(self):\n"
        "        self.send_response(200); self.end_headers()\n"
        "        self.wfile.write(json.dumps({'reasons': [], 'waits': False}).encode())\n"
        "server = http.server.HTTPServer(('127.0.0.1', 0), H)\n"
        "os.write(int(os.environ['KANTOR_TELL_FD']), f'http://127.0.0.1:{server.server_port}'.encode())\n"
        "server.serve_forever()\n"
    )
    stop = threading.Event()
    running = threading.Thread(
        target=supervise,
        args=(["view"], stop, lambda _: [sys.executable, "-c", program]),
        kwargs={"home": tmp_path},
    )
    running.start()
    try:
        until(pids.exists, "it started")
        until(lambda: pids.read_text().endswith("\n"), "it said its pid")
        os.kill(int(pids.read_text().split()[0]), signal.SIGKILL)
        until(lambda: [one.how for one in read(tmp_path, time.time())] == ["SIGKILL"], "it is told")
        until(lambda: not (tmp_path / deaths.FILE).exists(), "it is ready again")
    finally:
        stop.set()
        running.join()


def test_what_a_supervisor_said_that_is_gone_is_not_told(tmp_path: Path) -> None:
    """It was killed, and left the file: nobody knows any more."""
    dead = Dead("engine", 3, "SIGABRT", 1.0, is_ready=False)
    write(tmp_path, [dead])
    assert read(tmp_path, time.time()) == [dead]
    assert read(tmp_path, time.time() + deaths.OLD + 1) == []


@pytest.mark.parametrize("text", ["", "[1]", '{"role": 1}', "[{}]", "\x00"])
def test_a_file_that_says_something_else_is_not_told(tmp_path: Path, text: str) -> None:
    """A disk that is full, or somebody else's file, is not the end of `kantor status`."""
    (tmp_path / deaths.FILE).write_text(text)
    assert read(tmp_path, time.time()) == []


@pytest.mark.parametrize(
    ("code", "name"), [(1, "exit code 1"), (-6, "SIGABRT"), (-9, "SIGKILL"), (-99, "signal 99")]
)
def test_how_a_process_died_has_a_name(code: int, name: str) -> None:
    """People know signals by name."""
    assert manner(code) == name


@pytest.mark.parametrize("broker_error", ["", "timed out"])
def test_a_dead_role_is_told_with_where_its_last_words_are(broker_error: str) -> None:
    """Also while Kafka is away, whose absence does not kill a process."""
    found = Condition("broker:9092", broker_error=broker_error)
    found.dead = [Dead("engine", 4, "SIGABRT", 3.0, is_ready=False), Dead("view", 1, "SIGKILL", 9.0, False)]
    told = " | ".join(f"{one.what} -> {one.remedy}" for one in diagnose(found))
    assert (
        "a process of engine has died 4 times in 10 min, the last time 3 s ago with SIGABRT; it has not been ready since"
        in told
    )
    assert "ulimit -v" in told
    assert "a process of view has died 9 s ago with SIGKILL" in told
    assert "role_died" in told
    assert condition_as_json(found, [])["dead"][0]["how"] == "SIGABRT"
