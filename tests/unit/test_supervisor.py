"""``kantor run`` keeps its roles alive and leaves none behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest

from kantor.errors import ConfigError
from kantor.health import Readiness
from kantor_orchestrator.running import supervisor
from kantor_orchestrator.running.supervisor import (
    NOT_READY,
    START,
    Patience,
    ask,
    end_with_supervisor,
    supervise,
    tell_supervisor,
)
from waiting import PATIENCE, until

ENDLESS = "import sys, time, os\nopen(sys.argv[1], 'a').write(f'{os.getpid()}\\n')\ntime.sleep(600)"


def started(path: Path, count: int) -> list[int]:
    """The pids that a role's processes have written, once there are ``count``."""
    done = threading.Event()
    while not path.exists() or len(path.read_text().splitlines()) < count:
        done.wait(0.02)
    return [int(line) for line in path.read_text().splitlines()]


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


class Running:
    """A supervisor in a thread."""

    def __init__(self, folder: Path, program: str, roles: Sequence[str]) -> None:
        self.stop = threading.Event()
        self.code: int | None = None
        self._folder, self._program, self._roles = folder, program, roles
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        self.code = supervise(
            self._roles,
            self.stop,
            lambda role: [sys.executable, "-c", self._program, str(self._folder / role)],
        )

    def end(self) -> int | None:
        self.stop.set()
        self._thread.join(PATIENCE)
        return self.code


def test_a_role_that_dies_is_started_again(tmp_path: Path) -> None:
    """A crash of one role is not the platform's end."""
    running = Running(tmp_path, ENDLESS, ["engine"])
    (first,) = started(tmp_path / "engine", 1)
    os.kill(first, signal.SIGKILL)
    _, second = started(tmp_path / "engine", 2)
    assert running.end() == 0
    assert not is_alive(second)


def test_stopping_ends_every_role(tmp_path: Path) -> None:
    """No process is left behind."""
    running = Running(tmp_path, ENDLESS, ["intake", "engine", "view"])
    pids = [started(tmp_path / role, 1)[0] for role in ("intake", "engine", "view")]
    assert running.end() == 0
    assert [pid for pid in pids if is_alive(pid)] == []


def test_wrong_settings_end_the_platform(tmp_path: Path) -> None:
    """A role that exits with 2 would fail for ever: the supervisor says so by its own exit code."""
    running = Running(tmp_path, "raise SystemExit(2)", ["engine"])
    running._thread.join(PATIENCE)
    assert running.code == 2


READY_THEN_WRONG = """
import http.server, os, sys, threading
class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b'{"ready": true, "reasons": [], "waits": true}')
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer)
threading.Thread(target=server.serve_forever, daemon=True).start()
with os.fdopen(int(os.environ["KANTOR_TELL_FD"]), "w") as tell:
    tell.write(f"http://127.0.0.1:{server.server_port}\\n")
open(sys.argv[1], "a").write(f"{os.getpid()}\\n")
while not os.path.exists(sys.argv[1] + ".wrong"):
    threading.Event().wait(0.02)
sys.exit(2)
"""


