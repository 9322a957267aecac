"""Definitions from files: YAML or Python, told apart by how their names end."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from kantor_orchestrator.definitions import dsl, yaml_source
from kantor_orchestrator.definitions.problem import Place, Problem
from kantor_orchestrator.definitions.reading import Reading


def read(paths: Iterable[Path]) -> Reading:
    """Every definition in these files, and every problem."""
    reading = Reading()
    for path in paths:
        if path.suffix in (".yaml", ".yml"):
            yaml_source.load(path, reading)
        elif path.suffix == ".py":
            dsl.load(path, reading)
        else:
            reading.problems.append(
                Problem(Place(str(path)), "is neither YAML nor Python", "name a .yaml, .yml or .py file")
            )
    return reading
