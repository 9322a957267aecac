"""What a step ``do: shop.Pack`` does where docs/contributing/step-kinds.md was followed: run by ``test_step_kinds`` on a copy of the source."""

from __future__ import annotations

from typing import Any

from kantor_orchestrator import Saga
from kantor_orchestrator.core.act_kinds import RETRY
from kantor_orchestrator.core.entry import TIMEOUT
from kantor_orchestrator.core.transaction import Status
from kantor_orchestrator.definitions.check import check
from kantor_orchestrator.definitions.compile import compile_saga
from kantor_orchestrator.definitions.diagram import mermaid
from kantor_orchestrator.definitions.diagram_svg import svg
from kantor_orchestrator.definitions.model import SagaModel
from kantor_orchestrator.view.remedies import remedies
from kantor_orchestrator.view.sagas import SagaFacts
from kantor_orchestrator.view.shown import what_is_open
from kantor_schemas import Catalog
from unit.core_kit import DEPLOYED, Story
from unit.definitions_kit import read, record
from unit.saga_kit import reply

SCHEMAS = Catalog(
    [
        record("shop.Ordered", "evt.shop.order.v1", id="string", n="long"),
        record("shop.Pack", id="string", count="long"),
        record("shop.PackDone", "evt.shop.pack.v1", id="string"),
        record("shop.Send", id="string", count="long"),
    ]
)
HEAD = "saga: s\nversion: 1\nstarts_on: shop.Ordered\ndeadline: 1h\nsteps:\n  pack: "
STEP = "{do: shop.Pack, fields: {count: start.n}, timeout: 1m, pivot: true}"


def lint(step: str) -> list[str]:
    reading = read(f"{HEAD}{step}\n")
    return [problem.what for problem in sorted(reading.problems + check(reading.written, SCHEMAS))]


def is_written_and_drawn() -> SagaModel:
    """In YAML as in Python; and what can't work is told."""
    words: dict[str, Any] = {
        "do": "shop.Pack",
        "fields": {"count": "start.n"},
        "timeout": "1m",
        "pivot": True,
    }
    saga = Saga("s", version=1, starts_on="shop.Ordered", deadline="1h").step("pack", **words).model
    assert read(f"{HEAD}{STEP}\n").models()[0].model == saga
    assert lint(STEP) == []
    assert lint("{do: shop.Pack}") == ["nothing fills the field count: no such field in shop.Ordered"]
    assert lint("{do: shop.Send, fields: {count: 1}}") == ["no schema for shop.SendDone"]
    assert lint("{do: shop.Pack, fields: {count: 1}, need: 1}") == [
        "step pack is done by a command, so `need` has no effect"
    ]
    assert "do: shop.PackDone" in mermaid(saga)
    assert ".do>rect{fill:#e6f0ff}" in svg(saga)
    return saga


def is_carried_out(written: SagaModel) -> None:
    """The command is sent; without an answer the service is waited for, and then a person, who may have it sent again."""
    saga = compile_saga(written, SCHEMAS, DEPLOYED)
    facts = SagaFacts.of(saga)
    story = Story(saga).when("Ordered", payload={"id": "1", "n": 2})
    assert [(sent.type, sent.fields) for sent in story.commands] == [("shop.Pack", {"id": "1", "count": 2})]
    assert what_is_open(story.txn, facts).waiting_on == '["shop"]'
    story.fire(TIMEOUT, "pack", 1, 1, at=story.at + 60_000)
    story.fire(TIMEOUT, "pack", 1, 1, at=story.at + 60_000)
    assert (RETRY, "pack") in [(one.act, one.step) for one in remedies(story.txn, facts.steps, is_held=False)]
    reply(story, "PackDone", "pack", id="1")
    assert story.status is Status.COMPLETED


if __name__ == "__main__":
    is_carried_out(is_written_and_drawn())
