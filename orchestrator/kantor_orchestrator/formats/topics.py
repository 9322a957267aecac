"""The platform's topics: names, keys and settings (wire-2)."""

from __future__ import annotations

import logging

from kantor import envelope
from kantor.clients import Admin, TopicSpec
from kantor.errors import ConfigError

log = logging.getLogger("kantor.topics")

JOURNAL = "sys.kantor.journal"
HISTORY = "sys.kantor.history"
STATE = "sys.kantor.state"
DEFINITIONS = "sys.kantor.definitions"
SCHEMAS = "sys.kantor.schemas"
WATERMARKS = "sys.kantor.watermarks"
#: Where every end is announced.
ENDED = "evt.kantor.transaction.v1"
#: Commands to Kantor itself: the one ``cmd.`` topic whose records by Kantor are journaled.
OWN_COMMANDS = envelope.OWN_COMMANDS

#: Reserved keys in the state topic: no transaction id starts with a zero byte.
SHARD_KEY = b"\0shard"
MARK_PREFIX = b"\0mark/"
NOTHING_KEY = b"\0nothing"  # of a record that makes a Kafka transaction and says nothing

#: The ids that brokers without KIP-516 give to all topics.
NO_IDS = frozenset({"", "AAAAAAAAAAAAAAAAAAAAAA", "00000000-0000-0000-0000-000000000000"})

_DAY = 86_400_000
_MIB = 1 << 20
#: Bytes of the largest record that the engine writes to history and state: a snapshot's values are 256 KiB at most, as
#: JSON and with what is not yet counted several times that. A record that is refused would stop its shard.
LARGEST = 8 * _MIB
#: Bytes that the journal is made to take at most, for one record with its headers, uncompressed: intake, engine and view
#: each hold it in memory, and a broker takes requests of up to 100 MiB.
LARGEST_ENTRY = 32 * _MIB
#: Bytes that the journal takes at least: twice what a source topic takes unless somebody has set it.
SMALLEST_JOURNAL = 2 * _MIB


def specs(shards: int, journal_limit: int) -> list[TopicSpec]:
    """Every topic that the platform needs. ``journal_limit``: the largest journal record, bytes."""
    compacted = {"cleanup.policy": "compact"}
    return [
        TopicSpec(
            JOURNAL,
            shards,
            {
                "cleanup.policy": "delete",
                "retention.ms": str(30 * _DAY),
                "message.timestamp.type": "LogAppendTime",
                "max.message.bytes": str(journal_limit),
            },
        ),
        TopicSpec(
            HISTORY,
            shards,
            {
                "cleanup.policy": "delete",
                "retention.ms": str(365 * _DAY),
                "message.timestamp.type": "LogAppendTime",
                "max.message.bytes": str(LARGEST),
            },
        ),
        TopicSpec(
            STATE,
            shards,
            compacted
            | {
                # Stay near the live transactions: small segments, compacted soon.
                "segment.bytes": str(16 * _MIB),
                "segment.ms": "600000",
                "max.compaction.lag.ms": "600000",
                "min.cleanable.dirty.ratio": "0.05",
                "delete.retention.ms": str(_DAY),
                "max.message.bytes": str(LARGEST),
            },
        ),
        TopicSpec(DEFINITIONS, 1, compacted),
        TopicSpec(SCHEMAS, 1, compacted),
        TopicSpec(
            WATERMARKS,
            1,
            compacted
            | {
                # Read whole at each start, and nothing in it is of use once there is something newer.
                "message.timestamp.type": "LogAppendTime",
                "segment.ms": "600000",
                "max.compaction.lag.ms": "600000",
                "min.cleanable.dirty.ratio": "0.05",
                "delete.retention.ms": "3600000",
                "max.message.bytes": str(LARGEST),
            },
        ),
        TopicSpec(ENDED, shards),
        TopicSpec(OWN_COMMANDS, shards),
    ]


def ensure(admin: Admin, shards: int, default: int = 0, said: int = 0) -> int:
    """Create what is missing; the number of shards in force: ``shards``, else what is there, else ``default``. ``said``: how many
    there were when the platform was begun (``sharding.py``); 0: nobody knows.

    Raises ``ConfigError`` if journal, history and state have another number of partitions than ``shards``
    says (wire-3): a transaction's shard would change, and with it its order. Partitions that somebody has added are not used.
    """
    existing = admin.topics()
    counts = {name: existing[name] for name in (JOURNAL, HISTORY, STATE) if name in existing}
    if counts and said:
        recorded = _as_said(counts, shards, said)
    elif len(set(counts.values())) > 1:
        raise ConfigError(
            f"{JOURNAL}, {HISTORY} and {STATE} must have the same number of partitions, found {counts}; {_ANEW}"
        )
    else:
        recorded = next(iter(counts.values()), 0)
    if recorded and shards and recorded != shards:
        raise ConfigError(
            f"{JOURNAL} has {recorded} partitions, KANTOR_SHARDS is {shards}: set it to {recorded}, or leave it out"
        )
    wanted = recorded or shards or default
    if not wanted:
        raise ConfigError(f"{JOURNAL} does not exist and no number of shards is set: set KANTOR_SHARDS")
    limit = 0 if JOURNAL in existing else journal_limit(admin, list(existing))
    admin.create_topics(specs(wanted, limit))
    return wanted


#: Kafka takes no partition away, and a transaction's shard must not change.
_ANEW = "let all transactions end, stop all roles, delete these three and sys.kantor.watermarks, and start with KANTOR_SHARDS"


def _as_said(counts: dict[str, int], shards: int, said: int) -> int:
    few = {name: count for name, count in counts.items() if count < said}
    if few or shards not in (0, said):
        found = (
            f"found were {few}" if few else f"KANTOR_SHARDS is {shards}: set it to {said}, or leave it out"
        )
        raise ConfigError(
            f"{JOURNAL} was created with {said} partitions, {found}. A transaction's shard must not change; for another number of "
            f"shards in {JOURNAL}, {HISTORY} and {STATE}, {_ANEW}"
        )
    if added := {name: count for name, count in counts.items() if count > said}:
        log.error(
            "partitions were added: %s, but there are %d shards. They are not used: a transaction would live in two shards; for more "
            "shards, %s", added, said, _ANEW, extra={"action": "partitions_added"},
        )  # fmt: skip
    return said


def journal_limit(admin: Admin, topics: list[str]) -> int:
    """Twice the largest record that any source among ``topics`` accepts (headers and original together must fit), but not
    more than ``LARGEST_ENTRY``. One that does not tell its settings does not count: what is too large for the journal is
    dealt with when it comes."""
    sources = [name for name in topics if name.startswith(("evt.", "cmd."))]
    found, silent = admin.configs(sources)
    if silent:
        name, why = next(iter(silent.items()))
        log.info(
            "the max.message.bytes of %d topics could not be read (%s: %s)",
            len(silent), name, why, extra={"action": "config_unknown"},
        )  # fmt: skip
    largest = max((int(c.get("max.message.bytes", 0)) for c in found.values()), default=0)
    return min(max(2 * largest, SMALLEST_JOURNAL), LARGEST_ENTRY)
