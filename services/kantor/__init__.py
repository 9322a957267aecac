"""The kit that service authors import: ``from kantor import Service``.

Names are loaded when they are first used: the orchestrator's pure core imports ``kantor.envelope`` and must not load a
Kafka client with it.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kantor.errors import ConfigError, KantorError, Retryable
    from kantor.handlers import Context
    from kantor.inbox import SqliteStore
    from kantor.kafka import KafkaSettings
    from kantor.messages import Message
    from kantor.publisher import Publisher
    from kantor.records import StepFailed, TransactionEnded
    from kantor.service import Service

__all__ = [
    "ConfigError",
    "Context",
    "KafkaSettings",
    "KantorError",
    "Message",
    "Publisher",
    "Retryable",
    "Service",
    "SqliteStore",
    "StepFailed",
    "TransactionEnded",
]

_HOMES = {
    "ConfigError": "errors",
    "Context": "handlers",
    "KafkaSettings": "kafka",
    "KantorError": "errors",
    "Message": "messages",
    "Publisher": "publisher",
    "Retryable": "errors",
    "Service": "service",
    "SqliteStore": "inbox",
    "StepFailed": "records",
    "TransactionEnded": "records",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'kantor' has no attribute {name!r}")
    value = getattr(import_module(f"kantor.{_HOMES[name]}"), name)
    globals()[name] = value
    return value
