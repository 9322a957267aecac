"""Whatever is on the topics: every role goes on, healthy orders complete, and what is refused is counted."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fuzz.besieged import besieged
from fuzz.bounds import bounded
from fuzz.conftest import examples
from fuzz.hostile import HostileRecord, entries, records

#: Of one example: two healthy orders and up to a dozen hostile records take 0.2 s.
_SECONDS, _MEGABYTES = 10.0, 150


@given(st.lists(records(), min_size=1, max_size=12))
@examples(15)
def test_no_record_on_a_source_topic_stops_anybody(hostile: list[HostileRecord]) -> None:
    """Services, intake, engine and view read it; what intake does not journal it counts, by topic; services
    count what they read."""
    with bounded(_SECONDS, _MEGABYTES, *hostile), besieged() as platform:
        sent = platform.run(hostile)
        assert platform.unaccounted(sent) == []
        assert platform.uncounted_by_services() == 0


@given(st.lists(entries(), min_size=1, max_size=12))
@examples(15)
def test_no_entry_of_the_journal_stops_anybody(hostile: list[HostileRecord]) -> None:
    """Not even one that intake would never have written."""
    with bounded(_SECONDS, _MEGABYTES, *hostile), besieged() as platform:
        platform.run(hostile)
