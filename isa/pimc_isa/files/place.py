"""Where an output goes: a regular file to make or replace, or a device or pipe to write through."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from pimc_isa.errors import PimcError

__all__ = ["FilePlace", "cannot_write", "place_of"]

MAX_LINKS = 40  # as many as Linux follows

_REMEDIES = {
    errno.ENOSPC: "make room or write to another disk",
    errno.EDQUOT: "make room or write to another disk",
    errno.EFBIG: "raise the limit of file sizes (ulimit -f) or write elsewhere",
    errno.EACCES: "choose a folder and file that you may write",
    errno.EPERM: "choose a folder and file that you may write",
    errno.EROFS: "choose a folder on a disk that may be written",
    errno.ENAMETOOLONG: "choose a shorter name",
}


@dataclass(frozen=True)
class FilePlace:
    """Where an output goes.

    ``path`` is as the user wrote it. ``file`` is the regular file to make or replace, links followed; ``None`` for what
    is written through: an open ``descriptor`` of this process (``/dev/stdout``), a device or a pipe. ``old`` is the
    status of the file to replace.
    """

    path: Path
    file: Path | None
    old: os.stat_result | None = None
    descriptor: int | None = None


def place_of(path: str | Path, inputs: Iterable[str | Path] = ()) -> FilePlace:
    """Judge where an output would go; writes nothing.

    Raises PimcError for a folder, for a file that is also one of ``inputs`` (the same file, by whatever name), for a
    file without permission to write, and for a path that cannot be.
    """
    path = Path(path)
    try:
        place = _place(path)
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the name
        raise cannot_write(path, error) from None
    clash = next((name for name in inputs if place.old is not None and _is_file(name, place.old)), None)
    if clash is not None:
        raise PimcError(f"cannot write {path}: it is the same file as the input {clash}\nchoose another output")
    return place


def cannot_write(path: Path, error: BaseException) -> PimcError:
    """What to tell the user: the reason and, if it is a usual one, the remedy."""
    if not isinstance(error, OSError):
        return PimcError(f"cannot write {path}: {error}")
    remedy = _REMEDIES.get(error.errno or 0)
    return PimcError(f"cannot write {path}: {error.strerror or error}" + (f"\n{remedy}" if remedy else ""))


def _place(path: Path) -> FilePlace:
    descriptor = _descriptor(path)
    if descriptor is not None:
        if fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
            raise PimcError(f"cannot write {path}: it is open for reading only")
        return FilePlace(path, None, _regular(os.fstat(descriptor)), descriptor)
    old = _status(path)
    if old is not None and stat.S_ISDIR(old.st_mode):
        raise PimcError(f"cannot write {path}: it is a folder\nname a file in it")
    if old is not None and not os.access(path, os.W_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    if old is not None and not stat.S_ISREG(old.st_mode):
        return FilePlace(path, None)
    file = Path(os.path.realpath(path))
    if not file.parent.is_dir():
        raise PimcError(f"cannot write {path}: the folder {file.parent} does not exist")
    return FilePlace(path, file, old)


def _status(path: Path) -> os.stat_result | None:
    try:
        return os.stat(path)
    except FileNotFoundError:  # or a link to nothing yet
        return None


def _regular(found: os.stat_result) -> os.stat_result | None:
    return found if stat.S_ISREG(found.st_mode) else None


def _is_file(name: str | Path, other: os.stat_result) -> bool:
    try:
        return os.path.samestat(os.stat(name), other)
    except (OSError, ValueError):
        return False


def _descriptor(path: Path) -> int | None:
    """The open file of this process that a path such as ``/dev/stdout`` or ``/dev/fd/3`` stands for."""
    own = os.path.realpath("/proc/self/fd")
    name = os.path.abspath(path)
    for _ in range(MAX_LINKS):
        folder, last = os.path.split(name)
        if last.isdigit() and os.path.realpath(folder) == own:
            return int(last)
        if not os.path.islink(name):
            return None
        name = os.path.join(folder, os.readlink(name))
    return None
