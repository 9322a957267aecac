"""What happened, in words: one sentence for each transition, wherever it is told."""

from __future__ import annotations

from dataclasses import replace

import pytest

from kantor_orchestrator import voice
from kantor_orchestrator.cli.render import _lines, _told
from kantor_orchestrator.core.entry import Entry
from kantor_orchestrator.core.transaction import Kind, SentCommand, Transaction, Transition
from kantor_orchestrator.formats.snapshots import decision_record
from kantor_orchestrator.operations.acts import moves_of
from kantor_orchestrator.view import as_json
from kantor_orchestrator.view.trace import Message, Move, Trace
from kantor_orchestrator.web.words import said

MOVE = Move(
    "failed", 1_000, "payment", "running", "failed", 1, 2, "", 0, "timed_out", "no answer in time", "h/0/7"
)


def move(kind: str, **facts: object) -> Move:
    return replace(MOVE, kind=kind, **facts)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", list(Kind))
def test_every_transition_has_a_sentence_of_its_own(kind: Kind) -> None:
    """A new kind can't be forgotten: nobody reads the sentence of another."""
    found = voice.sentence(move(kind))
    others = {voice.sentence(move(other)) for other in Kind if other is not kind}
    assert found not in others
    assert "{" not in found


@pytest.mark.parametrize(
    ("told", "sentence"),
    [
        (move("failed"), "payment failed: timed out (no answer in time)"),
        (move("failed", code="payment.Declined", reason=""), "payment failed: payment.Declined"),
        (move("succeeded", reason="late"), "payment succeeded late"),
        (move("succeeded", reason="", code=""), "payment succeeded"),
        (move("activated", due=6_000), "waiting on payment, for at most 5 s"),
        (move("activated"), "waiting on payment"),
        (move("retry_scheduled", due=1_200), "payment, attempt 2: timed out (no answer in time), again in 200 ms"),
        (move("ended", status="compensated"), "transaction compensated"),
        (move("incident_opened", step=""), "incident: timed out (no answer in time); a person is needed"),
        (move("resumed", step="", code="payment", reason="paid by hand"),
         "incident of payment closed, and what it held up goes on: paid by hand"),
        (move("compensation_started", step="", reason="payment: timed out"), "compensation starts: payment: timed out"),
        (move("kept", code="", reason=""), "kept until it can be used"),
        (move("failed", code="", reason="{step} %s"), "payment failed: {step} %s"),
    ],
)  # fmt: skip
def test_what_is_not_there_is_not_told(told: Move, sentence: str) -> None:
    """Neither a colon without a reason nor a limit without a time; what somebody wrote is told as it is."""
    assert voice.sentence(told) == sentence


@pytest.mark.parametrize("kind", list(Kind))
def test_terminal_pages_and_api_say_the_same(kind: Kind) -> None:
    """Whoever reads one to somebody who looks at the other."""
    told = move(kind)
    sentence = voice.sentence(told)
    assert _told(told).plain == f"└ {sentence}"
    assert said(told).striptags() == sentence
    message = Message("event", "payment.Declined", 1_000, moves=[told])
    story = Trace("tx", 0, "checkout", 1, "running", 1, 1, 0, "", "", [], "", [], [], [message], [])
    assert [one["text"] for one in as_json.trace(story, 0)["timeline"][0]["transitions"]] == [sentence]


def test_an_answer_names_the_offset_and_the_command() -> None:
    """Whoever acted wants to find them."""
    again = Transition(Kind.AGAIN_ASKED, 5, put_off=9)
    command = SentCommand("c", "pay.Refund", "cmd.pay.v1", "compensation", "k", "m", {})
    sent = Transition(Kind.COMPENSATION_SENT, 5, "pay", command=command)
    made = decision_record(Transaction("tx"), Entry("act", 5, "retry"), [again, sent], [], 0, 3)
    assert [voice.answer(one) for one in moves_of(made)] == [
        "the deferred message at journal offset 9 is read again",
        "compensation sent for pay: pay.Refund (c)",
    ]


@pytest.mark.parametrize("origin", ["", "cmd.x.v1/0/7"])
def test_a_command_on_another_topic_is_not_said_to_be_on_its_way(origin: str) -> None:
    """The view reads `cmd.*`: a child's start, and what a saga's `commands` send elsewhere, it never sees."""
    sent = Message(kind="command", type="x.Start", at=1_000, origin=origin, step="child")
    told = " ".join(line.plain for line in _lines(sent, "cyan"))
    assert ("not seen on a cmd.* topic" in told) == (not origin)
    assert "yet" not in told
