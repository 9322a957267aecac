"""`kantor lint` and `kantor deploy`, as far as they need no Kafka."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from kantor_orchestrator.cli.main import main
from kantor_orchestrator.definitions import deploy
from kantor_orchestrator.definitions.stranding import Broken, Stranded, StrandingError
from unit.definitions_kit import ORDER, SCHEMAS, order


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project: a saga, a broken one, and ./schemas."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("KANTOR_SCHEMAS", raising=False)
    monkeypatch.delenv("KANTOR_BOOTSTRAP_SERVERS", raising=False)
    (tmp_path / "order.yaml").write_text(ORDER)
    (tmp_path / "broken.yaml").write_text(order(line_2="version: 0", line_11=""))
    (tmp_path / "schemas").mkdir()
    for type_, schema in SCHEMAS.items():
        (tmp_path / "schemas" / f"{type_}.avsc").write_text(json.dumps(schema))
    return tmp_path


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["lint", *arguments])


def test_lint_passes(folder: Path) -> None:
    """A definition without problems ends with 0 and says so on stderr only."""
    result = run("order.yaml")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "1 saga, no problems\n")


def test_lint_fails(folder: Path) -> None:
    """Problems are on stdout, one a line; the exit code is 1."""
    result = run("order.yaml", "broken.yaml")
    assert result.exit_code == 1
    assert result.stdout == "broken.yaml:2:10: version: 0 is too small; write at least 1\n"
    assert result.stderr == "1 problem\n"


def test_lint_as_json(folder: Path) -> None:
    """With --json each problem is an object."""
    result = run("broken.yaml", "--json")
    assert json.loads(result.stdout) == [
        {
            "file": "broken.yaml",
            "line": 2,
            "column": 10,
            "problem": "version: 0 is too small",
            "remedy": "write at least 1",
        }
    ]


def test_lint_as_json_without_problems(folder: Path) -> None:
    """Without problems the JSON is an empty list."""
    assert json.loads(run("order.yaml", "--json").stdout) == []


def test_schemas_of_the_environment(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """$KANTOR_SCHEMAS names folders where --schemas does not."""
    (folder / "schemas").rename(folder / "avro")
    monkeypatch.setenv("KANTOR_SCHEMAS", str(folder / "avro"))
    assert run("order.yaml").exit_code == 0


def test_schemas_option(folder: Path) -> None:
    """--schemas may be repeated."""
    (folder / "more").mkdir()
    assert run("order.yaml", "--schemas", "schemas", "--schemas", "more").exit_code == 0


def test_no_schemas(folder: Path) -> None:
    """Without any folder of schemas the usage is wrong: exit code 2 and the remedy."""
    (folder / "schemas").rename(folder / "avro")
    result = run("order.yaml")
    assert result.exit_code == 2
    assert "name their folder with --schemas or $KANTOR_SCHEMAS, or keep them in ./schemas" in result.stderr


def test_bad_schema_file(folder: Path) -> None:
    """A schema file that can't be read is a failure, told without a traceback."""
    (folder / "schemas" / "bad.avsc").write_text("{")
    result = run("order.yaml")
    assert (result.exit_code, "bad.avsc: no JSON" in result.stderr) == (1, True)


def test_no_such_file(folder: Path) -> None:
    """A file that does not exist is wrong usage."""
    assert run("none.yaml").exit_code == 2


def test_deploy_with_problems(folder: Path) -> None:
    """Deploying what has problems does nothing and tells them all."""
    (folder / "late.yaml").write_text(order(line_1="saga: late", line_11=""))
    result = CliRunner().invoke(main, ["deploy", "broken.yaml", "late.yaml"])
    assert result.exit_code == 1
    assert "broken.yaml:2:10: version: 0 is too small" in result.stderr
    assert "late.yaml:10:22: step stock has `compensate_with` but no `compensated_on`" in result.stderr


def test_deploy_without_kafka(folder: Path) -> None:
    """Without an address of Kafka the remedy is told."""
    result = CliRunner().invoke(main, ["deploy", "order.yaml"])
    assert (result.exit_code, "KANTOR_BOOTSTRAP_SERVERS" in result.stderr) == (2, True)


def test_definitions_without_kafka(folder: Path) -> None:
    """The same holds for the list of what is deployed."""
    assert CliRunner().invoke(main, ["definitions"]).exit_code == 2


def test_a_refusal_as_json(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What would be stranded is data on stdout, words on stderr, and the exit code 1."""
    monkeypatch.setenv("KANTOR_BOOTSTRAP_SERVERS", "nowhere:9")
    stranded = Stranded(Broken("order", 1, False, ("keys: gone",)), 3)

    def refuse(*_: object, **__: object) -> None:
        raise StrandingError([stranded])

    monkeypatch.setattr(deploy, "deploy", refuse)
    result = CliRunner().invoke(main, ["deploy", "order.yaml", "--json"])
    assert (result.exit_code, str(stranded) in result.stderr) == (1, True)
    assert json.loads(result.stdout) == {
        "problems": [str(stranded)],
        "stranded": [
            {
                "saga": "order",
                "version": 1,
                "in_force": False,
                "transactions": 3,
                "problems": ["keys: gone"],
                "remedy": stranded.remedy,
            }
        ],
    }


@pytest.mark.parametrize("arguments", [("order",), ("order", "1", "--all"), ("order", "0")])
def test_undeploy_wants_one_version_or_all(folder: Path, arguments: tuple[str, ...]) -> None:
    """Anything else is wrong usage."""
    assert CliRunner().invoke(main, ["undeploy", *arguments]).exit_code == 2
