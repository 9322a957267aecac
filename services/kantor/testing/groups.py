"""Consumer groups: the classic protocol with cooperative rebalancing (KIP-429), as a member sees it.

A change of members or topics begins a new generation at once: what was fetched under the last one can't be committed by
its metadata any more (KIP-447). A member learns of it in its next poll: it gives back what it shall not have any more,
then gets what nobody else holds any more. One whose heartbeats stop is expelled after the session timeout; it learns in
its next poll that all was lost.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from kantor.errors import KafkaUnavailableError
from kantor.testing.log import Offsets, Partition

#: Seconds without heartbeats until a member is expelled.
SESSION_TIMEOUT = 6.0


class Metadata(NamedTuple):
    """Who commits (KIP-447). Without a member nothing is checked."""

    group: str
    member: str
    generation: int


@dataclass(eq=False, slots=True)
class Member:
    """One member. ``owned``: what it was given; ``wanted``: what it shall have. ``silent_since``: asks its client."""

    id: str
    topics: frozenset[str]
    silent_since: Callable[[], float | None]
    generation: int = 0
    owned: set[Partition] = field(default_factory=set)
    wanted: set[Partition] = field(default_factory=set)
    is_lost: bool = False


class Group:
    """A group's members and committed positions."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.generation = 0
        self.members: dict[str, Member] = {}
        self.offsets: dict[Partition, int] = {}
        #: What members have committed: a position that differs was set from outside.
        self.by_members: dict[Partition, int] = {}
        #: Positions in Kafka transactions that have not ended yet.
        self.unstable: list[Offsets] = []
        self._joined = 0

    def join(
        self, topics: frozenset[str], silent_since: Callable[[], float | None], counts: dict[str, int]
    ) -> Member:
        self._joined += 1
        member = Member(f"{self.name}-{self._joined}", topics, silent_since)
        self.members[member.id] = member
        self.rebalance(counts)
        return member

    def leave(self, member: Member, counts: dict[str, int]) -> None:
        if self.members.pop(member.id, None) is not None:
            member.owned.clear()
            self.rebalance(counts)

    def expel(self, now: float, counts: Callable[[], dict[str, int]]) -> None:
        """Members that were silent for too long lose everything. ``counts`` is asked only then."""
        gone = [
            member
            for member in self.members.values()
            if (since := member.silent_since()) is not None and now - since > SESSION_TIMEOUT
        ]
        for member in gone:
            member.is_lost = True
            del self.members[member.id]
        if gone:
            self.rebalance(counts())

    def rebalance(self, counts: dict[str, int]) -> None:
        """A new generation: who shall have what."""
        self.generation += 1
        members = list(self.members.values())
        for member in members:
            if member.silent_since() is None:
                member.generation = self.generation
        partitions = [
            (topic, number)
            for topic in sorted({topic for member in members for topic in member.topics})
            for number in range(counts.get(topic, 0))
        ]
        if not members:
            return
        most = -(-len(partitions) // len(members))
        wanted: dict[str, set[Partition]] = {member.id: set() for member in members}
        free = []
        for partition in partitions:
            holder = next((m for m in members if partition in m.owned and partition[0] in m.topics), None)
            if holder is not None and len(wanted[holder.id]) < most:
                wanted[holder.id].add(partition)
            else:
                free.append(partition)
        for partition in free:
            able = [member for member in members if partition[0] in member.topics]
            wanted[min(able, key=lambda m: len(wanted[m.id])).id].add(partition)
        for member in members:
            member.wanted = wanted[member.id]

    def available(self, member: Member) -> list[Partition]:
        """What this member shall have and nobody else holds any more."""
        missing = member.wanted - member.owned
        if not missing:
            return []
        for other in self.members.values():
            if other is not member:
                missing -= other.owned
        for offsets in self.unstable:  # their positions are not known yet
            missing -= offsets.keys()
        return sorted(missing)

    def check(self, member: str, generation: int) -> None:
        """Raises ``KafkaUnavailableError`` for whoever is no member any more, or commits for an old generation."""
        if not member:
            return
        if member not in self.members:
            raise KafkaUnavailableError("UNKNOWN_MEMBER_ID: no member of the group")
        if generation != self.generation:
            raise KafkaUnavailableError("ILLEGAL_GENERATION: the group was rebalanced")
