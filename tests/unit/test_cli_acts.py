"""Operator actions on the command line: what is written into the journal, and what is said of the answer."""

from __future__ import annotations

import json
from typing import Any

import pytest
from click.testing import CliRunner, Result

from kantor_orchestrator.cli import acts as cli
from kantor_orchestrator.cli.main import main
from kantor_orchestrator.core.entry import Entry
from kantor_orchestrator.core.transaction import Early, Kind, SentCommand, Transaction, Transition
from kantor_orchestrator.formats.snapshots import decision_record
from kantor_orchestrator.operations.acts import moves_of


class Engine:
    """In place of ``Acts``: keeps what it is asked for, and answers."""

    def __init__(self, *answer: Transition) -> None:
        self.asked: list[tuple[str, str, dict[str, Any]]] = []
        self._answer = list(answer)

    def do(self, act: str, transaction_id: str, **facts: Any) -> list[dict[str, Any]]:
        self.asked.append((act, transaction_id, facts))
        return moves_of(
            decision_record(Transaction(transaction_id), Entry("act", 7, act), self._answer, [], 0, 3)
        )


def run(engine: Engine, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> Result:
    monkeypatch.setattr(cli, "Acts", lambda _: engine)
    monkeypatch.setattr(cli, "found", lambda what: what)
    return CliRunner().invoke(main, list(arguments), env={"KANTOR_BOOTSTRAP_SERVERS": "localhost:1"})


def test_an_old_start_is_started_at_its_offset(monkeypatch: pytest.MonkeyPatch) -> None:
    """The engine asks for a number: where in the journal the message is that starts it."""
    engine = Engine(Transition(Kind.PUT_OFF, 7, put_off=12), Transition(Kind.AGAIN_ASKED, 7, put_off=12))
    result = run(engine, monkeypatch, "start", "order-1", "--offset", "12", "--why", "it never ran")
    assert result.exit_code == 0, result.output
    ((act, id_, facts),) = engine.asked
    assert (act, id_, facts["fields"], facts["why"]) == ("start", "order-1", {"offset": 12}, "it never ran")


def test_a_start_without_an_offset_asks_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is written that the engine would refuse."""
    engine = Engine()
    result = run(engine, monkeypatch, "start", "order-1", "--why", "it never ran")
    assert (result.exit_code, engine.asked) == (2, [])
    assert "--offset" in result.output


def test_json_has_whatever_the_moves_have(monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands, kept messages and captured bytes, too: programs read it."""
    command = SentCommand("c-1", "a.B", "cmd.a.v1", "action", "k-1", "m-1", {}, held=True)
    early = Early("event", "a.B", "m-2", "a", "", 5, "evt.a.v1/0/1", {"raw": b"\xff"})
    engine = Engine(
        Transition(Kind.COMMAND_SENT, 7, "pay", round=2, attempt=1, command=command),
        Transition(Kind.KEPT, 7, early=early, captured={"raw": b"\xff"}),
    )
    result = run(engine, monkeypatch, "retry", "order-1", "--why", "again", "--json")
    assert result.exit_code == 0, result.output
    sent, kept = json.loads(result.stdout)["transitions"]
    assert (sent["kind"], sent["command"]["id"], sent["round"]) == ("command_sent", "c-1", 2)
    assert kept["early"]["payload"] == kept["captured"] == {"raw": {"$bytes": "/w=="}}


def test_a_line_names_the_command_that_was_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    """With its id, by which `kantor trace` and the service's log know it."""
    command = SentCommand("c-1", "a.B", "cmd.a.v1", "action", "k-1", "m-1", {})
    engine = Engine(Transition(Kind.COMMAND_SENT, 7, "pay", command=command))
    result = run(engine, monkeypatch, "retry", "order-1", "--why", "again")
    assert "command sent for pay: a.B (c-1)" in result.output
