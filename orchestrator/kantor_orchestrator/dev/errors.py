"""What goes wrong with the local broker."""

from __future__ import annotations

from kantor.errors import KantorError


class DevError(KantorError):
    """The local broker can't do what was asked. The message names the thing, the place and the remedy."""
