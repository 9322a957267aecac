"""Whatever is written, lint says what is wrong, or it can be compiled and deployed."""

from __future__ import annotations

import copy
import random
from collections.abc import Iterator
from typing import Any

import pytest

from kantor_orchestrator.definitions import bundle as bundles
from kantor_orchestrator.definitions.check import check
from kantor_orchestrator.definitions.children import children_of
from kantor_orchestrator.definitions.diagram import mermaid
from kantor_orchestrator.definitions.diagram_svg import svg
from kantor_orchestrator.definitions.problem import Place, Places
from kantor_orchestrator.definitions.reading import Reading
from unit.test_definitions_ten import NAMES, read

#: How often each of the ten is spoiled.
ROUNDS = 40
_VALUES = [
    "start", "start.order_id", "item", "item.sku", "index", "event.line_id", "parcels.failed", "x.y.z", "1 +", "", "3d",
    "true", True, 0, 7, None, [], {}, ["stock"], "stock", "collect", "payment.PaymentCaptured", "no.Such",
    "size(start.lines) > 0", "a.map(b, c)", "{start.x}", {"ask": "no.Such"}, {"command": "payment.RefundPayment"},
]  # fmt: skip


def parts(value: Any) -> Iterator[tuple[dict[str, Any], str]]:
    """Every word with the mapping that it is in."""
    if isinstance(value, dict):
        for word, inner in value.items():
            yield value, word
            yield from parts(inner)


def spoiled(value: dict[str, Any], chance: random.Random) -> dict[str, Any]:
    """The same with one to three changes: a word lost, a value from elsewhere, a word moved."""
    changed = copy.deepcopy(value)
    for _ in range(chance.randint(1, 3)):
        found = list(parts(changed))
        around, word = chance.choice(found)
        change = chance.randrange(4)
        other, named = chance.choice(found)
        if change == 0:
            around.pop(word, None)
        elif change == 1:
            around[word] = chance.choice(_VALUES)
        elif change == 2:
            around[word] = copy.deepcopy(other.get(named))
        else:
            around[named] = copy.deepcopy(other.get(named))
    return changed


@pytest.mark.parametrize("name", NAMES)
def test_spoiled_definitions(name: str) -> None:
    """A definition with random faults is refused with problems, or else it compiles, deploys and can be drawn."""
    written, schemas = read(name)
    value = written[0].model.model_dump(mode="json", exclude_defaults=True)
    others = [one.model for one in written[1:]]
    chance = random.Random(name)
    for _ in range(ROUNDS):
        reading = Reading()
        reading.add(spoiled(value, chance), Places(Place("spoiled")))
        if reading.problems:
            continue
        (model,) = (one.model for one in reading.written)
        assert svg(model)
        assert mermaid(model)
        if check(reading.written, schemas, others) == []:
            children = children_of([model, *others], schemas)
            bundles.compile_definition(bundles.bundle(model, schemas, 1, children))
