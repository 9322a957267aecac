"""docs/testing.md: its example runs, and its table has what there is."""

from __future__ import annotations

import inspect
import os
import re
import subprocess
import sys
from pathlib import Path

from kantor.testing import Trial

PAGE = (Path(__file__).parents[2] / "docs" / "testing.md").read_text(encoding="utf-8")


def test_the_example_passes(tmp_path: Path) -> None:
    """Whoever copies it has tests that pass, and touches no file of the service."""
    (example,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    (tmp_path / "test_payment.py").write_text(example, encoding="utf-8")
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--basetemp", str(tmp_path / "temp"), "."],
        cwd=tmp_path,
        env=os.environ | {"CHECKOUT_DATA": str(tmp_path / "data")},
        capture_output=True,
        text=True,
        check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stdout
    assert f"{len(re.findall('def test_', example))} passed" in ran.stdout
    assert not (tmp_path / "data").exists()


def test_the_table_is_complete() -> None:
    """It covers each method and each option of a trial."""
    told = PAGE.partition("| | |")[2]
    members = {name for name in vars(Trial) if not name.startswith("_")} - {"close"}
    options = {
        name for name, parameter in inspect.signature(Trial.send).parameters.items() if parameter.kind is parameter.KEYWORD_ONLY
    }  # fmt: skip
    assert [name for name in members if f"`trial.{name}" not in told] == []
    assert [name for name in options if f"`{name}=" not in told] == []
