"""``kantor run``: all roles on one machine, each in its own process; started again when one dies, replaced when one stands
still."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor, Future
from contextlib import suppress
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from threading import Event, Thread
from urllib.parse import urlsplit

from kantor.errors import ConfigError
from kantor.health import ENV_PORT, Readiness
from kantor_orchestrator.operations import deaths
from kantor_orchestrator.operations.deaths import Dead
from kantor_orchestrator.process.aside import Aside

log = logging.getLogger("kantor.run")

#: A role that dies is started again after this long (s), doubled each time up to the second number.
_BACKOFF, _MOST_BACKOFF = 0.5, 30.0
#: A role that has lived this long (s) starts over with the short pause.
_HEALTHY = 60.0
#: Seconds that a role gets to finish its batch and give its partitions back; it ends by itself in less (``cli/run.py``).
GRACE = 20.0
#: A role that is not ready for this long (s), and does not wait for something that its successor would wait for, too, is
#: replaced.
NOT_READY = 30.0
#: Seconds that a process gets to be ready for the first time, before that counts.
START = 60.0
#: Seconds between questions, and until an answer is missed.
_ASK, _ANSWER = 2.0, 5.0
#: The pipe into which a role tells where its ``/readyz`` is: a file descriptor.
ENV_TELL = "KANTOR_TELL_FD"
#: The pipe at whose end a role hears that its supervisor is gone, however that ended: a file descriptor.
ENV_LEASH = "KANTOR_LEASH_FD"


def tell_supervisor(url: str) -> None:
    """Where this process's ``/readyz`` is; nothing if no supervisor wants to know. Raises ``ConfigError``."""
    told = os.environ.pop(ENV_TELL, "")
    if not told:
        return
    try:
        with suppress(BrokenPipeError), os.fdopen(int(told), "w", encoding="utf-8") as pipe:
            pipe.write(f"{url}\n")
    except (ValueError, OSError) as error:
        raise ConfigError(
            f"{ENV_TELL}={told!r} is not an open file: it is `kantor run`'s own, unset it"
        ) from error


def end_with_supervisor() -> None:
    """SIGTERM to this process when its supervisor is gone, kill -9 included: nobody would replace it any more, and it would
    stand in the way of the next one. Nothing if there is none. Raises ``ConfigError``."""
    told = os.environ.pop(ENV_LEASH, "")
    if not told:
        return
    try:
        leash = os.fdopen(int(told), "rb", buffering=0)
    except (ValueError, OSError) as error:
        raise ConfigError(
            f"{ENV_LEASH}={told!r} is not an open file: it is `kantor run`'s own, unset it"
        ) from error

    def wait() -> None:
        with leash:
            leash.read()
        log.warning(
            "`kantor run` has ended without stopping its roles (was it killed?): this one stops",
            extra={"action": "supervisor_gone"},
        )
        os.kill(os.getpid(), signal.SIGTERM)

    Thread(target=wait, name="kantor-leash", daemon=True).start()


class Patience:
    """When one process has stood still for long enough to be replaced."""

    def __init__(self, started: float) -> None:
        self._counts_from = started + START
        self._since = 0.0

    def hear(self, answer: Readiness, now: float) -> bool:
        """Whether it is over. A role that waits (for Kafka, for the database's turn) is never replaced: a new process
        would have to wait, too."""
        if not answer.reasons:
            self._counts_from = 0.0
        if not answer.reasons or answer.waits or now < self._counts_from:
            self._since = 0.0
            return False
        self._since = self._since or now
        return now - self._since >= NOT_READY


