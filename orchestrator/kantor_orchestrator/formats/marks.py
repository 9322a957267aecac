"""What the records of ``sys.kantor.watermarks`` hold (``watermarks.py`` says what they mean): to bytes, and back."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b

from kantor.clients import Partition

#: What reading a record that is no watermark raises.
MALFORMED = (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RecursionError)
#: Partitions of one topic that anybody would believe in: what is told is kept for each of them.
_MOST = 200_000
#: No time (ms) and no count that anybody means is larger: what is kept goes into a database, and into floating point.
_LARGEST = 1 << 53


@dataclass(frozen=True, slots=True)
class About:
    """What a member covers: ``counts`` has every source topic that exists, ``covers`` the partitions of some of them."""

    counts: dict[str, int]
    covers: dict[str, list[int]]

    def dump(self) -> bytes:
        """``{topic: [partitions that exist, "0-3,7": those that it covers]}``"""
        found = {
            topic: [count, _ranges(self.covers[topic])] if topic in self.covers else [count]
            for topic, count in sorted(self.counts.items())
        }
        return json.dumps(found, separators=(",", ":")).encode()

    @classmethod
    def load(cls, value: bytes) -> About:
        counts, covers = {}, {}
        for topic, (count, *ranges) in json.loads(value).items():
            counts[topic] = int(count)
            if not 0 <= counts[topic] <= _MOST:
                raise ValueError(f"{topic} with {count} partitions")
            if ranges:
                covers[topic] = list(_numbers(ranges[0], counts[topic]))
        return cls(counts, covers)

    @classmethod
    def of(cls, counts: Mapping[str, int], partitions: Iterable[Partition]) -> About:
        covers: dict[str, list[int]] = {}
        for topic, partition in sorted(partitions):
            covers.setdefault(topic, []).append(partition)
        return cls(dict(counts), covers)


def _ranges(numbers: list[int]) -> str:
    """``0-3,7``: many topics have many partitions, and one member mostly covers all of them."""
    parts: list[list[int]] = []
    for number in numbers:
        if parts and number == parts[-1][1] + 1:
            parts[-1][1] = number
        else:
            parts.append([number, number])
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in parts)


def _numbers(ranges: str, count: int) -> Iterable[int]:
    for part in ranges.split(","):
        first, _, last = part.partition("-")
        if not 0 <= int(first) <= int(last or first) < count:
            raise ValueError(f"partitions {part} of {count}")
        yield from range(int(first), int(last or first) + 1)


def fingerprint(about: bytes) -> str:
    return blake2b(about, digest_size=6).hexdigest()


@dataclass(frozen=True, slots=True)
class Mark:
    """See above. ``at``: ms, the broker's."""

    at: int
    about: str
    refused: dict[str, str] = field(default_factory=dict)

    def dump(self) -> bytes:
        found = {"at": self.at, "about": self.about} | ({"refused": self.refused} if self.refused else {})
        return json.dumps(found, separators=(",", ":")).encode()

    @classmethod
    def load(cls, value: bytes) -> Mark:
        found = json.loads(value)
        refused = {_text(topic): _text(why) for topic, why in found.get("refused", {}).items()}
        return cls(number_of(found["at"]), str(found["about"]), refused)


@dataclass(frozen=True, slots=True)
class Uncorrelated:
    """What a member could not journal, of one topic and for one reason, since it began."""

    count: int
    sample: str  # topic/partition/offset of the latest
    at: int = 0  # when that was written, as the broker has it (ms); not in the record


def dump_uncorrelated(found: Mapping[str, Uncorrelated]) -> bytes:
    return json.dumps({reason: [one.count, one.sample] for reason, one in found.items()}).encode()


def load_uncorrelated(value: bytes, at: int) -> dict[str, Uncorrelated]:
    found = json.loads(value)
    return {
        _text(reason): Uncorrelated(number_of(n), _text(sample), at) for reason, (n, sample) in found.items()
    }


@dataclass(frozen=True, slots=True)
class IgnoredStarts:
    """Starts of one kind that started nothing, since the engine that tells it began: how many, and which was the latest."""

    count: int
    transaction: str
    place: str  # topic/partition/offset
    offset: int  # in the journal
    at: int = 0  # when that was written, as the broker has it (ms); not in the record

    def dump(self) -> bytes:
        return json.dumps([self.count, self.transaction, self.place, self.offset]).encode()

    @classmethod
    def load(cls, value: bytes, at: int) -> IgnoredStarts:
        count, transaction, place, offset = json.loads(value)
        return cls(number_of(count), _text(transaction), _text(place), number_of(offset), at)


def number_of(value: object) -> int:
    """A time or a count. Raises ``ValueError`` if it is none."""
    if not isinstance(value, int) or not 0 <= value <= _LARGEST:
        raise ValueError(f"{value!r:.100} is neither a time nor a count")
    return value


def _text(value: object) -> str:
    """As a database takes it: JSON may have half a surrogate pair, and a zero byte."""
    return str(value).replace("\0", "\\0").encode("utf-8", "backslashreplace").decode()


@dataclass(frozen=True, slots=True)
class Shards:
    """What an engine says of the shards that are its own. ``untaken``: since when (ms), and why."""

    taken: list[int]
    untaken: dict[int, tuple[int, str]]
    #: Partitions (``topic/number``) that were found to be of a topic that was recreated, and when (ms).
    anew: dict[str, int] = field(default_factory=dict)
    #: Those whose store the disk does not take, and why.
    without_disk: dict[int, str] = field(default_factory=dict)
    clock: int = (
        0  # what the engine's machine took the time to be (ms); 0: an older engine, which doesn't say it
    )
    at: int = 0  # when that was written, as the broker has it (ms); not in the record

    def dump(self) -> bytes:
        untaken = {str(number): list(one) for number, one in sorted(self.untaken.items())}
        said: dict[str, object] = {"taken": sorted(self.taken), "untaken": untaken, "anew": self.anew}
        if self.without_disk:
            said["without_disk"] = {str(number): why for number, why in sorted(self.without_disk.items())}
        if self.clock:
            said["clock"] = self.clock
        return json.dumps(said).encode()

    @classmethod
    def load(cls, value: bytes, at: int) -> Shards:
        found = json.loads(value)
        untaken = {
            int(number): (number_of(since), _text(why)) for number, (since, why) in found["untaken"].items()
        }
        anew = {_text(place): number_of(since) for place, since in found.get("anew", {}).items()}
        without_disk = {int(number): _text(why) for number, why in found.get("without_disk", {}).items()}
        clock = number_of(found.get("clock", 0))
        return cls([int(number) for number in found["taken"]], untaken, anew, without_disk, clock, at)
