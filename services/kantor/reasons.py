"""What can be said of an exception that somebody's code has raised."""

from __future__ import annotations


def text_of(error: BaseException) -> str:
    """What it says, if it can say anything."""
    try:
        return str(error)
    except Exception as trouble:  # noqa: BLE001 - its __str__ is somebody's code
        return f"(its text is unavailable: {type(trouble).__name__})"


def printable(error: BaseException) -> BaseException | None:
    """None if a log could not print it."""
    try:
        str(error)
    except Exception:  # noqa: BLE001 - as above
        return None
    return error
