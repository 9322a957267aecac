"""A person's signal brings what the event would bring: what a saga needs of it is there and of its type. In memory, with an engine."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from kantor.clients import Record, TopicSpec
from kantor.codec import Codec
from kantor_orchestrator.core import acts as core
from kantor_orchestrator.definitions import bundle as bundles
from kantor_orchestrator.definitions.catalogue import Definitions
from kantor_schemas import Catalog
from unit.definitions_kit import read, record
from unit.engine_place import Place

GIVEN = {
    "type": "record",
    "namespace": "b",
    "name": "Given",
    "kantor.topic": "evt.b.b.v1",
    "fields": [
        {"name": "by", "type": "string"},
        {"name": "level", "type": "int"},
        {"name": "tags", "type": {"type": "array", "items": "string"}, "default": []},
        {"name": "note", "type": ["null", "string"], "default": None},
        {"name": "unused", "type": "string"},
    ],
}
SCHEMAS = Catalog(
    [
        record("a.Begun", "evt.a.a.v1", id="string"),
        GIVEN,
        record("c.Do", id="string"),
        record("c.Done", "evt.c.c.v1"),
        record("c.Undo", by="string", level="int", tags={"type": "array", "items": "string"}),
        record("c.Undone", "evt.c.c.v1"),
    ]
)
SAGA = """\
saga: s
version: 1
starts_on: a.Begun
deadline: 1h
steps:
  approve: {signal: b.Given}
  do: {after: approve, command: c.Do, succeeds_on: c.Done, compensate_with: c.Undo, compensated_on: c.Undone}
  rest: {after: do, sleep: 1h}
"""


class Signalled(Place):
    """One transaction, which waits for the signal."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, Definitions([bundles.bundle(read(SAGA).written[0].model, SCHEMAS, 1)]))
        self.broker.create_topic(TopicSpec("cmd.c.v1", 1))
        for schema in SCHEMAS.values():
            self.schemas.id_of(schema, "t")
        self.say("a.Begun", {"id": "o"})
        self.turn_until(lambda: "started" in self.kinds("t"))

    def say(self, type_: str, fields: dict[str, object], cause: str = "") -> None:
        self.journaled("t", type_, Codec(self.schemas).encoder(SCHEMAS[type_], "t")(fields), cause=cause)

    def signal(self, **fields: object) -> Mapping[str, Any]:
        """The last transition that the engine made of it."""
        before = len(self.told("t"))
        self.act("t", core.SIGNAL, "approve", **fields)
        self.turn_until(lambda: len(self.told("t")) > before)
        return self.told("t")[-1]

    def sent(self, count: int) -> list[Record]:
        log = self.broker.topics["cmd.c.v1"].logs[0]
        self.turn_until(lambda: log.end >= count)
        return list(log.read(0, count, 1e12, committed=True)[0])


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Signalled]:
    place = Signalled(tmp_path)
    yield place
    place.engine.close()


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({}, "the field by of b.Given, which is missing: give it, as string"),
        ({"by": "ann"}, "the field level of b.Given, which is missing: give it, as int"),
        ({"by": 5, "level": 1}, "the field by of b.Given, which is another type: give it, as string"),
        (
            {"by": "ann", "level": "high"},
            "the field level of b.Given, which is another type: give it, as int",
        ),
        ({"by": "ann", "level": "[" * 9_000}, "the field level of b.Given, which is another type"),
        ({"by": "ann", "level": True}, "the field level of b.Given, which is another type"),
        ({"by": None, "level": 1}, "the field by of b.Given, which is another type"),
        ({"by": "ann", "level": 1, "tags": [1]}, "the field tags of b.Given, which is another type"),
    ],
)
def test_a_signal_that_lacks_what_the_saga_needs_is_refused(
    place: Signalled, fields: dict[str, object], why: str
) -> None:
    """No step succeeds on it: the compensation that needs the field could never be built, and `cancel` would be refused for ever. The
    right one is taken afterwards."""
    told = place.signal(**fields)
    assert (told["kind"], told["code"]) == ("ignored", core.IMPOSSIBLE)
    assert why in told["reason"]
    assert place.signal(by="ann", level=1)["kind"] == "command_sent"


def test_what_a_signal_says_in_text_is_read_and_what_has_a_default_need_not_be_said(place: Signalled) -> None:
    """On the command line everything is text. A field that the saga does not need may be missing, and the reversal has all of it."""
    assert place.signal(by="7", level="12")["kind"] == "command_sent"
    (do,) = place.sent(1)
    place.say("c.Done", {}, (dict(do.headers() or ())["ce_id"] or b"").decode())
    place.act("t", core.CANCEL)
    undo = place.sent(2)[-1]
    headers = dict(undo.headers() or ())
    assert headers["ce_type"] == b"c.Undo"
    assert Codec(place.schemas).decode(undo.value(), headers) == {"by": "7", "level": 12, "tags": []}
