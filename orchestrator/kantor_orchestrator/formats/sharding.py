"""How many shards there are: said once, when the platform begins, because partitions can be added to a topic at any time.

A transaction's shard is the crc32 of its id modulo that number (wire-3). If it followed the topics, everything that comes for a
transaction after partitions were added would go to another shard than the transaction is in.
"""

from __future__ import annotations

from kantor.clients import Admin, Clients
from kantor.clock import SYSTEM_CLOCK, Clock
from kantor_orchestrator.formats import topics, watermarks


def agree(clients: Clients, admin: Admin, shards: int, default: int, clock: Clock = SYSTEM_CLOCK) -> int:
    """Create the platform's topics that are missing; the number of shards in force, which is said for all roles to come. Raises as
    ``topics.ensure``, and ``KantorError`` if what was said can't be read."""
    said = _said(clients, admin, clock)
    found = topics.ensure(admin, shards, default, said)
    if found != said:
        producer = clients.producer("kantor-shards", linger_ms=0)
        producer.produce(topics.WATERMARKS, b"%d" % found, b"shards", None, 0)
        producer.flush()
    return found


def in_force(clients: Clients, admin: Admin, clock: Clock = SYSTEM_CLOCK) -> int:
    """How many shards there are, for whoever writes entries beside the roles: as it was said, or as the topics tell if nobody has; 0:
    there is no platform. Raises ``KantorError`` if what was said can't be read."""
    found = admin.topics()
    there = min(found.get(name, 0) for name in (topics.JOURNAL, topics.HISTORY, topics.STATE))
    return (_said(clients, admin, clock) or there) if there else 0


def _said(clients: Clients, admin: Admin, clock: Clock) -> int:
    """0: nobody has said it."""
    if watermarks.PLACE[0] not in admin.topics():
        return 0
    return watermarks.read(clients, "kantor-shards", clock).shards
