"""How many transactions are open, and what waits for a person: for Prometheus, from the view that this process writes."""

from __future__ import annotations

import logging
import time

from kantor.errors import KantorError
from kantor_orchestrator.view.database import Location
from kantor_orchestrator.view.metrics import CensusMetrics
from kantor_orchestrator.view.queries import View

log = logging.getLogger("kantor.view")

#: Seconds between counts. Each costs a few short queries, whose time does not grow with the transactions there are, only with
#: the open incidents.
INTERVAL = 10.0


def count(place: Location, metrics: CensusMetrics) -> None:
    """Once. A view that does not answer now is counted the next time: whoever writes to it says what is wrong."""
    try:
        with View(place) as view:
            incidents, oldest = view.incidents_by_saga()
            age = max(0.0, time.time() - oldest / 1000) if oldest else 0.0
            metrics.counted(view.counts(), incidents, age, {hold.saga for hold in view.holds()})
    except KantorError as error:
        log.warning(
            "could not count the open transactions this time: %s", error, extra={"action": "census_failed"}
        )
