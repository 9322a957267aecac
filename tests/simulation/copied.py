"""What the broker has of the shards, as a second broker, whose time goes on by itself."""

from __future__ import annotations

from copy import copy

from kantor.testing import MemoryBroker, VirtualClock
from kantor.testing.broker import Owner, Topic
from kantor.testing.log import Entry, KafkaTransaction, Log
from kantor_orchestrator.formats import topics

_COPIED = (topics.JOURNAL, topics.HISTORY, topics.STATE)


def copy_of(broker: MemoryBroker) -> MemoryBroker:
    """A broker with the shards' topics, in which Kafka transactions are open that are open there. What happens to it, the
    first one does not notice; what has happened they share."""
    clock = VirtualClock()
    clock.sleep(broker.clock.monotonic())
    found, open_ = MemoryBroker(clock), dict[KafkaTransaction | None, KafkaTransaction]()
    for id_, owner in broker.owners.items():
        for transaction in (owner.open, owner.unmarked):
            if transaction is not None and transaction not in open_:
                open_[transaction] = KafkaTransaction(transaction.began)
        found.owners[id_] = Owner(
            owner.epoch,
            None if owner.open is None else open_[owner.open],
            None if owner.unmarked is None else open_[owner.unmarked],
            owner.due,
            owner.timeout,
        )
    for name in _COPIED:
        topic = broker.topics[name]
        found.topics[name] = Topic(topic.id, topic.config, [_log(log, open_) for log in topic.logs])
    return found


def _log(log: Log, open_: dict[KafkaTransaction | None, KafkaTransaction]) -> Log:
    found = Log(log.place)
    found.start, found.end = log.start, log.end
    found.entries = [_entry(entry, open_) for entry in log.entries]
    for transaction, offset in log._open.items():
        found._open[open_[transaction]] = offset
        open_[transaction].logs[found] = None
    return found


def _entry(entry: Entry, open_: dict[KafkaTransaction | None, KafkaTransaction]) -> Entry:
    if entry.transaction not in open_:
        return entry
    found = copy(entry)
    found.transaction = open_[entry.transaction]
    return found
