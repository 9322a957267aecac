"""One registry of step kinds: who adds one is told by name what is missing (docs/contributing/step-kinds.md)."""

from __future__ import annotations

import inspect
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from kantor_orchestrator.core.step_kinds import KANTOR, KINDS, STEPS
from kantor_orchestrator.definitions.check import check
from kantor_orchestrator.definitions.children import children_of
from kantor_orchestrator.definitions.compile import compile_saga
from kantor_orchestrator.definitions.diagram import mermaid
from kantor_orchestrator.definitions.diagram_svg import svg
from kantor_orchestrator.definitions.dsl import Steps
from kantor_orchestrator.definitions.model import SagaModel, StepModel, words_at
from kantor_orchestrator.definitions.parts import Part
from kantor_orchestrator.definitions.step_kinds import FORMS
from kantor_schemas import Catalog
from unit.definitions_kit import model, read, record
from unit.language_kit import HEAD, SCHEMAS, lint

ROOT = Path(__file__).parents[2]
RECIPE = (ROOT / "docs" / "contributing" / "step-kinds.md").read_text(encoding="utf-8")
SOURCE = "orchestrator/kantor_orchestrator"

#: A step of each kind that can work, in the language of ``language_kit``.
SAMPLES = {
    "event": "{succeeds_on: b.Done}",
    "command": "{command: b.Do, succeeds_on: b.Done}",
    "signal": "{signal: d.Done}",
    "sleep": "{sleep: 3d}",
    "saga": "{saga: child}",
    "task": "{task: {title: look, for: ann}}",
    "call": "{call: {url: 'http://b.example/'}}",
    "composite": "{steps: {y: {sleep: 3d}}}",
}
#: Something for each word that has no effect in some kind of step.
WORDS = {
    "each": "start.lines", "need": "1", "in_order": "true", "settle": "all", "fields": "{n: 1}", "key": "start.id",
    "retry": "{attempts: 2}", "succeeds_on": "b.Done", "fails_on": "b.Failed", "match": "event.id == start.id",
    "progress_on": "b.Going", "timeout": "1s", "in_doubt": "wait", "pivot": "true",
    "compensate_with": "b.Reverse", "compensated_on": "b.Reversed",
}  # fmt: skip


def missing() -> list[str]:
    """What the kinds lack that are in one of the registries, and the file to open."""
    words = {name: FORMS[name].word for name in FORMS if FORMS[name].word}
    arguments = inspect.signature(Steps.step).parameters
    return [
        *(f"{name}: add it to KINDS in {SOURCE}/core/step_kinds.py" for name in FORMS.keys() - KINDS.keys()),
        *(
            f"{name}: add its form to FORMS in {SOURCE}/definitions/step_kinds.py"
            for name in KINDS.keys() - FORMS.keys()
        ),
        *(
            f"{name}: add the word `{word}` to StepModel in {SOURCE}/definitions/model.py"
            for name, word in words.items()
            if word not in StepModel.model_fields
        ),
        *(
            f"{name}: add the word `{word}` to Steps.step in {SOURCE}/definitions/dsl.py"
            for name, word in words.items()
            if word not in arguments
        ),
    ]


def test_every_kind_is_known_everywhere() -> None:
    """To the engine and to the grammar, in YAML and in Python."""
    assert missing() == []


@pytest.mark.parametrize("name", FORMS)
def test_every_kind_is_described(name: str) -> None:
    """On the page for authors of sagas, in the table of what a step can be."""
    page = (ROOT / "docs" / "sagas-reference.md").read_text(encoding="utf-8")
    table = page.partition("\n## A step\n")[2].partition("| `after` |")[0]
    assert not FORMS[name].word or f"| `{FORMS[name].word}` |" in table, (
        f"{name}: add it to the table in docs/sagas-reference.md"
    )


@pytest.mark.parametrize("name", FORMS)
def test_the_registries_agree_with_what_is_compiled(name: str) -> None:
    """Whoever is asked is sent a command, whoever waits for a time sleeps, and what else holds steps is a composite."""
    assert name in SAMPLES, f"{name}: add such a step to SAMPLES in tests/unit/test_step_kinds.py"
    kind = KINDS[name]
    child = model(
        f"{HEAD.replace('a.Begun', 'b.Begun').replace('saga: s', 'saga: child')}steps: {{y: {{sleep: 3d}}}}\n"
    )
    schemas = Catalog([*SCHEMAS.values(), record("b.Begun", "evt.b.b.v1", id="string")])
    written = read(f"{HEAD}steps:\n  x: {SAMPLES[name]}\n").models()
    assert check(written, schemas, [child]) == []
    saga = written[0].model
    step = compile_saga(saga, schemas, 1, children_of([child], schemas)).steps["x"]
    assert step.kind == name
    assert (step.command is not None, step.sleep is not None, bool(step.steps)) == (
        kind.is_asked, kind.waits_for == KANTOR, kind.waits_for == STEPS,
    )  # fmt: skip
    assert bool(step.succeeds_on) == (kind.waits_for not in (KANTOR, STEPS))
    opens, closes = FORMS[name].brackets
    assert kind.waits_for == STEPS or (f"s_x{opens}" in mermaid(saga) and closes in mermaid(saga))
    assert f".{name}>rect{{{FORMS[name].style}}}" in svg(saga)


