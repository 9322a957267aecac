"""Does Kafka answer this process? Asked now and then, so that ``/readyz`` and a metric say the truth while nothing happens:
a consumer whose brokers are gone just hears nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from threading import Event, Thread

from kantor.clients import Admin, Clients
from kantor.errors import ConfigError, KantorError, StuckError
from kantor_orchestrator.process.wellness import Wellness

log = logging.getLogger("kantor.role")

#: Seconds between questions, and until an answer is missed.
INTERVAL, PATIENCE = 3.0, 5.0
#: Its loop, as it is told by :class:`Wellness`, and seconds until the client hangs that it asks with: it has a limit itself.
LOOP, STUCK = "the question whether Kafka answers", 60.0


class Pulse:
    """Asks in a thread of its own, from :meth:`start` to :meth:`stop`; counts as there until an answer is missed."""

    def __init__(
        self,
        clients: Clients,
        client_id: str,
        told: Callable[[bool], None],
        wellness: Wellness,
        interval: float = INTERVAL,
    ) -> None:
        """``told`` hears each answer; ``wellness`` hears where the partitions end whose positions it has, and is excused
        while Kafka is away."""
        self.is_there = True
        self._clients = clients
        self._client_id = client_id
        self._told = told
        self._wellness = wellness
        self._interval = interval
        self._stop = Event()
        self._thread = Thread(target=self._run, name="kantor-pulse", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """A question that is under way is not waited for: its thread ends with it, or with the process."""
        self._stop.set()

    def _run(self) -> None:
        admin: Admin | None = None
        while not self._stop.is_set():
            self._wellness.beat(LOOP, STUCK)
            try:
                admin = admin or self._clients.admin(self._client_id)
                admin.topics(PATIENCE)
                self._is(True, "")
            except ConfigError:
                return  # the role ends with it, and says it once
            except StuckError as error:
                admin = None
                self._is(False, str(error))
            except KantorError as error:
                self._is(False, str(error))
            else:
                self._ask_ends(admin)
            self._stop.wait(self._interval)

    def _ask_ends(self, admin: Admin) -> None:
        if places := self._wellness.places():
            try:
                self._wellness.ends(admin.ends(places, PATIENCE))
            except KantorError as error:
                log.info("end offsets are unknown this time: %s", error, extra={"action": "ends_unknown"})

    def _is(self, there: bool, why: str) -> None:
        if there != self.is_there and not there:
            log.error("Kafka does not answer: %s", why, extra={"action": "kafka_away"})
        elif there != self.is_there:
            log.info("Kafka answers again", extra={"action": "kafka_back"})
        self.is_there = there
        if not there:
            self._wellness.excuse()
        self._told(there)
