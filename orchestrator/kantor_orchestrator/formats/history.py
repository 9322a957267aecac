"""Reading ``sys.kantor.history``: which of its decisions count (docs/design/log.md).

Whoever takes a shard appends a ``kantor.Epoch``; its own offset is the epoch, which the new owner's decisions carry. An old
owner that was cut off may still append a few: they are of another epoch, and void for every reader. Within an epoch, decisions
come in the order of the journal, each entry at most once.
"""

from __future__ import annotations

from dataclasses import dataclass

from kantor.clients import Record

#: The ``ce_type`` of an epoch record.
EPOCH = b"kantor.Epoch"
#: A header of an epoch record: the first five bytes of each decision under this epoch (wire format and schema id). By it a decision
#: is told from a foreign record though its schema can't be had, and it costs nothing for each.
PREFIX = "kantor_decisions"


def is_epoch(record: Record) -> bool:
    """Whether it says that somebody has taken the shard."""
    return record.key() is None and ("ce_type", EPOCH) in (record.headers() or ())


def prefix_of(epoch: Record) -> bytes:
    """With what the decisions under an epoch begin; empty: it does not say."""
    return dict(epoch.headers() or ()).get(PREFIX) or b""


def may_be_ours(value: bytes | None, prefix: bytes) -> bool:
    """Whether a record that can't be read may be a decision under an epoch with this ``prefix`` (empty: not known)."""
    return value is not None and len(value) > 5 and value[:1] == b"\0" and value[:5].startswith(prefix)


@dataclass(slots=True)
class Epoch:
    """How far one partition of the history has been read. ``epoch`` below 0: none has been seen yet. ``entry``: the journal
    offset of its last decision that counts, under this epoch. ``is_certain``: the epoch in force is known, not told from decisions.
    ``prefix``: with what its decisions begin; empty: that is not known."""

    epoch: int = -1
    entry: int = -1
    is_certain: bool = False
    prefix: bytes = b""

    def begin(self, offset: int, prefix: bytes = b"") -> None:
        """A ``kantor.Epoch`` is at ``offset``. Whoever wrote it may have begun with another journal, whose offsets are lower."""
        self.epoch, self.entry, self.is_certain, self.prefix = offset, -1, True, prefix

    def takes(self, epoch: int, entry: int) -> bool:
        """Whether a decision counts; if so, it is the last one now.

        Where the partition's beginning is gone, or was not read, with the epoch that it began in, the decisions tell which
        that was: the latest, for what is of an earlier one was written by who had lost the shard.
        """
        if epoch > self.epoch and not self.is_certain:
            self.epoch = epoch
        if epoch != self.epoch or entry <= self.entry:
            return False
        self.entry = entry
        return True