class RoleProcess:
    """One role's process, again and again."""

    def __init__(
        self,
        role: str,
        command: Sequence[str],
        environment: Mapping[str, str],
        asking: Executor,
        leash: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``asking`` asks ``/readyz``: whoever hangs may not answer. ``leash``: the end of the pipe to hear of our end at."""
        self.role = role
        self._command = command
        self._environment = dict(environment)
        self._asking = asking
        self._leash = leash
        self._clock = clock
        self._pause = _BACKOFF
        self._start_at = 0.0
        self.process: subprocess.Popen[bytes] | None = None
        self._started = 0.0
        self._told: int = -1  # the pipe
        self._url = ""
        self._patience = Patience(0.0)
        self._answer: Future[Readiness] | None = None
        self._ask_at = 0.0
        self._kill_at = 0.0  # it was told to end
        #: One of its processes has been ready: its settings were right, whatever they say now of the disk, say.
        self.was_ready = False
        self._died: list[float] = []  # when, of late
        self._how = ""
        self._is_ready = False

    def tend(self) -> int | None:
        """Start the process if it is due, replace it if it stands still. The exit code, if it has just ended."""
        now = self._clock()
        if self.process is None:
            if now >= self._start_at:
                self._start(now)
            return None
        code = self.process.poll()
        if code is None:
            self._watch(self.process, now)
            return None
        self.process = None
        self._forget()
        self._died.append(now)
        self._how, self._is_ready = deaths.manner(code), False
        self._pause = _BACKOFF if now - self._started > _HEALTHY else min(self._pause * 2, _MOST_BACKOFF)
        self._start_at = now + self._pause
        return code

    def _start(self, now: float) -> None:
        self._told, tells = os.pipe()
        os.set_blocking(self._told, False)
        try:
            # A session of its own: Ctrl-C reaches the supervisor alone, which then stops the roles in order.
            self.process = subprocess.Popen(
                self._command,
                start_new_session=True,
                env=os.environ | self._environment | {ENV_TELL: str(tells), ENV_LEASH: str(self._leash)},
                pass_fds=[tells, self._leash],
            )
        finally:
            os.close(tells)
        self._started, self._ask_at, self._patience = now, now, Patience(now)

    def _forget(self) -> None:
        if self._told >= 0:
            os.close(self._told)
        self._told, self._url, self._answer, self._kill_at = -1, "", None, 0.0

    def dead(self) -> Dead | None:
        """What is to be told of its end: it has not been ready since, or dies again and again."""
        now = self._clock()
        self._died = [at for at in self._died if now - at < deaths.RECENT] or self._died[-1:]
        if not self._died or (self._is_ready and len(self._died) < deaths.OFTEN):
            return None
        return Dead(self.role, len(self._died), self._how, now - self._died[-1], self._is_ready)

    def close(self) -> None:
        """The supervisor ends, and has ended the process."""
        self._forget()

    # -- is it well?

    def _watch(self, process: subprocess.Popen[bytes], now: float) -> None:
        if self._kill_at:
            if now >= self._kill_at:
                log.error("process %d did not end, killing it", process.pid, extra={"action": "killed"})
                process.kill()
                self._kill_at = now + GRACE
            return
        answer = self._hear(now)
        if answer is not None and not answer.reasons:
            self.was_ready = self._is_ready = True
        if answer is not None and self._patience.hear(answer, now):
            log.error(
                "role %s (process %d) has not been ready for %.0f s and is replaced: %s",
                self.role,
                process.pid,
                NOT_READY,
                "; ".join(answer.reasons),
                extra={"action": "role_replaced", "role": self.role},
            )
            process.terminate()
            self._kill_at = now + GRACE

    def _hear(self, now: float) -> Readiness | None:
        """What it has just answered; asks again when it is time."""
        found = None
        if self._answer is not None and self._answer.done():
            found, self._answer = self._answer.result(), None
        if self._answer is None and now >= self._ask_at:
            self._ask_at = now + _ASK
            self._url = self._url or self._read_url()
            if not self._url:
                return Readiness(["it has not reported its address"], waits=False)
            self._answer = self._asking.submit(ask, self._url)
        return found

    def _read_url(self) -> str:
        try:
            return os.read(self._told, 1_000).decode().strip()
        except BlockingIOError:
            return ""


def ask(url: str) -> Readiness:
    """What ``/readyz`` answers. No answer is one, too."""
    place = urlsplit(url)
    connection = HTTPConnection(place.hostname or "", place.port, timeout=_ANSWER)
    try:
        connection.request("GET", "/readyz", headers={"Accept": "application/json"})
        found = json.loads(connection.getresponse().read())
        return Readiness(list(found["reasons"]), bool(found["waits"]))
    except (OSError, HTTPException, ValueError, KeyError, TypeError) as error:
        return Readiness([f"{url}/readyz does not answer: {error}"], waits=False)
    finally:
        connection.close()


class Obituary:
    """Tells ``kantor status`` which roles died."""

    def __init__(self, home: Path | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._home = home
        self._clock = clock
        self._told: list[tuple[str, int, bool]] = []
        self._again_at = 0.0

    def tell(self, dead: list[Dead]) -> None:
        """All that there is to tell now. Never raises: the log has it, too."""
        facts = [(one.role, one.count, one.is_ready) for one in dead]
        if self._home is None or (facts == self._told and (not dead or self._clock() < self._again_at)):
            return
        self._told, self._again_at = facts, self._clock() + deaths.EVERY
        with suppress(OSError):
            deaths.write(self._home, dead)


def supervise(
    roles: Sequence[str],
    stop: Event,
    command: Callable[[str], Sequence[str]] | None = None,
    http_port: int = 0,
    home: Path | None = None,
) -> int:
    """Run ``roles`` until ``stop``; the exit code. A role that says the settings are wrong (exit code 2) ends all, unless it
    has been ready with them: then what is wrong came later, and the other roles have nothing to do with it.

    ``http_port``: of the first role; the next has the next one, for a port is one process's. 0: each takes a free one.
    ``home``: where it is told which role died.
    """
    command = command or (
        lambda role: [sys.executable, "-m", "kantor_orchestrator.cli.main", "run", "--role", role]
    )
    asking = Aside("kantor-asking")
    heard, held = os.pipe()  # the system closes what we hold, whatever ends us
    children = [
        RoleProcess(
            role, command(role), {ENV_PORT: str(http_port + number if http_port else 0)}, asking, heard
        )
        for number, role in enumerate(roles)
    ]
    obituary = Obituary(home)
    wrong = False
    try:
        while not stop.is_set() and not wrong:
            for child in children:
                code = child.tend()
                if code == 2 and not child.was_ready:
                    wrong = True
                elif code is not None:
                    facts = {"action": "role_died", "role": child.role, "code": code}
                    how = deaths.manner(code)
                    log.error("role %s ended with %s, starting it again", child.role, how, extra=facts)
            obituary.tell([one for one in (child.dead() for child in children) if one is not None])
            stop.wait(0.2)
    finally:
        obituary.tell([])
        end([child.process for child in children if child.process is not None])
        for child in children:
            child.close()
        os.close(held)
        os.close(heard)
        asking.shutdown()
    return 2 if wrong else 0


def end(processes: Sequence[subprocess.Popen[bytes]], grace: float = GRACE) -> None:
    """SIGTERM to each, by pid; SIGKILL to those that are still there after ``grace`` seconds."""
    for process in processes:
        if process.poll() is None:
            os.kill(process.pid, signal.SIGTERM)
    deadline = time.monotonic() + grace
    for process in processes:
        try:
            process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            log.error("process %d did not end, killing it", process.pid, extra={"action": "killed"})
            process.kill()
            process.wait()
