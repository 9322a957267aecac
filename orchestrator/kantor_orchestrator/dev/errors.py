"""What goes wrong with the local broker."""

from __future__ import annotations

from kantor.errors import KantorError


class DevError(KantorError):
    """The local broker can't do what was asked. The message names the thing, the place and the remedy."""


class NotInstalledError(DevError):
    """A package that only the local broker needs is not installed."""

    def __init__(self, package: str) -> None:
        super().__init__(
            f"`kantor dev` needs {package}, which is not installed. Install it with: pip install 'kantor[dev]'"
        )
