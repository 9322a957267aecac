"""Files shared between processes: locks, atomic writes, and how much a folder really takes."""

from __future__ import annotations

import errno
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from .errors import DevError


@contextmanager
def locked(path: Path, waiting: Callable[[], None]) -> Iterator[None]:
    """Holds an exclusive lock on ``path`` between processes; the kernel frees it if this one dies.

    ``waiting`` is called once when somebody else has the lock, before this call blocks.
    """
    if sys.platform == "win32":
        raise DevError("`kantor dev` needs Linux or macOS. On Windows run it in WSL 2.")
    import fcntl

    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            waiting()
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextmanager
def writing(place: Path, remedy: str) -> Iterator[None]:
    """Turns a full disk or a folder that refuses us into a `DevError` that says where and what to do."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DevError(f"The disk is full at {place}. Free some space, or {remedy}.") from error
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise DevError(
                f"{place} can't be written ({error.strerror}). Fix its permissions, or {remedy}."
            ) from error
        if error.errno in (errno.EEXIST, errno.ENOTDIR):
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
