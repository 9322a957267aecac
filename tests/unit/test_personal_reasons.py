"""What people and alerts read of a transaction holds no personal data: neither a service's reason nor a value that an expression chokes on."""

from __future__ import annotations

from typing import Any

import pytest

from kantor_orchestrator.core.saga import MASK
from kantor_orchestrator.core.transaction import Status
from kantor_orchestrator.definitions.dsl import Saga
from kantor_orchestrator.definitions.expressions import EvaluationError, Formula
from kantor_orchestrator.definitions.outcomes import Guard, Items, Sleep, Text
from kantor_schemas import Catalog
from unit.core_kit import Story, compiled
from unit.definitions_kit import record

PERSONAL = {"confluent:tags": ["PII"]}


@pytest.mark.parametrize(("tags", "said"), [({}, "card of ann@example"), (PERSONAL, MASK)])
def test_a_reason_that_is_personal_data_is_not_told(tags: dict[str, Any], said: str) -> None:
    """The step, the transaction and its history say that there is one; it is in the message, for who may read that."""
    declined = record("x.Declined", order_id="string", reason="string")
    declined["fields"] = [field | (tags if field["name"] == "reason" else {}) for field in declined["fields"]]
    written = Saga("s", version=1, starts_on="x.Begun", deadline="1h")
    written.step("pay", succeeds_on="x.Paid", fails_on="x.Declined")
    catalog = Catalog([record("x.Begun", order_id="string"), record("x.Paid", order_id="string"), declined])
    story = Story(compiled(written, catalog)).when("Begun", payload={})
    story.when("Declined", payload={"reason": "card of ann@example"})
    assert story.txn.status is Status.COMPENSATED
    assert story.txn.steps["pay"].reason == said
    assert story.txn.reason == f"pay: x.Declined ({said})"
    assert ("ann@example" in repr(story.log)) == (not tags)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("int(start.email)", "the string of length 11 is not a whole number"),
        ("double(start.email)", "the string of length 11 is not a number"),
        ("duration(start.email)", "the string of length 11 is not a duration, such as 1h30m"),
        (
            "timestamp(start.email)",
            "the string of length 11 is not an RFC 3339 time, such as 2026-01-31T12:00:00Z",
        ),
        ("{start.number: 1}", "it gives a map with a key of type int, and only texts can be keys"),
    ],
)
def test_an_expression_that_fails_tells_no_value(text: str, said: str) -> None:
    """But of which kind it is, and which expression it is."""
    with pytest.raises(EvaluationError) as failed:
        Formula(text)({"start": {"email": "ann@example", "number": 4711}})
    assert str(failed.value) == f"{text!r}: {said}"


@pytest.mark.parametrize("kind", [Guard, Sleep, Text, Items])
def test_a_value_of_the_wrong_kind_is_not_told(kind: Any) -> None:
    """Wherever an expression stands."""
    value: Any = {"ann@example": 1} if kind is not Sleep else "ann@example"
    with pytest.raises(
        EvaluationError, match=r"'start\.who' gave (map|string) of length (1|11), which"
    ) as failed:
        kind(lambda _: value, "start.who")({})
    assert "ann" not in str(failed.value)
