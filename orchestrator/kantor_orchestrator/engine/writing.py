"""Group commit: what the engine's thread has decided goes into the log, and then out, in a thread for each shard.

The thread takes all turns that wait, has their records appended with one acknowledgement, and sends their messages (log-2);
while it waits, the next turns gather. Idle it acts at once, under load on hundreds.
"""

from __future__ import annotations

import threading
from collections import deque
from concurrent.futures import Executor, Future
from typing import NamedTuple

from kantor.clock import Clock
from kantor.errors import KafkaUnavailableError
from kantor_orchestrator.engine.checkpoint import Checkpoint
from kantor_orchestrator.engine.log import DecisionLog, LogRecord
from kantor_orchestrator.engine.memory import InLog
from kantor_orchestrator.engine.sending import Sender
from kantor_orchestrator.formats.snapshots import Outgoing

#: Turns in one append.
_MOST = 1_000
#: Seconds between handing records to the log and sending their messages after which the owner looks whether it still is
#: the owner: a process that was suspended must not send what others have moved past.
_STOOD_STILL = 2.0
#: Seconds without a sign of life after which the thread hangs in the client (shard-6). Its own patience is shorter.
_HANGS = 60.0


class Turn(NamedTuple):
    """What one entry of the journal led to. ``record`` None: it is in the log already, and is acted on again. ``in_log``: the
    record has its transaction's snapshot, and where it lies is to be told."""

    transaction: str
    record: LogRecord | None
    messages: list[Outgoing]
    in_log: InLog | None = None


class LogWriter:
    """One for a shard. :meth:`put` and the rest are the engine's thread's."""

    def __init__(self, log: DecisionLog, sender: Sender, jobs: Executor, clock: Clock) -> None:
        self._log = log
        self._sender = sender
        self._jobs = jobs
        self._clock = clock
        self._waiting: deque[Turn | Checkpoint] = deque()
        self._lock = threading.Lock()
        self._bytes = 0
        self._is_working = False
        self._job: Future[None] | None = None
        self._beat = 0.0
        self._is_closed = False

    def put(self, item: Turn | Checkpoint) -> None:
        """Log a turn and act on it, after all before it; or note a checkpoint, when all before it has been acted on."""
        with self._lock:
            self._waiting.append(item)
            self._bytes += _size_of(item)
            if self._is_working:
                return
            self._is_working = True
            self._beat = self._clock.monotonic()
        self._job = self._jobs.submit(self._work)

    @property
    def waiting(self) -> int:
        """Turns that are not being written yet."""
        return len(self._waiting)

    @property
    def held(self) -> int:
        """Bytes of these."""
        return self._bytes

    @property
    def is_at_rest(self) -> bool:
        return not self._is_working

    def check(self, now: float) -> None:
        """Raises what the thread raised; ``KafkaUnavailableError`` if it hangs: retake the shard."""
        job = self._job
        if job is not None and job.done():
            job.result()
        elif self._is_working and now - self._beat > _HANGS:
            raise KafkaUnavailableError(f"writing hangs in the client for {now - self._beat:.0f} s")

    def wait(self, seconds: float) -> None:
        """Until everything is written. Raises what the thread raised, ``TimeoutError``."""
        if self._job is not None:
            self._job.result(seconds)

    def close(self) -> None:
        """What waits is not written any more."""
        with self._lock:
            self._is_closed = True
            self._waiting.clear()
            self._bytes = 0

    def _work(self) -> None:
        while True:
            turns: list[Turn] = []
            checkpoint: Checkpoint | None = None
            with self._lock:
                while self._waiting and len(turns) < _MOST and checkpoint is None:
                    item = self._waiting.popleft()
                    self._bytes -= _size_of(item)
                    if isinstance(item, Turn):
                        turns.append(item)
                    else:
                        checkpoint = item
                if not turns and checkpoint is None:
                    self._is_working = False
                    return
            began = self._beat = self._clock.monotonic()
            logged = [turn for turn in turns if turn.record is not None]
            if logged:
                offsets = self._log.append([turn.record for turn in logged if turn.record is not None])
                for turn, offset in zip(logged, offsets, strict=True):
                    if turn.in_log is not None:
                        turn.in_log.offset = offset
            if self._is_closed:
                return  # somebody else acts on it: it is in the log
            if self._clock.monotonic() - began > _STOOD_STILL:
                self._log.check()
            for turn in turns:
                if turn.messages:
                    self._sender.send(turn.transaction, turn.messages)
            self._sender.poll()
            if checkpoint is not None:
                checkpoint.passed(self._log.epoch, self._log.end, self._sender.sent)


def _size_of(item: Turn | Checkpoint) -> int:
    """Bytes that it holds; of a checkpoint, whose snapshots are counted where they come from: none."""
    if not isinstance(item, Turn):
        return 0
    size = len(item.record.value) if item.record is not None else 0
    return size + sum([len(message.value) for message in item.messages])
