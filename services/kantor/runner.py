"""A service's process: clients, the loop, the drain."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kantor.kafka import KafkaSettings

if TYPE_CHECKING:
    from kantor.service import Service


def run(service: Service, settings: KafkaSettings) -> None:
    """See ``Service.run``."""
    raise NotImplementedError
