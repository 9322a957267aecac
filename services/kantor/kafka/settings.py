"""The cluster's address and settings, and the clients that are made with them."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from kantor.errors import ConfigError
from kantor.kafka.admin import Admin
from kantor.kafka.consumer import Consumer
from kantor.kafka.producer import Producer

log = logging.getLogger("kantor.kafka")

ENV_BOOTSTRAP = "KANTOR_BOOTSTRAP_SERVERS"
ENV_PREFIX = "KANTOR_KAFKA_"

#: What Kubernetes puts into every pod of a namespace with a Service called ``kantor-kafka``.
_OF_KUBERNETES = re.compile(r"SERVICE_(HOST|PORT(_\w+)?)|PORT(_[0-9]+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?")
#: What the order of things depends on: positions, groups, Kafka transactions.
_OURS = frozenset(
    {
        "auto.offset.reset",
        "enable.auto.commit",
        "enable.auto.offset.store",
        "enable.gapless.guarantee",
        "enable.idempotence",
        "enable.partition.eof",
        "group.id",
        "group.protocol",
        "isolation.level",
        "max.in.flight",
        "max.in.flight.requests.per.connection",
        "partition.assignment.strategy",
        "transactional.id",
    }
)

#: Until a request that nobody answers is asked again, on another connection (ms). A connection may go mute: a firewall forgot it,
#: and only a time limit tells. librdkafka's default is 60 s; a transactional producer takes its Kafka transaction's limit.
_MUTE = 10_000
#: Requests of a producer at a time, to each broker. Of two, a broker that has just become a partition's leader may refuse the first (it does
#: not lead yet) and accept the second: of a producer that it does not know, it takes any sequence number. librdkafka then reports the
#: first as delivered ("implicitly acked"), and it is lost.
_IN_FLIGHT = 1
#: Until a member that does not poll is none any more (ms); and a request to join the group gets this long: while its connection is
#: mute nothing else ends it. The default is five minutes. The kit polls while a handler works (``backlog.py``).
_POLL_INTERVAL = 30_000


@dataclass(frozen=True, slots=True)
class KafkaSettings:
    """Where the cluster is, and what else librdkafka shall know (SASL, TLS)."""

    bootstrap_servers: str
    #: Not shown: there are passwords in it.
    extra: Mapping[str, str] = field(default_factory=dict, repr=False)

    @classmethod
    def from_env(cls, bootstrap_servers: str | None = None) -> KafkaSettings:
        """Settings from ``KANTOR_BOOTSTRAP_SERVERS`` and every ``KANTOR_KAFKA_*`` (KANTOR_KAFKA_SASL_USERNAME is
        librdkafka's ``sasl.username``). They win over what Kantor would set; those that would break it are refused.

        Raises ``ConfigError`` if no address is known, or for such a setting."""
        servers = bootstrap_servers or os.environ.get(ENV_BOOTSTRAP)
        if not servers or not servers.strip(" ,\t\n"):
            raise ConfigError(
                f"no Kafka address: set {ENV_BOOTSTRAP} (host:port); export {ENV_BOOTSTRAP}=$(kantor dev start) "
                "starts a broker on this machine"
            )
        extra: dict[str, str] = {}
        for name, value in os.environ.items():
            if not name.startswith(ENV_PREFIX):
                continue
            setting = name.removeprefix(ENV_PREFIX).lower().replace("_", ".")
            if _OF_KUBERNETES.fullmatch(name.removeprefix(ENV_PREFIX)):
                log.info(
                    "%s is ignored: Kubernetes sets it for a Service called kantor-kafka",
                    name,
                    extra={"action": "setting_ignored"},
                )
            elif setting in _OURS:
                raise ConfigError(f"{name}: {setting} is set by Kantor, which relies on it; unset it")
            else:
                extra[setting] = value
        return cls(servers, extra)

    def _all(self, *configs: Mapping[str, Any]) -> dict[str, Any]:
        """These, the later ones first, and above all what the user has set."""
        found: dict[str, Any] = {}
        for config in configs:
            found |= config
        found |= self.extra
        return found

    def _common(self, client_id: str) -> dict[str, Any]:
        return {
            "bootstrap.servers": self.bootstrap_servers,
            "client.id": client_id,
            "topic.metadata.refresh.interval.ms": 2_000,
            "retry.backoff.ms": 5,
            "socket.timeout.ms": _MUTE,
            "socket.connection.setup.timeout.ms": _MUTE,
            "reconnect.backoff.max.ms": 1_000,
            # The default is 5 minutes. A broker that is on its way down names no brokers at all; librdkafka then
            # forgets them all, and sometimes the bootstrap ones, too (its issue 5301).
            "metadata.recovery.rebootstrap.trigger.ms": 5_000,
            "log.connection.close": False,
            "logger": log,
            **self.extra,
        }

    # -- Clients

    def consumer(
        self,
        client_id: str,
        *,
        group: str | None = None,
        ends: bool = False,
        isolation: str = "read_committed",
        extra: Mapping[str, Any] | None = None,
    ) -> Consumer:
        """``group`` None: a plain reader. ``ends``: report the end of each partition when it is met (``Batch.ends``). ``extra``
        wins over what Kantor sets, and what the user has set wins over both. Raises ``ConfigError`` for unknown settings."""
        config = self._common(client_id) | {
            "group.id": group or f"{client_id}-reader",
            "group.protocol": "classic",
            "session.timeout.ms": 6_000,
            "heartbeat.interval.ms": 1_500,
            "partition.assignment.strategy": "cooperative-sticky",
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "auto.offset.reset": "earliest",
            "isolation.level": isolation,
            "enable.partition.eof": ends,
            "fetch.queue.backoff.ms": 5,
            "allow.auto.create.topics": False,
        }
        config = self._all(config, {"max.poll.interval.ms": _POLL_INTERVAL}, extra or {})
        session = str(config["session.timeout.ms"])
        if "max.poll.interval.ms" not in self.extra and session.isdecimal():  # it can't be the shorter one
            config["max.poll.interval.ms"] = max(config["max.poll.interval.ms"], int(session))
        return Consumer(client_id, config)

    def producer(
        self,
        client_id: str,
        *,
        transactional_id: str | None = None,
        linger_ms: float = 5,
        extra: Mapping[str, Any] | None = None,
    ) -> Producer:
        config = self._common(client_id) | {
            "enable.idempotence": True,
            "max.in.flight.requests.per.connection": _IN_FLIGHT,
            "linger.ms": linger_ms,
            "queue.buffering.max.messages": 500_000,
        }
        if transactional_id is not None:
            del config["socket.timeout.ms"]
            config |= {"transactional.id": transactional_id, "transaction.timeout.ms": 10_000}
        else:
            config["delivery.report.only.error"] = True
        return Producer(client_id, self._all(config, extra or {}))

    def admin(self, client_id: str = "kantor-admin") -> Admin:
        def reader(group: str) -> Consumer:
            return self.consumer("kantor-offsets", group=group, isolation="read_uncommitted")

        return Admin(client_id, self._common(client_id), reader)
