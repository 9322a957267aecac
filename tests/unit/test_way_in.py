"""What contributors, and the forge, are told to run is there."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
#: Where programs of the environment are that runs the tests; ``.venv/bin`` in a checkout.
BIN = Path(sys.executable).parent
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PROJECT = PYPROJECT["project"]
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
TARGETS = frozenset(re.findall(r"^([a-z-]+):.*## ", MAKEFILE, re.MULTILINE))
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "SECURITY.md",
    *ROOT.glob("docs/contributing/*.md"),
]
FORMS = [path for path in (ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml") if path.name != "config.yml"]


def parsed(path: str) -> Any:
    return yaml.safe_load((ROOT / path).read_text(encoding="utf-8"))


WORKFLOW = parsed(".github/workflows/ci.yml")
HOOKS = [hook for repo in parsed(".pre-commit-config.yaml")["repos"] for hook in repo["hooks"]]


def code(page: Path) -> Iterator[str]:
    """What stands in code, in lines and in blocks."""
    text = page.read_text(encoding="utf-8")
    yield from re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
    yield from re.findall(r"`([^`\n]+)`", text)


@pytest.mark.parametrize(
    "page", [*PAGES, ROOT / ".github" / "pull_request_template.md"], ids=lambda p: p.name
)
def test_tasks_that_pages_name_are_there(page: Path) -> None:
    """Each ``make task`` is one of the Makefile's."""
    named = {task for part in code(page) for task in re.findall(r"\bmake ([a-z][a-z-]*)", part)}
    assert named - TARGETS == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_files_that_pages_name_are_there(page: Path) -> None:
    """Each path that begins with a folder of this project leads somewhere."""
    tops = "deploy|docs|orchestrator|schemas|services|tests"
    named = {path for part in code(page) for path in re.findall(rf"(?<![\w./-])((?:{tops})/[\w./*-]+)", part)}
    assert [path for path in sorted(named) if not any(ROOT.glob(path))] == []


@pytest.mark.parametrize(
    "run", [step["run"] for job in WORKFLOW["jobs"].values() for step in job["steps"] if "run" in step]
)
def test_the_workflow_runs_what_is_there(run: str) -> None:
    """A task of the Makefile, or a program of this project."""
    program, *arguments = run.split()
    if program == "make":
        assert set(arguments) <= TARGETS
    else:
        assert os.access(ROOT / program, os.X_OK)


def test_the_workflow_runs_the_same_as_everybody_else() -> None:
    """The CI has no steps of its own: ``.ci/run`` is all that it runs for the tests, on every Python that we say we support."""
    supported = [
        one.rpartition(" :: ")[2] for one in PROJECT["classifiers"] if re.search(r":: Python :: 3\.\d+$", one)
    ]
    job = WORKFLOW["jobs"]["test"]
    assert [step["run"] for step in job["steps"] if "run" in step] == [".ci/run"]
    assert set(supported) <= set(job["strategy"]["matrix"]["python"])
    assert PROJECT["requires-python"] == f">={supported[0]}"


def test_a_commit_is_checked_by_what_make_lint_runs() -> None:
    """The hooks run each command of ``make lint``, from the same environment."""
    recipe = re.search(r"^lint:.*\n((?:\t.*\n)+)", MAKEFILE, re.MULTILINE)
    assert recipe
    commands = {line.strip().replace("$(BIN)", ".venv/bin") for line in recipe[1].splitlines()}
    assert commands <= {hook["entry"] for hook in HOOKS if not hook.get("args")}


@pytest.mark.parametrize(
    "hook", [hook for hook in HOOKS if hook["language"] != "pygrep"], ids=lambda h: h["id"]
)
def test_a_hooks_program_is_installed(hook: dict[str, Any]) -> None:
    """``make setup`` brings it."""
    folder, _, program = hook["entry"].split()[0].rpartition("/")
    assert folder == ".venv/bin"
    assert os.access(BIN / program, os.X_OK)


def test_the_hooks_can_be_read() -> None:
    """By the program that runs them."""
    command = [sys.executable, "-m", "pre_commit", "validate-config", str(ROOT / ".pre-commit-config.yaml")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


@pytest.mark.parametrize(("length", "is_refused"), [(72, False), (73, True)])
def test_a_commits_subject_is_short(length: int, is_refused: bool) -> None:
    """Of 72 characters at most; the lines of its body may be longer."""
    (hook,) = [hook for hook in HOOKS if hook["id"] == "subject"]
    found = re.search(hook["entry"], "x" * length + "\n\n" + "y" * 200, re.MULTILINE | re.DOTALL)
    assert bool(found) is is_refused


@pytest.mark.parametrize("form", FORMS, ids=lambda p: p.name)
def test_a_form_for_issues_is_whole(form: Path) -> None:
    """It says what it is for; each field has an id of its own and a question. A weakness is sent elsewhere."""
    found = parsed(str(form.relative_to(ROOT)))
    assert {"name", "description", "body"} <= found.keys()
    fields = [part for part in found["body"] if part["type"] != "markdown"]
    assert {part["type"] for part in fields} <= {"textarea", "input", "dropdown", "checkboxes"}
    assert all(part["attributes"]["label"] for part in fields)
    assert len({part["id"] for part in fields}) == len(fields)


def test_the_license_is_the_one_that_is_named() -> None:
    """pyproject.toml names Apache-2.0, and LICENSE is its whole text."""
    text = (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert PROJECT["license"] == "Apache-2.0"
    assert "Version 2.0, January 2004" in text
    assert all(f"\n   {n}. " in text for n in range(1, 10))
    assert "END OF TERMS AND CONDITIONS" in text
    assert [name for name in PROJECT["license-files"] if not any(ROOT.glob(name))] == []


def test_the_lock_names_versions_and_hashes_and_no_place() -> None:
    """Any mirror will do."""
    package = r"[a-z0-9-]+==[\w.+!]+( ; [\w\s.<>=!'()]+)? \\"
    line = re.compile(rf"#.*|{package}|    --hash=sha256:[0-9a-f]{{64}}( \\)?")
    lock = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    assert [one for one in lock.splitlines() if not line.fullmatch(one)] == []
    assert "://" not in lock


def names(wanted: Iterable[str]) -> set[str]:
    """Of the packages that are wanted."""
    return {re.split(r"[\[<>=~! ]", one)[0].lower().replace("_", "-") for one in wanted}


def extras() -> list[str]:
    """What users may install."""
    return [one for some in PROJECT["optional-dependencies"].values() for one in some]


def test_the_lock_has_what_the_project_needs() -> None:
    """Whoever adds a dependency locks it: ``make setup`` installs nothing else."""
    lock = set(
        re.findall(r"^([a-z0-9-]+)==", (ROOT / "requirements.lock").read_text(encoding="utf-8"), re.MULTILINE)
    )
    wanted = [*PROJECT["dependencies"], *extras(), *PYPROJECT["dependency-groups"]["contribute"]]
    assert names(wanted) - {PROJECT["name"]} - lock == set()


def test_users_install_nothing_that_is_for_contributors() -> None:
    """Who develops sagas with ``kantor[dev]`` gets no test runner, type checker or browser."""
    assert names(extras()) & names(PYPROJECT["dependency-groups"]["contribute"]) == set()
    assert {"pytest", "mypy", "twine", "playwright"} <= names(PYPROJECT["dependency-groups"]["contribute"])
