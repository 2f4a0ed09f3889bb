"""Files that are being written: in the folder of the output, locked by their writer, removed once it is gone.

The lock tells a file at work from one that a killed process left, whoever wrote it and whatever process numbers are
used again. Where the file system has no locks, nothing is removed.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import signal
import stat
from collections.abc import Iterator
from pathlib import Path

__all__ = ["remove_abandoned", "temporary", "unlocked"]

_NAME = re.compile(r"\.pimc-[0-9a-f]{16}\.part")  # its length does not depend on the output's name
TRIES = 20


@contextlib.contextmanager
def temporary(folder: Path, mode: int) -> Iterator[tuple[Path, int]]:
    """A new file in ``folder``, open and locked: its path and descriptor. Removed at the end unless it was renamed."""
    for _ in range(TRIES):
        path, handle = folder / f".pimc-{os.urandom(8).hex()}.part", -1
        try:
            handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
            with contextlib.suppress(OSError):
                fcntl.flock(handle, fcntl.LOCK_EX)
            if os.fstat(handle).st_nlink == 0:
                continue  # another process cleaned up before the lock was ours
            yield path, handle
            return
        finally:
            with _undisturbed():
                with contextlib.suppress(OSError):
                    os.unlink(path)
                with contextlib.suppress(OSError):
                    os.close(handle)
    raise FileNotFoundError(f"{folder}: new files vanish at once")


@contextlib.contextmanager
def _undisturbed() -> Iterator[None]:
    """Signals that end the process wait until the block is through."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM, signal.SIGHUP})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def remove_abandoned(folder: Path) -> None:
    """Remove what killed runs left in a folder; files that are being written stay."""
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for name in [entry.name for entry in entries if _NAME.fullmatch(entry.name)]:
            with unlocked(folder / name) as free:
                if free:
                    with contextlib.suppress(OSError):
                        os.unlink(folder / name)


@contextlib.contextmanager
def unlocked(path: Path) -> Iterator[bool]:
    """Hold a regular file's lock for the block; False where another process holds it or it cannot be had."""
    handle = _open(path)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        free = stat.S_ISREG(os.fstat(handle).st_mode)
    except OSError:
        free = False
    try:
        yield free
    finally:
        with contextlib.suppress(OSError):
            os.close(handle)


def _open(path: Path) -> int:
    """A descriptor for locking, or -1. Network file systems want one that can write."""
    for access in (os.O_RDWR, os.O_RDONLY):
        with contextlib.suppress(OSError):
            return os.open(path, access | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    return -1
