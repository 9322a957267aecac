"""One registry of operator actions: who adds one is told by name what is missing (docs/contributing/acts.md)."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from click.testing import CliRunner
from pydantic import ValidationError

from kantor_orchestrator.api.acts import ActBody, CountBody, SagaActBody
from kantor_orchestrator.cli import acts as cli
from kantor_orchestrator.cli.main import main
from kantor_orchestrator.core import acts
from kantor_orchestrator.core.act_kinds import (
    FIELDS,
    FOR_MANY,
    KINDS,
    NEEDED,
    OFFSET,
    ON_SAGAS,
    ON_STEPS,
    RUNNING,
    UNTIL_THE_END,
    WITH_INCIDENT,
    ActKind,
)
from kantor_orchestrator.core.decision import Decision
from kantor_orchestrator.core.entry import TIMEOUT
from kantor_orchestrator.core.transaction import Kind
from unit import acts_page
from unit.saga_kit import act, begun, build, command

DOCS = Path(__file__).parents[2] / "docs"


def test_every_act_is_carried_out_somewhere() -> None:
    """By one function of core/acts.py; nothing is carried out that nobody can ask for."""
    carried_out = [*acts.IN_ANY_STATE, *acts.OF_A_SAGA]
    assert sorted(carried_out) == sorted(KINDS)


@pytest.mark.parametrize("name", [*KINDS, *ON_SAGAS])
def test_every_act_is_a_command(name: str) -> None:
    """Its help says what it does, and its options are what it takes."""
    kind = (KINDS | ON_SAGAS)[name]
    help_ = CliRunner().invoke(main, [name, "--help"]).output
    assert kind.help.split(".")[0] in " ".join(help_.split())
    assert ("--step" in help_, "--field" in help_, "--offset" in help_) == (
        bool(kind.step), kind.takes == FIELDS, kind.takes == OFFSET,
    )  # fmt: skip


@pytest.mark.parametrize("name", KINDS)
def test_the_api_takes_the_acts_for_programs(name: str) -> None:
    """And no other name."""
    kind = KINDS[name]
    if kind.is_for_programs:
        assert ActBody(act=name, why="x").act == name
    else:
        with pytest.raises(ValidationError, match="Input should be"):
            ActBody(act=name, why="x")
    if name in FOR_MANY:
        assert CountBody.model_validate({"act": name, "filter": {"saga": "s"}}).act == name
    else:
        with pytest.raises(ValidationError, match="Input should be"):
            CountBody.model_validate({"act": name, "filter": {"saga": "s"}})


def test_a_saga_is_held_and_released() -> None:
    """The operator actions on sagas are none on transactions."""
    assert [SagaActBody(act=name, why="x").act for name in ON_SAGAS] == ["hold", "release"]
    assert not KINDS.keys() & ON_SAGAS.keys()


def test_programs_are_told_which_acts_need_a_step() -> None:
    """In the description of the API, as in its answers."""
    needs_a_step, has_fields = ActBody.model_json_schema()["allOf"]
    named = [kind.name for kind in KINDS.values() if kind.step == NEEDED]
    assert needs_a_step["if"]["properties"]["act"]["enum"] == named
    assert has_fields["if"]["properties"]["act"]["enum"] == ["signal"]


@pytest.mark.parametrize("name", KINDS)
def test_every_act_is_on_the_page_for_operators(name: str) -> None:
    """What it does, in a sentence, and a column of the tables."""
    page = (DOCS / "acts.md").read_text(encoding="utf-8")
    section = page.partition("## What each operator action does")[2].partition("\n## ")[0]
    assert f"`{name}`" in section
    assert name in (*acts_page.OF_A_STEP, *acts_page.OF_ALL)


@pytest.mark.parametrize("name", KINDS)
def test_what_an_act_means_is_said_where_a_page_offers_it(name: str) -> None:
    """An operator action with a meaning and no place would be on no page; ``start`` and ``compensate`` are remedies, or commands."""
    kind = KINDS[name]
    assert bool(kind.means) == bool(kind.offered)
    assert kind.offered in ("", ON_STEPS, RUNNING, UNTIL_THE_END, WITH_INCIDENT)


@pytest.mark.parametrize("name", [*KINDS, *ON_SAGAS])
def test_every_act_is_in_the_guide_for_operators(name: str) -> None:
    """In its table, and in the list of those that can be done to many."""
    guide = (DOCS / "operations.md").read_text(encoding="utf-8")
    assert f"| `kantor {name} " in guide
    bulk = re.search(r"`kantor bulk retry .*? the same \((.*?)\)", guide)
    assert bulk
    assert (f"`{name}`" in bulk[1]) == (name in FOR_MANY)


def test_a_toy_act_follows_the_recipe(monkeypatch: pytest.MonkeyPatch) -> None:
    """An entry and a function: it is a command, and the engine carries it out, or refuses it in the states that refuse all."""
    toy_act = ActKind("toy_act", "Toy", "Give a step more time.", "Wait longer.", WITH_INCIDENT, step=NEEDED)
    monkeypatch.setitem(KINDS, "toy_act", toy_act)
    with pytest.raises(AssertionError):
        test_every_act_is_carried_out_somewhere()

    def toy(d: Decision, why: str) -> None:
        path = d.entry.step
        d.emit(
            Kind.PROGRESSED, step=path, due=d.entry.at + 60_000, timer=TIMEOUT, round=1, attempt=1, reason=why
        )

    monkeypatch.setitem(acts.OF_A_SAGA, "toy_act", toy)
    test_every_act_is_carried_out_somewhere()
    story = act(begun(build(command("pay"))), "toy_act", "pay", "the bank is slow")
    assert (story.log[-1].kind, story.log[-1].reason) == (Kind.PROGRESSED, "the bank is slow")
    story.hold = "held by ann"
    assert act(story, "toy_act", "pay").ignored() == ["act_impossible"]
    help_ = CliRunner().invoke(cli._command(KINDS["toy_act"]), ["--help"]).output
    assert "Give a step more time." in help_
    assert "--step" in help_


def test_the_recipe_names_what_there_is() -> None:
    """Every file and test that it sends a contributor to."""
    recipe = (DOCS / "contributing" / "acts.md").read_text(encoding="utf-8")
    root = DOCS.parent
    named = re.findall(r"`((?:orchestrator|tests|docs)/[\w/.]+)`", recipe)
    assert len(named) >= 4
    assert [path for path in named if not (root / path).exists()] == []
