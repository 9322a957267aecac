"""No transaction's state grows beyond what the state topic takes: its shard could never commit a checkpoint again (shard-14). In
memory.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from kantor.clients import TopicSpec
from kantor.codec import Codec
from kantor_orchestrator.core import acts as core
from kantor_orchestrator.core.limits import MOST_KEPT
from kantor_orchestrator.definitions import bundle as bundles
from kantor_orchestrator.definitions.catalogue import Definitions
from kantor_orchestrator.formats import journal, topics
from kantor_schemas import Catalog
from unit.definitions_kit import read, record
from unit.engine_place import Place

_TEXTS = {"type": "array", "items": "string"}
SCHEMAS = Catalog(
    [
        record("a.Begun", "evt.a.a.v1", id="string", lines=_TEXTS, many=_TEXTS),
        record("b.Given", "evt.b.b.v1", id="string", note="string"),
        record("c.Do", id="string"),
        record("c.Done", "evt.c.c.v1"),
    ]
)
SAGA = """\
saga: s
version: 1
starts_on: a.Begun
deadline: 1h
steps:
  lines:
    each: start.lines
    steps:
      do: {command: c.Do, succeeds_on: c.Done}
      each: {after: do, each: start.many, steps: {pause: {sleep: 1h}}}
  notes:
    each: start.lines
    steps:
      note: {signal: b.Given, match: event.id == item}
"""
LINES = 60
#: Seconds after which a checkpoint is due.
CUT = 1.0


class Bounded(Place):
    """One transaction, started, of a saga whose state can be made large by little messages."""

    def __init__(self, folder: Path, many: list[str]) -> None:
        found = read(SAGA)
        super().__init__(folder, Definitions([bundles.bundle(found.written[0].model, SCHEMAS, 1)]))
        self.broker.create_topic(TopicSpec("cmd.c.v1", 1))
        for schema in SCHEMAS.values():
            self.schemas.id_of(schema, "t")
        self.say("a.Begun", {"id": "o", "lines": [str(n) for n in range(LINES)], "many": many})
        self.turn_until(lambda: "started" in self.kinds("t"))

    def say(self, type_: str, fields: dict[str, object], cause: str = "") -> None:
        self.journaled("t", type_, Codec(self.others).encoder(SCHEMAS[type_], "t")(fields), cause=cause)

    def signal(self, number: int, note: str) -> None:
        fields = {"id": str(number), "note": note}
        act = journal.ActEntry(f"s-{number}", core.SIGNAL, "ann", "", f"notes[{number}].note", fields)
        self._producer.produce(topics.JOURNAL, act.dump(), b"t", journal.ACT_HEADERS, 0)
        self._producer.flush()

    def checkpoint(self) -> int:
        """Bytes of the next snapshot that is committed."""
        before = len(self._states())
        self.broker.clock.sleep(CUT)
        self.turn_until(lambda: len(self._states()) > before)
        return self._states()[-1]

    def _states(self) -> list[int]:
        found = self.broker.topics[topics.STATE].logs[0].read(0, 10_000, 1e12, committed=True)[0]
        return [len(one.value() or b"") for one in found if one.key() == b"t"]

    @property
    def retaken(self) -> float:
        return sum(
            sample.value
            for metric in self.engine._metrics.retaken.collect()
            for sample in metric.samples
            if sample.name.endswith("_total")
        )


@pytest.fixture
def _place(tmp_path: Path) -> Iterator[Bounded]:
    place = Bounded(tmp_path, [])
    yield place
    place.engine.close()


def test_signals_of_people_do_not_outgrow_the_state(_place: Bounded) -> None:
    """Each is as large as the API takes, and there are many: they are refused from a size on, and the shard commits its checkpoints."""
    for number in range(LINES):
        _place.signal(number, "n" * 60_000)
    _place.turn_until(lambda: Counter(_place.kinds("t"))["ignored"] >= LINES - 5)
    assert 200_000 < _place.checkpoint() <= MOST_KEPT
    assert _place.retaken == 0


def test_what_follows_from_little_messages_does_not_outgrow_the_state(tmp_path: Path) -> None:
    """A list within each member of a list is kept for each of them: from a size on to begin one more is an incident of that
    step, its message is taken, and the shard commits its checkpoints."""
    place = Bounded(tmp_path, ["x" * 240_000])
    commands = place.broker.topics["cmd.c.v1"].logs[0]
    place.turn_until(lambda: commands.end == LINES)
    for command in commands.read(0, LINES, 1e12, committed=True)[0]:
        place.say("c.Done", {}, (dict(command.headers() or ())["ce_id"] or b"").decode())
    place.turn_until(lambda: Counter(place.kinds("t"))["incident_opened"] == LINES)
    assert "put_off" not in place.kinds("t")
    assert 240_000 < place.checkpoint() < 2 * MOST_KEPT
    assert place.retaken == 0
    place.engine.close()