@pytest.mark.parametrize("word", sorted(frozenset[str]().union(*(form.takes for form in FORMS.values()))))
@pytest.mark.parametrize("name", SAMPLES)
def test_a_word_has_an_effect_or_is_refused(name: str, word: str) -> None:
    """In a step of each kind; whoever refuses it says why."""
    if word in SAMPLES[name]:
        return
    found = lint(f"  x: {SAMPLES[name][:-1]}, {word}: {WORDS[word]}}}")
    is_refused = any(
        f"so `{word}` has no effect" in line or "it succeeds on its signal" in line for line in found
    )
    assert is_refused != (word in FORMS[name].takes), found


@pytest.mark.parametrize("word", ["compensate_with", "compensated_on"])
def test_a_child_reverses_itself(word: str) -> None:
    """What else should reverse it is refused: it would never be sent."""
    found = lint(f"  x: {{saga: child, {word}: {WORDS[word]}}}")
    what = f"step x: a child reverses itself, so `{word}` has no effect; remove it"
    assert any(what in line for line in found), found


@pytest.mark.parametrize("name", FORMS)
def test_words_below_a_word_are_known(name: str) -> None:
    """Whoever mistypes a word in a step's mapping is told the words of that mapping."""
    word = FORMS[name].word
    if not word or word == "steps":
        return
    below = [one for one in _types(StepModel.model_fields[word].annotation) if issubclass(one, Part)]
    found = words_at(("steps", "x", word, "typo"))
    assert [found] == below if below else found is SagaModel, (
        f"{name}: name its part in _BELOW in {SOURCE}/definitions/model.py"
    )


def _types(annotation: object) -> list[type]:
    parts = getattr(annotation, "__args__", (annotation,))
    return [inner for part in parts for inner in ([part] if isinstance(part, type) else _types(part))]


#: What is still missing after each file of the recipe.
LEFT = [
    ["do: add its form to FORMS in orchestrator/kantor_orchestrator/definitions/step_kinds.py"],
    [
        "do: add the word `do` to StepModel in orchestrator/kantor_orchestrator/definitions/model.py",
        "do: add the word `do` to Steps.step in orchestrator/kantor_orchestrator/definitions/dsl.py",
    ],
    ["do: add the word `do` to Steps.step in orchestrator/kantor_orchestrator/definitions/dsl.py"],
    [],
]


def test_a_toy_kind_follows_the_recipe(tmp_path: Path) -> None:
    """It changes four files of a copy of the source, each told by name before; then the kind is written, checked, drawn, carried out and
    shown."""
    shutil.copytree(ROOT / SOURCE, tmp_path / SOURCE, ignore=shutil.ignore_patterns("__pycache__"))
    files = re.findall(r"^\d\. `(\S+?)`(.*?)(?=^\d\. |^Then )", RECIPE, re.DOTALL | re.MULTILINE)
    assert len(files) == len(LEFT) == 4
    for (name, says), left in zip(files, LEFT, strict=True):
        for block in re.findall(r"```diff\n(.*?)   ```", says, re.DOTALL):
            _apply(tmp_path / name, [line[3:] for line in block.splitlines()])
        found = _run(tmp_path, "-c", "from unit.test_step_kinds import missing; print(*missing(), sep='\\n')")
        assert found.split("\n")[:-1] == (left or [""])
    assert _run(tmp_path, "-m", "unit.toy_kind") == ""


def _apply(path: Path, diff: list[str]) -> None:
    """Change what a diff shows, which is there once."""
    before, after = ("".join(f"{line[1:]}\n" for line in diff if line[0] != sign) for sign in "+-")
    text = path.read_text(encoding="utf-8")
    assert text.count(before) == 1, f"{path}: {before}"
    path.write_text(text.replace(before, after), encoding="utf-8")


def _run(source: Path, *arguments: str) -> str:
    path = os.pathsep.join(
        map(str, (source / "orchestrator", ROOT / "schemas", ROOT / "services", ROOT / "tests"))
    )
    environment = {**os.environ, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"}
    ran = subprocess.run(
        [sys.executable, *arguments], env=environment, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def test_the_recipe_names_what_there_is() -> None:
    """Every file and test that it sends a contributor to."""
    named = re.findall(r"`((?:orchestrator|tests|docs)/[\w/.-]+)`", RECIPE)
    assert len(named) >= 8
    assert [path for path in named if not (ROOT / path).exists()] == []
