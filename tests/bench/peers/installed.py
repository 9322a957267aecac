"""Restate and what drives it, in a folder of their own below the user's cache; fetched once, with pinned versions."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from kantor_orchestrator.dev.artifacts import cache_folder

SERVER = "@restatedev/restate-server@1.7.12"
PACKAGES = ("restate-sdk==1.3.0", "granian==2.8.9", "aiohttp==3.14.5", "uvloop==0.23.0", "psutil==7.2.2")
#: Seconds for npm and pip, each: about 100 MB to fetch.
_FETCH = 600.0


class MissingError(Exception):
    """The peer can't be had here, and why. Kantor is measured without it."""


@dataclass(frozen=True, slots=True)
class Restate:
    python: Path
    server: Path


def restate(say: Callable[[str], None]) -> Restate:
    """Restate, fetched if it is not there yet. Raises ``MissingError``."""
    folder = cache_folder(os.environ) / "peers" / SERVER.rpartition("/")[2]
    if not (folder / "complete").exists():
        _fetch(folder, say)
    found = sorted(folder.glob("node_modules/@restatedev/restate-server-*/bin/restate-server"))
    if not found:
        raise MissingError(f"{SERVER} has no program for this machine in {folder}; delete it to try again")
    return Restate(folder / "venv" / "bin" / "python", found[0])


def _fetch(folder: Path, say: Callable[[str], None]) -> None:
    npm = shutil.which("npm")
    if npm is None:
        raise MissingError("npm is not installed, and Restate comes by npm")
    say(f"fetching Restate to {folder}")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    quiet = ("--ignore-scripts", "--no-audit", "--no-fund")
    _run("npm", [npm, "install", "--prefix", str(folder), *quiet, SERVER])
    _run("a virtual environment", [sys.executable, "-m", "venv", str(folder / "venv")])
    _run("pip", [str(folder / "venv" / "bin" / "python"), "-m", "pip", "install", "--quiet", *PACKAGES])
    (folder / "complete").touch()


def _run(what: str, command: Sequence[str]) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_FETCH, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise MissingError(f"{what} gave nothing: {error}") from error
    if done.returncode != 0:
        last = (done.stderr.strip() or done.stdout.strip() or f"exit code {done.returncode}").splitlines()[-1]
        raise MissingError(f"{what} gave nothing (is its registry reachable?): {last[:300]}")
