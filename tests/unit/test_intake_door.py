"""What comes from outside: one record that can't be taken is refused, counted and said, and holds up nothing else
(journal-8, journal-10, journal-13, wire-6, wire-7).
"""

from __future__ import annotations

import logging
from typing import Any

import pytest

from kantor.envelope import command_id, unreadable
from kantor.errors import KafkaUnavailableError
from kantor.testing.log import Entry
from kantor_orchestrator.core.decision import ENDING
from kantor_orchestrator.formats import journal, topics
from kantor_orchestrator.intake.addressing import (
    FAILED_ON,
    IMPERSONATED,
    IN_STRUCTURED_MODE,
    MALFORMED,
    MISSING,
    NO_TYPE,
    OTHER_VERSION,
    UNREADABLE,
    twice,
    why_not,
)
from unit.intake_kit import EVENT, GOOD, OTHER, Running

MIB = 1 << 20

Headers = list[tuple[str, bytes | None]]
GOOD_ONES: Headers = list(GOOD.items())


def without(name: str) -> Headers:
    return [(header, value) for header, value in GOOD_ONES if header != name]


@pytest.fixture
def running(caplog: pytest.LogCaptureFixture) -> Running:
    caplog.set_level(logging.INFO, "kantor.intake")
    return Running()


@pytest.mark.parametrize(
    ("headers", "reason"),
    [
        (without("ce_correlationid"), MISSING),
        ([*without("ce_correlationid"), ("ce_correlationid", b"no id, with blanks")], MALFORMED),
        ([*without("ce_correlationid"), ("ce_correlationid", b"\xff\xfe")], MALFORMED),
        ([*without("ce_correlationid"), ("ce_correlationid", None)], MISSING),
        ([*GOOD_ONES, ("ce_correlationid", b"t-2")], twice("ce_correlationid")),
        ([*GOOD_ONES, ("ce_id", b"2")], twice("ce_id")),
        ([*GOOD_ONES, ("ce_specversion", b"0.3")], OTHER_VERSION),
        (without("ce_type"), NO_TYPE),
        ([*without("ce_type"), ("ce_type", b"")], NO_TYPE),
        ([("content-type", b"Application/CloudEvents+json; charset=UTF-8")], IN_STRUCTURED_MODE),
        ([], MISSING),
        ([*GOOD_ONES, ("ce_id", b"1")], ""),
        (unreadable("why"), UNREADABLE),
        (GOOD_ONES, ""),
        ([*GOOD_ONES, ("ce_specversion", b"1.0")], ""),
        (
            [*GOOD_ONES, ("own", b"1"), ("own", b"2")],
            "",
        ),  # what is no attribute may come as often as it likes
    ],
)
def test_a_record_is_refused_with_the_reason_and_the_remedy(
    running: Running, headers: Headers, reason: str
) -> None:
    """It is not in the journal, and counted; the next one is journaled."""
    running.send_as(headers)
    running.send()
    running.turn()
    assert why_not(headers) == reason
    assert running.journaled() == [*([] if reason else [f"{EVENT}/0/0"]), f"{EVENT}/0/1"]
    assert running.value("uncorrelated_total", topic=EVENT) == (1 if reason else None)
    assert not reason or "; " in reason


def test_headers_that_the_client_can_not_give_end_no_loop(
    running: Running, caplog: pytest.LogCaptureFixture
) -> None:
    """A header's name that is not UTF-8, for example."""
    running.send_as([*GOOD_ONES, ("\udcff", b"1")])
    running.send()
    running.turn()
    assert running.journaled() == [f"{EVENT}/0/1"]
    assert f"{EVENT}/0/0: {UNREADABLE}" in caplog.text


