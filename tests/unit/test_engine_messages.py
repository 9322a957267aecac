"""What leaves because of a decision."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from kantor.codec import Codec, MemorySchemas
from kantor_orchestrator.core.entry import Entry
from kantor_orchestrator.core.transaction import Kind, Status, Transaction, Transition
from kantor_orchestrator.definitions.catalogue import Definitions
from kantor_orchestrator.engine.messages import Messages
from unit.core_kit import Story, declined, in_doubt
from unit.engine_place import BUNDLE

TRACE = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def test_an_end_names_the_message_that_led_to_it_and_goes_on_with_its_trace() -> None:
    """Whoever follows a transaction across systems finds where its end comes from."""
    messages = Messages(Codec(MemorySchemas()), Definitions())
    txn = Transaction("t", "s", 1, status=Status.COMPLETED, started_at=1, ended_at=5)
    entry = Entry("event", 5, type="a.Done", id="m-9", source="a")
    headers = {"traceparent": TRACE, "tracestate": b"a=1"}
    (end,) = messages.of(txn, [Transition(Kind.ENDED, 5)], entry, headers, 5)
    told = dict(end.headers)
    assert (told["ce_causationid"], told["traceparent"], told["tracestate"]) == (b"m-9", TRACE, b"a=1")


@pytest.mark.parametrize(("given", "is_known"), [(declined, True), (in_doubt, False)])
def test_a_compensation_says_whether_its_effect_is_known(given: Callable[[], Story], is_known: bool) -> None:
    """A service that knows nothing of an effect that was heard of must not confirm that it is reversed; of one in doubt it may."""
    story = given()
    messages = Messages(Codec(MemorySchemas()), Definitions([BUNDLE]))
    entry = Entry("event", story.at, type="a.Done", id="m-9", source="a")
    sent = [move for move in story.log if move.kind is Kind.COMPENSATION_SENT]
    first = dict(messages.of(story.txn, sent[:1], entry, {}, story.at)[0].headers)
    assert first["ce_reverses"]
    assert (first.get("ce_effect") == b"known") is is_known
    again = [move for move in story.log if move.kind is Kind.COMMAND_SENT]
    assert not any("ce_effect" in dict(one.headers) for one in messages.of(story.txn, again, entry, {}, 5))
