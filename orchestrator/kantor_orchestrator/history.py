"""Reading ``sys.kantor.history``: which of its decisions count (docs/design/log.md).

Whoever takes a shard appends a ``kantor.Epoch``; its own offset is the epoch, which the new owner's decisions carry. An old
owner that was cut off may still append a few: they are of another epoch, and void for every reader. Decisions come in the
order of the journal, each entry at most once.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Epoch:
    """How far one partition of the history has been read. ``epoch`` below 0: none has been seen yet. ``entry``: the journal
    offset of its last decision that counts."""

    epoch: int = -1
    entry: int = -1

    def begin(self, offset: int) -> None:
        """A ``kantor.Epoch`` is at ``offset``."""
        self.epoch = offset

    def takes(self, epoch: int, entry: int) -> bool:
        """Whether a decision counts; if so, it is the last one now.

        Where the partition's beginning is gone, with the epoch that it began in, the first decision tells which that was.
        """
        if self.epoch < 0:
            self.epoch = epoch
        if epoch != self.epoch or entry <= self.entry:
            return False
        self.entry = entry
        return True
