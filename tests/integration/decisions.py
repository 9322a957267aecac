"""The decision log (``sys.kantor.history``) as anybody may read it, and what it must have of all that left the engine."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from msgspec import msgpack

from kantor.clients import Record
from kantor.codec import Codec
from kantor.envelope import KANTOR_SOURCE

EPOCH = b"kantor.Epoch"


class Message(NamedTuple):
    """What the engine sent, or says that it sends: byte for byte. ``key`` empty: none."""

    topic: str
    key: bytes
    headers: tuple[tuple[str, bytes], ...]
    value: bytes

    @property
    def id(self) -> bytes:
        return dict(self.headers).get("ce_id", b"")

    @classmethod
    def of(cls, record: Record) -> Message:
        headers = tuple((name, value or b"") for name, value in record.headers() or ())
        return cls(record.topic(), record.key() or b"", headers, record.value() or b"")


class Log:
    """Tells which decisions count: those under the newest epoch before them in their partition.

    Fed with the history's records in the order of each partition. A reader that began in the middle takes decisions from
    before the first epoch that it sees for valid.
    """

    def __init__(self, codec: Codec) -> None:
        self._codec = codec
        self._epochs: dict[int, int] = {}

    def valid(self, record: Record) -> dict[str, Any] | None:
        """The decision; None for an epoch, and for what an engine wrote that had lost the shard by then."""
        if dict(record.headers() or ()).get("ce_type") == EPOCH:
            self._epochs[record.partition()] = record.offset()
            return None
        decision = self._codec.decode(record.value() or b"")
        epoch = self._epochs.get(record.partition())
        if "transitions" in decision and epoch is not None and decision["epoch"] != epoch:
            return None
        return decision


def logged(codec: Codec, history: Iterable[Record]) -> Iterator[Message]:
    """The messages of all valid decisions."""
    log = Log(codec)
    for record in history:
        decision = log.valid(record)
        packed = (decision or {}).get("messages")
        for topic, key, headers, value in msgpack.decode(packed) if packed else ():
            yield Message(topic, key, tuple((name, said) for name, said in headers), value)


def sent_by_kantor(records: Iterable[Record]) -> list[Message]:
    """Those of these messages that the engine sent."""
    found = map(Message.of, records)
    return [m for m in found if dict(m.headers).get("ce_source") == KANTOR_SOURCE.encode()]


def every_message_is_logged(sent: Iterable[Message], log: Iterable[Message]) -> list[str]:
    """Messages that left without being in a valid decision, byte for byte."""
    known = Counter(log)
    return [f"{m.topic}: {m.id.decode()} is in no valid decision" for m in sent if m not in known]


def every_logged_message_was_sent(sent: Iterable[Message], log: Iterable[Message]) -> list[str]:
    """Messages of valid decisions, to the topics that ``sent`` is of, that never left."""
    left = set(sent)
    topics = {m.topic for m in left}
    return [f"{m.topic}: {m.id.decode()} never left" for m in log if m.topic in topics and m not in left]


def contradictions(sent: Iterable[Message]) -> list[str]:
    """Message ids that stand for more than one message: a repeated message is the same, byte for byte."""
    by_id: defaultdict[bytes, set[Message]] = defaultdict(set)
    for message in sent:
        by_id[message.id].add(message)
    return [f"{id_.decode()} is {_difference(found)}" for id_, found in by_id.items() if len(found) > 1]


def _difference(messages: Iterable[Message]) -> str:
    first, second, *_ = (_facts(message) for message in messages)
    return "; ".join(
        f"{name}: {first.get(name)!r} and {second.get(name)!r}"
        for name in sorted(first.keys() | second.keys())
        if first.get(name) != second.get(name)
    )


def _facts(message: Message) -> Mapping[str, object]:
    return {"topic": message.topic, "key": message.key, "value": message.value, **dict(message.headers)}
