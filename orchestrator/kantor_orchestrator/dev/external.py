"""A cluster that somebody else runs, used in place of a broker of our own: it is looked at and never touched."""

from __future__ import annotations

from collections.abc import Callable

from kantor.kafka import KafkaSettings

from . import config, probe
from .errors import DevError
from .process import Ending
from .record import BrokerStatus

ANSWER_S = 10.0  # for a broker that should be up already


class ExternalCluster:
    """The four verbs of `DevBroker` for the cluster that $KANTOR_BOOTSTRAP_SERVERS names."""

    def __init__(self, address: str, say: Callable[[str], None]) -> None:
        self._settings = KafkaSettings.from_env(address)
        self._name = f"The cluster {address} ({config.BOOTSTRAP_SERVERS})"
        self._say = say

    def start(self) -> str:
        """Its address, if it answers."""
        self._say(f"{self._name} is used; nothing is started.")
        if self.status().state != "running":
            raise DevError(
                f"{self._name} doesn't answer. Check the address, or unset the variable to use a broker of Kantor's own."
            )
        return self._settings.bootstrap_servers

    def stop(self) -> Ending:
        self._say(f"{self._name} is not ours to stop.")
        return "not running"

    def status(self) -> BrokerStatus:
        answers = probe.answers(self._settings, ANSWER_S)
        return BrokerStatus("running" if answers else "unreachable", True, self._settings.bootstrap_servers)

    def reset(self) -> Ending:
        raise DevError(
            f"{self._name} is not ours to empty. Unset the variable to reset a broker of Kantor's own."
        )
