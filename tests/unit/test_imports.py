"""Who may import whom."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = {
    "kantor_schemas": ROOT / "schemas",
    "kantor": ROOT / "services",
    "kantor_examples": ROOT / "services",
    "kantor_orchestrator": ROOT / "orchestrator",
}
STDLIB = frozenset(sys.stdlib_module_names)
KIT_LIBRARIES = frozenset({"confluent_kafka", "fastavro", "prometheus_client"})

#: Libraries that one module (or folder) of a package alone may import.
ONLY_IN = {
    ("kantor", "confluent_kafka"): ("kantor/kafka/",),
    ("kantor", "fastavro"): ("kantor/codec.py",),
    ("kantor_orchestrator", "apsw"): ("kantor_orchestrator/store/", "kantor_orchestrator/view/"),
    ("kantor_orchestrator", "psycopg"): ("kantor_orchestrator/view/postgresql.py",),
    ("kantor_orchestrator", "fastapi"): ("kantor_orchestrator/api/",),
    ("kantor_orchestrator", "authlib"): ("kantor_orchestrator/api/oidc.py",),
    ("kantor_orchestrator", "joserfc"): ("kantor_orchestrator/api/jwt.py",),
    ("kantor_orchestrator", "requests"): ("kantor_orchestrator/api/oidc.py",),
    ("kantor_orchestrator", "cel"): ("kantor_orchestrator/definitions/evaluation.py",),
    ("kantor_orchestrator", "yaml"): ("kantor_orchestrator/definitions/yaml_source.py",),
    ("kantor_orchestrator", "confluent_kafka"): (),
    ("kantor_orchestrator", "fastavro"): (),
}


def modules(package: str) -> list[Path]:
    return sorted((PACKAGES[package] / package).rglob("*.py"))


def imports(path: Path) -> Iterator[str]:
    """Absolute names of everything that a module imports, lazily or not."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            package = next(part for part in reversed(path.parts) if part in PACKAGES)
            yield package if node.level else node.module or ""


def within(name: str, *prefixes: str) -> bool:
    return any(name == prefix or name.startswith(prefix + ".") for prefix in prefixes)


def top(name: str) -> str:
    return name.partition(".")[0]


def violations(package: str, allowed: frozenset[str], *prefixes: str) -> list[str]:
    return [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in modules(package)
        for name in imports(path)
        if top(name) not in allowed and not within(name, package, *prefixes)
    ]


def test_schemas_import_the_standard_library_only() -> None:
    """The schemas' package can be used by anything."""
    assert violations("kantor_schemas", STDLIB) == []


def test_the_kit_does_not_know_the_orchestrator() -> None:
    """A service author installs the kit and its three libraries, nothing else."""
    assert violations("kantor", STDLIB | KIT_LIBRARIES, "kantor_schemas") == []


@pytest.mark.parametrize("module", ["envelope", "errors"])
def test_envelope_and_errors_are_pure(module: str) -> None:
    """The core may use them, so they import the standard library only."""
    found = [
        name for name in imports(PACKAGES["kantor"] / "kantor" / f"{module}.py") if top(name) not in STDLIB
    ]
    assert [name for name in found if name != "kantor.errors"] == []


def test_the_core_is_pure() -> None:
    """The core has no I/O, no clock, no logging, no metrics: standard library, envelope and msgspec's records only."""
    forbidden = {"logging", "time", "socket", "os", "pathlib", "random", "threading", "subprocess", "asyncio"}
    core = PACKAGES["kantor_orchestrator"] / "kantor_orchestrator" / "core"
    found = [
        f"{path.name} imports {name}"
        for path in sorted(core.glob("*.py"))
        for name in imports(path)
        if not within(name, "kantor_orchestrator.core", "kantor.envelope", "msgspec")
        and (top(name) not in STDLIB or top(name) in forbidden)
    ]
    assert found == []


def test_examples_use_the_public_names_of_the_kit() -> None:
    """What people copy from the examples works in their own projects."""
    assert violations("kantor_examples", STDLIB | {"kantor"}) == []
    inner = [
        f"{path.name} imports {name}"
        for path in modules("kantor_examples")
        for name in imports(path)
        if within(name, "kantor") and name not in ("kantor", "kantor.testing")
    ]
    assert inner == []


@pytest.mark.parametrize(("package", "library"), ONLY_IN)
def test_a_library_is_imported_at_its_edge_alone(package: str, library: str) -> None:
    """Third-party errors are translated once: each library has one door."""
    doors = ONLY_IN[package, library]
    found = [
        str(path.relative_to(PACKAGES[package]))
        for path in modules(package)
        if any(top(name) == library for name in imports(path))
    ]
    assert [path for path in found if not path.startswith(doors or ("nowhere",))] == []