def test_whatever_is_wrong_with_one_record_is_its_end_alone(
    running: Running, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Nobody knows what else a client may raise."""
    original = Entry.key

    def key(self: Entry) -> Any:
        if (self.topic(), self.offset()) == (EVENT, 0):
            raise SystemError("<method 'key'> returned a result with an exception set")
        return original(self)

    monkeypatch.setattr(Entry, "key", key)
    running.send()
    running.send()
    running.send(OTHER)
    running.turn()
    assert sorted(running.journaled()) == [f"{EVENT}/0/1", f"{OTHER}/0/0"]
    assert running.value("uncorrelated_total", topic=EVENT) == 1
    assert f"{EVENT}/0/0: {FAILED_ON} (SystemError: <method 'key'>" in caplog.text


def test_kafka_away_is_nobodys_fault(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the broker does not answer to is tried again by a new intake, never refused."""

    def away(*_: Any) -> None:
        raise KafkaUnavailableError("away")

    running.turn()
    monkeypatch.setattr(running.intake._appender, "produce", away)
    running.send()
    with pytest.raises(KafkaUnavailableError):
        running.turn()
    running.intake.close()
    running.start()
    running.turn()
    assert running.journaled() == [f"{EVENT}/0/0"]


@pytest.mark.parametrize(
    ("topic", "id_", "is_refused"),
    [
        (EVENT, "x", True),
        (EVENT, command_id("t-1", "", ENDING, 1, 1), False),  # what a saga says at its end
        (topics.ENDED, "x", False),
        ("cmd.shop.v1", "x", False),
    ],
)
def test_an_event_that_pretends_to_be_kantors_is_counted_and_said(
    topic: str, id_: str, is_refused: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """Kantor's own messages are in the history already, and are passed over."""
    running = Running({EVENT: 1, "cmd.shop.v1": 1})
    running.send(topic, ce_source=b"kantor", ce_id=id_.encode())
    running.turn()
    assert running.journaled() == []
    assert running.value("uncorrelated_total", topic=topic) == (1 if is_refused else None)
    assert (IMPERSONATED in caplog.text) == is_refused


# -- sizes


def test_the_journal_is_made_to_take_a_record_that_its_topic_took(running: Running) -> None:
    """A topic counts bytes as they were sent, compressed; the journal's copy is not. The order stays."""
    running.admin.set_config(EVENT, "max.message.bytes", str(10 * MIB))
    running.send()
    running.send(value=b"x" * 5 * MIB)
    running.send()
    running.turn()
    assert running.journaled() == [f"{EVENT}/0/{n}" for n in range(3)]
    assert int(running.admin.config(topics.JOURNAL)["max.message.bytes"]) == 8 * MIB


def test_headers_count(running: Running) -> None:
    """They are copied, too."""
    running.admin.set_config(EVENT, "max.message.bytes", str(10 * MIB))
    running.send_as([*GOOD_ONES, *[("note", b"x" * MIB)] * 5])
    running.turn()
    assert running.journaled() == [f"{EVENT}/0/0"]


def test_what_is_larger_than_anything_that_the_journal_may_take_is_refused(
    running: Running, caplog: pytest.LogCaptureFixture
) -> None:
    """By name, with the limit; what comes behind it and elsewhere is journaled."""
    running.admin.set_config(EVENT, "max.message.bytes", str(100 * MIB))
    running.send(value=b"x" * (topics.LARGEST_ENTRY + 1))
    running.send()
    running.send(OTHER)
    running.turn()
    assert sorted(running.journaled()) == [f"{EVENT}/0/1", f"{OTHER}/0/0"]
    assert f"can't correlate {EVENT}/0/0: uncompressed it is larger" in caplog.text
    assert "33,554,432 bytes" in caplog.text


def test_a_limit_that_may_not_be_raised_is_said(
    running: Running, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The remedy is to do it by hand; intake goes on."""

    def forbidden(*_: Any) -> None:
        raise KafkaUnavailableError("TOPIC_AUTHORIZATION_FAILED")

    monkeypatch.setattr(running.intake._admin, "set_config", forbidden)
    running.admin.set_config(EVENT, "max.message.bytes", str(10 * MIB))
    running.send(value=b"x" * 5 * MIB)
    running.send()
    running.turn()
    assert running.journaled() == [f"{EVENT}/0/1"]
    assert "(TOPIC_AUTHORIZATION_FAILED); raise max.message.bytes of sys.kantor.journal" in caplog.text


def test_what_a_record_says_under_the_names_of_the_journal_is_left_out(running: Running) -> None:
    """An entry was copied back to its topic with all of its headers: it is a message as any other, not one that was deferred, or
    a child's start. Parents are named on the platform's own topic only."""
    own = dict.fromkeys(journal.OWN, b"7")
    running.send_as([*own.items(), *GOOD_ONES, ("traceparent", b"t")])
    running.turn()
    running.send_as([*own.items(), *GOOD_ONES], topics.OWN_COMMANDS)
    running.turn()
    first, second = (dict(entry.headers()) for entry in running._journal())
    kept = {journal.ENTRY, journal.ORIGIN, journal.TOPIC_ID, journal.KEY, journal.TIMESTAMP}
    assert first.keys() == GOOD.keys() | kept | {"traceparent"}
    assert second.keys() == GOOD.keys() | kept | {journal.PARENT}
    assert b"7" not in [value for name, value in (first | second).items() if name != journal.PARENT]
