"""For tests without Kafka: a service on trial, and a broker in memory with a virtual clock.

``tests/contract`` runs one suite against this broker and a real Apache Kafka: what a test sees here it would see there.
"""

from kantor.testing.broker import MemoryBroker, MemoryClients
from kantor.testing.clock import VirtualClock
from kantor.testing.faults import Calm, Faults
from kantor.testing.trial import Trial

__all__ = ["Calm", "Faults", "MemoryBroker", "MemoryClients", "Trial", "VirtualClock"]
