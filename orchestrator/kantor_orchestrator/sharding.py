"""How many shards there are: said once, when the platform begins, because partitions can be added to a topic at any time.

A transaction's shard is the crc32 of its id modulo that number (wire-3). If it followed the topics, everything that comes for a
transaction after partitions were added would go to another shard than the transaction is in.
"""

from __future__ import annotations

from kantor.clients import Admin, Clients
from kantor.clock import SYSTEM_CLOCK, Clock
from kantor_orchestrator import topics, watermarks


def agree(clients: Clients, admin: Admin, shards: int, default: int, clock: Clock = SYSTEM_CLOCK) -> int:
    """Create the platform's topics that are missing; the number of shards in force, which is said for all roles to come. Raises as
    ``topics.ensure``, and ``KantorError`` if what was said can't be read."""
    there = watermarks.PLACE[0] in admin.topics()
    said = watermarks.read(clients, "kantor-shards", clock).shards if there else 0
    found = topics.ensure(admin, shards, default, said)
    if found != said:
        producer = clients.producer("kantor-shards", linger_ms=0)
        producer.produce(topics.WATERMARKS, b"%d" % found, b"shards", None, 0)
        producer.flush()
    return found
