"""Writes a file whole or not at all: beside it first, on disk, then renamed over it.

Whenever a run is killed, the old file or the new one is there, never a part; what was left beside it is removed by the
next run that writes into the folder.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from pimc_isa.files.place import FilePlace, cannot_write, place_of
from pimc_isa.files.temporary import remove_abandoned, temporary

__all__ = ["check_output", "write_file", "write_text", "written"]

Buffer = bytes | memoryview  # of single bytes

PIECE_BYTES = 4 << 20  # written at once, so that signals are heard in between
_NO_SYNC = {errno.EINVAL, errno.ENOTSUP}  # pipes, devices and some network file systems


def check_output(path: str | Path, inputs: Iterable[str | Path] = ()) -> None:
    """Find out before work starts whether ``path`` can be written and is none of ``inputs``. Raises PimcError."""
    place = place_of(path, inputs)
    if place.file is None:
        return
    with _errors(place.path), temporary(place.file.parent, 0o600):
        pass


def write_file(path: str | Path, parts: Iterable[Buffer], inputs: Iterable[str | Path] = ()) -> int:
    """Write a file whole or not at all and return its bytes; devices and pipes are written through.

    A link stays a link: the file it leads to is replaced, and keeps its permissions. Raises PimcError for whatever the
    operating system refuses, and then the old file is as it was.
    """
    with written(place_of(path, inputs), parts) as size:
        return size


def write_text(path: str | Path, text: str) -> int:
    """Write a text in UTF-8 as `write_file` does."""
    return write_file(path, [text.encode()])


@contextmanager
def written(place: FilePlace, parts: Iterable[Buffer]) -> Iterator[int]:
    """Write, and hold the lock of the new file for the block, so that no other process takes it for abandoned."""
    with contextlib.ExitStack() as stack:
        with _errors(place.path):
            size = _through(place, parts) if place.file is None else stack.enter_context(_replaced(place, parts))
        yield size


@contextmanager
def _replaced(place: FilePlace, parts: Iterable[Buffer]) -> Iterator[int]:
    assert place.file is not None
    folder = place.file.parent
    remove_abandoned(folder)  # first, since they may be what fills the disk
    with temporary(folder, 0o666 if place.old is None else 0o600) as (path, handle):
        size = _write(handle, parts)
        if place.old is not None:
            _keep_owner(handle, place.old)
        _sync(handle)
        os.replace(path, place.file)
        _sync_folder(folder)
        yield size


def _through(place: FilePlace, parts: Iterable[Buffer]) -> int:
    if place.descriptor is None:
        handle = os.open(place.path, os.O_WRONLY | os.O_CLOEXEC | os.O_NOCTTY)
    else:
        if sys.stdout is not None:
            sys.stdout.flush()
        handle = os.dup(place.descriptor)
    try:
        size = _write(handle, parts)
        _sync(handle)
    finally:
        os.close(handle)
    return size


def _write(handle: int, parts: Iterable[Buffer]) -> int:
    size = 0
    for part in parts:
        rest = memoryview(part)
        size += len(rest)
        while rest:
            rest = rest[os.write(handle, rest[:PIECE_BYTES]) :]
    return size


def _keep_owner(handle: int, old: os.stat_result) -> None:
    """Owner, group and permissions of the file that is replaced, as far as user and file system allow."""
    with contextlib.suppress(OSError):
        os.fchown(handle, old.st_uid, old.st_gid)
    with contextlib.suppress(OSError):
        os.fchmod(handle, stat.S_IMODE(old.st_mode))


def _sync(handle: int) -> None:
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in _NO_SYNC:
            raise


def _sync_folder(folder: Path) -> None:
    """Bring the new name to disk; a folder that may be written but not read cannot be opened for that."""
    try:
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return
    try:
        _sync(handle)
    finally:
        os.close(handle)


@contextmanager
def _errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise cannot_write(path, error) from error
