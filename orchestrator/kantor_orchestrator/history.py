"""Reading ``sys.kantor.history``: what a torn Kafka transaction has left there twice.

A broker that crashes in the middle of a commit can lose markers: part of a Kafka transaction is then committed, part
aborted (docs/decisions/0011). The state topic is the truth; where it lost a batch, the shard decides on the same entries
again, with the same ids, and the history may show both times. The first is kept.
"""

from __future__ import annotations

#: (journal offset, history offset) of a transaction's last move.
Place = tuple[int, int]

#: Before its first move.
NOWHERE: Place = (-1, -1)


def is_replay(last: Place, journal_offset: int, history_offset: int) -> bool:
    """Whether a move has been read before, as one of the moves up to ``last``. Entries are decided on in the order of
    the journal, and the moves of one entry follow each other without a gap."""
    before, place = last
    return journal_offset < before or (journal_offset == before and history_offset != place + 1)
