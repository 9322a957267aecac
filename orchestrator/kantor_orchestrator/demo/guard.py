"""``python -m kantor_orchestrator.demo.guard HOME MARK``: ends what the demo leaves behind if it dies without a word.

The demo holds the other end of our standard input. However it ends, kill -9 included, that closes.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from kantor_orchestrator.demo import children
from kantor_orchestrator.dev.broker import DevBroker
from kantor_orchestrator.dev.errors import DevError

#: Java's main class, in the broker's command.
KAFKA = "kafka.Kafka"
#: Seconds that what was left behind gets to end in good order. Nobody waits for its work any more.
GRACE = 5.0
#: Seconds that the guard itself gets.
_GUARD = 60.0


@contextmanager
def guarded(home: Path, mark: str) -> Iterator[None]:
    """What bears the mark does not outlive this block, nor this process."""
    # Before the mark is in our environment: the guard does not bear it, so that nobody sweeps it.
    command = [sys.executable, "-m", "kantor_orchestrator.demo.guard", str(home), mark]
    guard = subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)
    try:
        yield
    finally:
        assert guard.stdin is not None
        with suppress(OSError):
            guard.stdin.close()
        try:
            guard.wait(_GUARD)
        except subprocess.TimeoutExpired:
            guard.kill()
            guard.wait()


def clean(home: Path, mark: str) -> list[str]:
    """End everything that a demo in ``home`` left; what that was. The broker last, so that the others can finish."""
    left = children.sweep(mark, but=KAFKA, grace=GRACE)
    with suppress(DevError):  # if it can't be stopped as it should, the sweep below does it
        DevBroker(home).stop()
    return left + children.sweep(mark, grace=GRACE)


def main() -> None:
    sys.stdin.buffer.read()  # until the demo is gone
    clean(Path(sys.argv[1]), sys.argv[2])


if __name__ == "__main__":
    main()
