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
    ("kantor_orchestrator", "requests"): (
        "kantor_orchestrator/api/oidc.py",
        "kantor_orchestrator/api/answers.py",
    ),
    ("kantor_orchestrator", "urllib3"): ("kantor_orchestrator/api/answers.py",),
    ("kantor_orchestrator", "cel"): ("kantor_orchestrator/definitions/evaluation.py",),
    ("kantor_orchestrator", "yaml"): ("kantor_orchestrator/definitions/yaml_source.py",),
    ("kantor_orchestrator", "confluent_kafka"): (),
    ("kantor_orchestrator", "fastavro"): (),
}

#: Which folders of the orchestrator a folder may import; what is in none of them, all may. Each comes after those that it imports.
FOLDERS = {
    "core": set(),
    "process": set(),
    "dev": set(),
    "store": {"core"},
    "formats": {"core"},
    "definitions": {"core", "formats"},
    "intake": {"core", "formats", "process"},
    "engine": {"core", "definitions", "formats", "process", "store"},
    "view": {"core", "definitions", "formats", "process"},
    "operations": {"core", "definitions", "formats", "view"},
    "web": {"view"},
    "api": {"core", "definitions", "formats", "operations", "process", "view", "web"},
    "running": {
        "api",
        "definitions",
        "engine",
        "formats",
        "intake",
        "operations",
        "process",
        "store",
        "view",
    },
    "cli": {"api", "core", "definitions", "dev", "formats", "operations", "process", "running", "view"},
    "demo": {"cli", "definitions", "dev", "formats", "running", "view"},
}
#: Files that lie beside them: what every role may use.
AT_THE_TOP = {"__init__", "config", "metrics", "voice", "words"}


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


def test_a_folder_imports_those_below_it_alone() -> None:
    """The orchestrator's folders are its roles, and what they share: whoever reads one knows what else to read."""
    platform = PACKAGES["kantor_orchestrator"] / "kantor_orchestrator"
    found = {
        f"{path.parent.relative_to(platform).parts[0]} imports {other}"
        for path in modules("kantor_orchestrator")
        for name in imports(path)
        for other in [name.removeprefix("kantor_orchestrator.").partition(".")[0]]
        if path.parent != platform
        if within(name, "kantor_orchestrator") and other in FOLDERS
        if other not in {*FOLDERS[folder := path.parent.relative_to(platform).parts[0]], folder}
    }
    assert found == set()
    assert {path.stem for path in platform.glob("*.py")} == AT_THE_TOP
    assert {path.parent.name for path in platform.glob("*/__init__.py")} == FOLDERS.keys()


def test_the_folders_are_in_order() -> None:
    """None imports one that imports it, by whatever way."""
    before: set[str] = set()
    for folder, others in FOLDERS.items():
        assert others <= before
        before.add(folder)


@pytest.mark.parametrize("package", PACKAGES)
def test_no_module_imports_itself_by_way_of_others(package: str) -> None:
    """A circle can only be read as a whole."""
    edges = {name_of(path): set(imported_modules(path)) - {name_of(path)} for path in modules(package)}
    waiting = dict(edges)
    while free := [name for name, others in waiting.items() if not others & waiting.keys()]:
        for name in free:
            del waiting[name]
    assert waiting == {}


def name_of(path: Path) -> str:
    """Of a module."""
    package = next(part for part in reversed(path.parts) if part in PACKAGES)
    parts = path.relative_to(PACKAGES[package]).with_suffix("").parts
    return ".".join(parts).removesuffix(".__init__")


def imported_modules(path: Path) -> Iterator[str]:
    """Modules that this one needs in order to be loaded; of ``from package import name``: the one that ``name`` is, if it is one."""
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                inner = PACKAGES.get(top(node.module))
                is_module = inner and (inner / node.module.replace(".", "/") / f"{alias.name}.py").exists()
                yield f"{node.module}.{alias.name}" if is_module else node.module
