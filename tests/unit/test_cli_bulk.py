"""``kantor bulk``: chosen by options, counted and shown first, done to each, what was refused told."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import pytest
from click.testing import CliRunner, Result

from kantor_orchestrator.cli import bulk as module
from kantor_orchestrator.cli.main import main
from view_traffic import Traffic, project


class Engine:
    """In place of ``Acts``: does everything, but to what a test says."""

    refuses: ClassVar[set[str]] = set()
    silent_on: ClassVar[set[str]] = set()
    asked: ClassVar[list[tuple[str, str, str]]] = []
    ids: ClassVar[list[str]] = []

    def __init__(self, _: Any) -> None: ...

    def do_many(
        self, act: str, transactions: Mapping[str, str], *, actor: str, why: str
    ) -> dict[str, list[dict[str, Any]]]:
        moves = {}
        for id_, act_id in transactions.items():
            self.asked.append((act, id_, f"{actor}: {why}"))
            self.ids.append(act_id)
            kind, reason = ("ignored", "it is completed") if id_ in self.refuses else ("resumed", "")
            if id_ not in self.silent_on:
                moves[id_] = [{"kind": kind, "code": "act_impossible", "reason": reason}]
        return moves


@pytest.fixture(autouse=True)
def engine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> type[Engine]:
    for name in ("KANTOR_VIEW_URL", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("KANTOR_HOME", str(tmp_path))
    monkeypatch.setenv("KANTOR_BOOTSTRAP_SERVERS", "127.0.0.1:1")
    monkeypatch.setattr(module, "Acts", Engine)
    monkeypatch.setattr(module, "CHUNK", 2)
    for known in (Engine.refuses, Engine.silent_on):
        known.clear()
    for said in (Engine.asked, Engine.ids):
        said.clear()
    traffic = Traffic()
    for number in range(7):
        traffic.order(f"tx-{number}", number)
    traffic.completed("tx-completed", 9)
    project(traffic, tmp_path / "view.db")
    return Engine


def bulk(*arguments: str, answer: str = "") -> Result:
    return CliRunner().invoke(main, ["bulk", *arguments], input=answer)


OPEN = ("cancel", "--open", "--why", "a test", "--actor", "ann")


def test_the_count_and_some_are_shown_before_anything_is_done(engine: type[Engine]) -> None:
    """No is the answer unless somebody says yes."""
    result = bulk(*OPEN, answer="n\n")
    assert result.exit_code == 1
    assert "cancel 7 transactions?" in result.stderr
    assert "tx-6" in result.stdout
    assert "and 2 more" in result.stderr
    assert engine.asked == []


@pytest.mark.parametrize(("more", "answer"), [((), "y\n"), (("--yes",), "")])
def test_it_is_done_to_each(engine: type[Engine], more: tuple[str, ...], answer: str) -> None:
    """After a yes, or with --yes; each operator action has an id of its own, who did it and why."""
    result = bulk(*OPEN, *more, answer=answer)
    assert result.exit_code == 0
    assert sorted(engine.asked) == [("cancel", f"tx-{n}", "ann: a test") for n in range(7)]
    assert len(set(engine.ids)) == 7
    assert "done: 7 of 7" in result.stderr


def test_what_was_refused_is_told(engine: type[Engine]) -> None:
    """By transaction, with the reason; those without an answer, too; exit code 1."""
    engine.refuses.add("tx-3")
    engine.silent_on.add("tx-5")
    result = bulk(*OPEN, "--yes", "--json")
    assert result.exit_code == 1
    assert json.loads(result.stdout) == {
        "act": "cancel",
        "chosen": 7,
        "refused": {"tx-3": "it is completed"},
        "unanswered": ["tx-5"],
    }
    assert "tx-3: not possible: it is completed" in bulk(*OPEN, "--yes").stderr


def test_without_a_choice_nothing_is_done(engine: type[Engine]) -> None:
    """A typing error must not cancel every transaction there is."""
    result = bulk("cancel", "--why", "a test", "--yes")
    assert result.exit_code == 2
    assert "select transactions" in result.stderr
    assert engine.asked == []


def test_too_many_are_refused(engine: type[Engine], monkeypatch: pytest.MonkeyPatch) -> None:
    """More than one call may change: nothing is done, and it is said."""
    monkeypatch.setattr(module, "MOST", 3)
    result = bulk(*OPEN, "--yes")
    assert result.exit_code == 2
    assert "more than 3 transactions" in result.stderr
    assert engine.asked == []


def test_nothing_is_so(engine: type[Engine]) -> None:
    """That is no error."""
    result = bulk("retry", "--status", "parked", "--why", "a test")
    assert result.exit_code == 0
    assert "nothing to do" in result.stderr
    assert engine.asked == []


def test_what_is_asked_is_not_mixed_into_json(engine: type[Engine]) -> None:
    """A program reads stdout; the few that are shown before the question go to the person."""
    result = bulk(*OPEN, "--json", answer="y\n")
    assert json.loads(result.stdout)["chosen"] == 7
    assert "tx-6" in result.stderr
    assert len(engine.asked) == 7


@pytest.mark.parametrize("option", ["--why", "--actor"])
def test_nobody_acts_for_no_reason(engine: type[Engine], option: str) -> None:
    """Blank is no reason, and no name, either."""
    result = bulk(*OPEN, "--yes", option, " ")
    assert result.exit_code == 2
    assert f"Invalid value for '{option}': say " in result.stderr
    assert engine.asked == []


def test_a_user_without_a_name_must_say_one(engine: type[Engine], monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a container, whose user is a number that nobody knows: no traceback."""

    def nobody() -> str:
        raise KeyError("getpwuid(): uid not found: 12345")

    monkeypatch.setattr("getpass.getuser", nobody)
    for command in (("bulk", "cancel", "--open", "--yes"), ("cancel", "tx-1"), ("hold",)):
        result = CliRunner().invoke(main, [*command, "--why", "a test"])
        assert (result.exit_code, engine.asked) == (2, [])
        assert "has no name here: say who you are with --actor" in result.stderr
