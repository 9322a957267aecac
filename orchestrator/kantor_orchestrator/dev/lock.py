"""Recreates a lock: ``python -m kantor_orchestrator.dev.lock deploy/kafka``. For those who raise a version.

Reads ``jgo.toml``, lets jgo find what it depends on, and writes ``jgo.lock.toml``: names, versions, sizes, sha256.
"""

from __future__ import annotations

import hashlib
import sys
import tempfile
import tomllib
from pathlib import Path

from .files import write_atomically
from .maven import maven_context

HEADER = "# Made by `python -m kantor_orchestrator.dev.lock {folder}` from jgo.toml. Don't edit.\n"


def make_lock(folder: Path, repository: Path) -> str:
    """The text of the lock for ``folder/jgo.toml``; ``repository`` is where jgo downloads to."""
    spec = tomllib.loads((folder / "jgo.toml").read_text(encoding="utf-8"))
    context = maven_context(repository)
    dependencies = [context.create_dependency(text) for text in spec["dependencies"]["coordinates"]]
    inputs, found = context.resolver.resolve(dependencies)
    if not any(dependency.artifact.packaging == "jar" for dependency in dependencies):
        found = []  # an archive brings what it needs
    lines = [
        HEADER.format(folder=folder.as_posix()),
        "[environment]",
        f'name = "{spec["environment"]["name"]}"',
        f'title = "{spec["environment"]["description"]}"',
        f'version = "{inputs[0].version}"',
    ]
    wanted = [*inputs, *(d for d in found if d.scope in ("compile", "runtime") and not d.optional)]
    for artifact in sorted(
        (dependency.artifact for dependency in wanted), key=lambda a: (a.groupId, a.artifactId)
    ):
        content = artifact.resolve().read_bytes()
        lines += [
            "",
            "[[dependencies]]",
            f'groupId = "{artifact.groupId}"',
            f'artifactId = "{artifact.artifactId}"',
            f'version = "{artifact.version}"',
            f'packaging = "{artifact.packaging}"',
            *([f'classifier = "{artifact.classifier}"'] if artifact.classifier else []),
            f'sha256 = "{hashlib.sha256(content).hexdigest()}"',
            f"size = {len(content)}",
        ]
    return "\n".join(lines) + "\n"


def main() -> None:
    folder = Path(sys.argv[1])
    with tempfile.TemporaryDirectory() as repository:
        write_atomically(folder / "jgo.lock.toml", make_lock(folder, Path(repository)))


if __name__ == "__main__":
    main()
