"""A saga of a few lines and its schemas: what the tests of the whole language spoil."""

from __future__ import annotations

from kantor_orchestrator.definitions.check import check
from kantor_orchestrator.definitions.model import SagaModel
from kantor_schemas import Catalog
from unit.definitions_kit import read, record

LINE = {
    "type": "record",
    "name": "Line",
    "fields": [
        {"name": "id", "type": "string"},
        {"name": "qty", "type": "int"},
        {"name": "price", "type": {"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2}},
    ],
}
PRICE = {"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2}
SCHEMAS = Catalog(
    [
        record("a.Begun", "evt.a.a.v1", id="string", n="long", yes="boolean", price=PRICE, lines={"type": "array", "items": LINE}),
        record("a.Cancelled", "evt.a.a.v1", id="string"),
        record("a.Done", id="string"),
        record("a.Refuse", id="string", why=("string", "")),
        record("b.Do", id="string"),
        record("b.DoMuch", id="string", n="long"),
        record("b.DoLine", id="string", qty="int"),
        record("b.Ask", id="string"),
        record("b.Done", "evt.b.b.v1", id="string", ref="string"),
        record("b.Failed", "evt.b.b.v1", id="string"),
        record("b.Going", "evt.b.b.v1", id="string"),
        record("b.Reverse", id="string"),
        record("b.Reversed", "evt.b.b.v1", id="string"),
        record("c.Do", id="string", ref="string"),
        record("c.Done", "evt.c.c.v1", id="string"),
        record("d.Done", "evt.d.d.v1", id="string"),
    ]
)  # fmt: skip

HEAD = "saga: s\nversion: 1\nstarts_on: a.Begun\ndeadline: 90d\n"
DO = "{command: b.Do, succeeds_on: b.Done, fails_on: b.Failed}"
THEN = "{after: x, command: c.Do, succeeds_on: c.Done}"


def lint(
    steps: str, more: str = "", deployed: tuple[SagaModel, ...] = (), deadline: str = "90d"
) -> list[str]:
    """What is wrong with a saga of these steps (from line 6 on; ``more``, from line 5 on, comes before them)."""
    reading = read(f"{HEAD.replace('90d', deadline)}{more}steps:\n{steps}\n")
    found = sorted(reading.problems + check(reading.written, SCHEMAS, deployed))
    return [str(problem).removeprefix("order.yaml:") for problem in found]
