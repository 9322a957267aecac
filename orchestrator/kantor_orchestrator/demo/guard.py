"""``python -m kantor_orchestrator.demo.guard MARK``: ends what the demo leaves behind if it dies without a word.

The demo holds the other end of our standard input. However it ends, kill -9 included, that closes.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from kantor_orchestrator.demo.children import sweep

#: Java's main class, in the broker's command: it ends last, so that the others can finish what they have in hand.
_KAFKA = "kafka.Kafka"
#: Seconds that what was left behind gets for that.
_GRACE = 5.0
#: Seconds that the guard itself gets.
_GUARD = 60.0


@contextmanager
def guarded(mark: str) -> Iterator[None]:
    """What bears the mark does not outlive this block, nor this process."""
    # The mark is not in our environment yet: the guard does not bear it, so that nobody sweeps it.
    command = [sys.executable, "-m", "kantor_orchestrator.demo.guard", mark]
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


def clean(mark: str) -> None:
    """End everything that bears the mark of a demo that is gone."""
    sweep(mark, but=_KAFKA, grace=_GRACE)
    sweep(mark, grace=_GRACE)


if __name__ == "__main__":
    sys.stdin.buffer.read()  # until the demo is gone
    clean(sys.argv[1])
