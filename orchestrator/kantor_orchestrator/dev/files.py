"""Files shared between processes: locks, atomic writes, and how much a folder really takes."""

from __future__ import annotations

import errno
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from .errors import DevError


def hold(lock: IO[str], waiting: Callable[[], None]) -> None:
    """Takes an exclusive lock between processes on an open file. It ends when the file is closed or this process dies.

    ``waiting`` is called once when somebody else has the lock, before this call blocks.
    """
    if sys.platform == "win32":
        raise DevError("`kantor dev` needs Linux or macOS. On Windows run it in WSL 2.")
    import fcntl

    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        waiting()
        fcntl.flock(lock, fcntl.LOCK_EX)


FULL = (errno.ENOSPC, errno.EDQUOT)
REFUSED = (errno.EACCES, errno.EPERM, errno.EROFS)
IN_THE_WAY = (errno.EEXIST, errno.ENOTDIR)


def is_of_disk(error: OSError) -> bool:
    """Whether the error is one that `writing` explains. Network errors are `OSError` too."""
    return error.errno in (*FULL, *REFUSED, *IN_THE_WAY)


@contextmanager
def writing(place: Path, remedy: str) -> Iterator[None]:
    """Turns a full disk or a folder that refuses us into a `DevError` that says where and what to do."""
    try:
        yield
    except OSError as error:
        if error.errno in FULL:
            raise DevError(f"The disk is full at {place}. Free some space, or {remedy}.") from error
        if error.errno in REFUSED:
            raise DevError(
                f"{place} can't be written ({error.strerror}). Fix its permissions, or {remedy}."
            ) from error
        if error.errno in IN_THE_WAY:
            raise DevError(
                f"{error.filename or place} is a file where a folder is needed. Move it, or {remedy}."
            ) from error
        raise


def write_atomically(path: Path, text: str) -> None:
    """Readers see the old text or the new, never a part of it."""
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def disk_use(folder: Path) -> int:
    """Bytes that a folder takes on disk. Kafka's index files are sparse, so their lengths say nothing."""
    total = 0
    for root, _, names in os.walk(folder):
        for name in names:
            try:
                total += (Path(root) / name).lstat().st_blocks * 512
            except FileNotFoundError:
                continue  # Kafka deletes segments while we count
    return total


def megabytes(size: int) -> str:
    return f"{size / 1_000_000:.0f} MB"


def tail(path: Path, start: int) -> list[str]:
    """The lines from byte ``start`` on; all of them if the file was begun again since, none if there is no file."""
    if not path.exists():
        return []
    with path.open("rb") as file:
        file.seek(start if start <= path.stat().st_size else 0)
        return file.read().decode("utf-8", "replace").splitlines()
