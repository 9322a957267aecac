"""docs/sagas-reference.md says what is true."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from kantor_orchestrator.definitions import files, parts, yaml_source
from kantor_orchestrator.definitions.model import Part, SagaModel, StepModel
from kantor_orchestrator.definitions.reading import Reading, Written

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "sagas-reference.md").read_text(encoding="utf-8")
PARTS: list[type[Part]] = [
    SagaModel,
    StepModel,
    *(part for part in vars(parts).values() if isinstance(part, type) and issubclass(part, Part)),
]


def block(language: str) -> str:
    """The first block of code in a language."""
    found = re.search(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)
    assert found is not None
    return found[1]


def example() -> Written:
    return files.read([ROOT / "services" / "kantor_examples" / "checkout" / "checkout.yaml"]).models()[0]


def test_yaml_example() -> None:
    """The example in YAML is the one that is shipped."""
    reading = Reading()
    yaml_source.parse(block("yaml"), "docs/sagas-reference.md", reading)
    assert [one.model for one in reading.models()] == [example().model]


@pytest.mark.parametrize("written", re.findall(r"```yaml\n((?!saga:).*?)```", PAGE, re.DOTALL))
def test_parts_are_in_the_grammar(written: str) -> None:
    """Whatever else the page shows in YAML is a step, or the fields of one."""
    shown = yaml.safe_load(written)
    steps = {"one": {"command": "a.Do", "succeeds_on": "a.Done", **shown}} if "fields" in shown else shown
    reading = Reading()
    text = yaml.safe_dump({"saga": "s", "version": 1, "starts_on": "a.Begun", "steps": steps})
    yaml_source.parse(text, "docs/sagas-reference.md", reading)
    assert [str(problem) for problem in reading.problems] == []


def test_python_example(tmp_path: Path) -> None:
    """The example in Python is the same saga."""
    path = tmp_path / "checkout.py"
    path.write_text(block("python"))
    assert [one.model for one in files.read([path]).models()] == [example().model]


@pytest.mark.parametrize("word", sorted({word for part in PARTS for word in part.words()}))
def test_every_word_is_described(word: str) -> None:
    """Every word of the grammar is on the page."""
    assert re.search(rf"\b{word}\b", PAGE)


@pytest.mark.parametrize("word", sorted({word for part in PARTS for word in part.later}))
def test_every_later_word_is_listed(word: str) -> None:
    """Every word of later versions is in the list of what comes later."""
    assert f"`{word}`" in PAGE.partition("## What comes later")[2]