@pytest.mark.usefixtures("quick")
def test_what_goes_wrong_after_a_role_was_ready_ends_no_other_role(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its settings were right. The view's disk becomes read-only, say: intake and engines have nothing to do with that."""
    answers, tell = list[Readiness](), supervisor.ask

    def told(url: str) -> Readiness:
        answers.append(tell(url))
        return answers[-1]

    monkeypatch.setattr(supervisor, "ask", told)
    running = Running(tmp_path, READY_THEN_WRONG, ["view"])
    started(tmp_path / "view", 1)
    until(
        lambda: len([answer for answer in answers if not answer.reasons]) > 1, "the first answer was taken in"
    )
    (tmp_path / "view.wrong").touch()
    until(
        lambda: running.code is not None or len((tmp_path / "view").read_text().splitlines()) == 3,
        "it is begun again",
    )
    assert running.code is None
    assert running.end() == 0


WELL, WAITS = Readiness([]), Readiness(["Kafka does not answer"])
HANGS = Readiness(["shard 3 stands"], waits=False)


def heard(*answers: tuple[float, Readiness]) -> list[bool]:
    """Of a process that was started at 0: whether it is replaced, after each answer."""
    patience = Patience(0.0)
    return [patience.hear(answer, at) for at, answer in answers]


def test_a_role_that_has_been_ready_is_replaced_after_half_a_minute() -> None:
    """Not before; and one that gets well again has its patience anew."""
    assert heard((3, WELL), (4, HANGS), (33, HANGS), (34, HANGS)) == [False, False, False, True]
    assert not any(heard((3, WELL), (4, HANGS), (33, HANGS), (33.5, WELL), (34, HANGS), (60, HANGS)))


def test_a_role_that_begins_has_time() -> None:
    """What hangs in its first minute counts only after that."""
    assert not any(heard((3, HANGS), (40, HANGS), (START, HANGS), (START + NOT_READY - 1, HANGS)))
    assert heard((3, HANGS), (START, HANGS), (START + NOT_READY, HANGS))[-1]


def test_an_outage_of_kafka_replaces_nobody() -> None:
    """However long; and what hangs after it has its patience anew."""
    assert not any(heard((3, WELL), *((at, WAITS) for at in range(4, 4_000)), (4_000, HANGS), (4_029, HANGS)))


#: A process with a /readyz that says what stands in a file.
ANSWERING = """
import json, os, signal, sys, threading
from pathlib import Path
from kantor.health import HealthServer, Readiness
from kantor.metrics import Metrics
from kantor_orchestrator.running.supervisor import tell_supervisor
home = Path(sys.argv[1])
def ready():
    return Readiness(*json.loads(Path(f"{home}.ready").read_text()))
if "stubborn" in str(home):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
server = HealthServer(Metrics(), ready, 0)
tell_supervisor(server.url)
with home.open("a") as pids:
    pids.write(f"{os.getpid()}\\n")
threading.Event().wait()
"""


def says(path: Path, reasons: list[str], *, waits: bool) -> None:
    fresh = path.with_name("fresh")
    fresh.write_text(json.dumps([reasons, waits]))
    fresh.replace(f"{path}.ready")


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, seconds in (("_ASK", 0.01), ("NOT_READY", 0.3), ("GRACE", 0.5)):
        monkeypatch.setattr(supervisor, name, seconds)


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("role", ["engine", "stubborn"])
def test_a_role_that_stands_still_is_replaced(
    tmp_path: Path, role: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The log says why. One that does not end at SIGTERM is killed."""
    path, answers = tmp_path / role, list[Readiness]()

    def asking(url: str) -> Readiness:
        answers.append(ask(url))
        return answers[-1]

    monkeypatch.setattr(supervisor, "ask", asking)
    says(path, [], waits=True)
    running = Running(tmp_path, ANSWERING, [role])
    try:
        (first,) = started(path, 1)
        until(lambda: any(not answer.reasons for answer in answers), "it was found ready")
        says(path, ["shard 3 has been at 17 for 12 s"], waits=False)
        started(path, 2)
        assert not is_alive(first)
    finally:
        assert running.end() == 0
    assert not any(is_alive(pid) for pid in started(path, 2))
    said = [one.message for one in caplog.records if vars(one).get("action") == "role_replaced"]
    assert f"(process {first})" in said[0]
    assert "is replaced: shard 3 has been at 17 for 12 s" in said[0]


@pytest.mark.usefixtures("quick")
def test_a_role_that_does_not_even_answer_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A process that hangs altogether, or never tells where it could be asked."""
    monkeypatch.setattr(supervisor, "START", 0.0)
    running = Running(tmp_path, ENDLESS, ["engine"])
    try:
        started(tmp_path / "engine", 2)
    finally:
        assert running.end() == 0
    assert "it has not reported its address" in caplog.text


def test_a_role_without_a_supervisor_tells_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is not an open file is refused by name."""
    monkeypatch.delenv(supervisor.ENV_TELL, raising=False)
    tell_supervisor("http://127.0.0.1:1")
    monkeypatch.setenv(supervisor.ENV_TELL, "x")
    with pytest.raises(ConfigError, match="KANTOR_TELL_FD='x'"):
        tell_supervisor("http://127.0.0.1:1")


#: ``kantor run`` with one role, whose main thread hangs.
KILLED = """
import sys, threading
from kantor_orchestrator.running.supervisor import supervise
role = '''
import os, sys, threading
from kantor.watchdog import end_within
from kantor_orchestrator.running.supervisor import end_with_supervisor
stop = threading.Event()
end_within(5.0, stop.set)
end_with_supervisor()
print(os.getpid(), file=open(sys.argv[1], "a"), flush=True)
stop.wait()
open(sys.argv[1] + ".ended", "w").close()
'''
supervise(["engine"], threading.Event(), lambda name: [sys.executable, "-c", role, sys.argv[1]])
"""


def test_roles_end_with_a_supervisor_that_is_killed(tmp_path: Path) -> None:
    """Nobody would replace them any more, and the next `kantor run` would find the view and the ports in use."""
    path = tmp_path / "engine"
    with subprocess.Popen([sys.executable, "-c", KILLED, str(path)]) as killed:
        started(path, 1)
        killed.kill()
    until(Path(f"{path}.ended").exists, "the role stops in order")


def test_a_role_without_a_supervisor_waits_for_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is not an open file is refused by name."""
    monkeypatch.delenv(supervisor.ENV_LEASH, raising=False)
    end_with_supervisor()
    monkeypatch.setenv(supervisor.ENV_LEASH, "x")
    with pytest.raises(ConfigError, match="KANTOR_LEASH_FD='x'"):
        end_with_supervisor()
