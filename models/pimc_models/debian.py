"""Files out of Debian packages: fetched with apt, unpacked with dpkg, which needs no root, kept in the user's cache."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from pimc_isa.errors import PimcError

if TYPE_CHECKING:
    from collections.abc import Collection

__all__ = ["DatasetError", "cache_folder", "files_of"]

SECONDS = 600
"""Longest time a download may take."""


class DatasetError(PimcError):
    """A data set is not here and cannot be fetched, or a file of it is damaged."""


def cache_folder(name: str) -> Path:
    """Return where fetched files are kept: ``$XDG_CACHE_HOME/pimc``, by default in the home directory's ``.cache``."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "pimc" / name


def files_of(package: str, files: Collection[str], cache: Path, what: str) -> Path:
    """Return a folder that holds ``files`` (names as in the package): ``/`` where it is installed, else ``cache``.

    They are fetched if need be, and appear in the cache whole. ``what`` names the data in errors. Raises DatasetError.
    """
    for place in (Path("/"), cache):
        if all((place / name).is_file() for name in files):
            return place
    remedy = f"install {package}, or put its files into {cache}"
    if not (shutil.which("apt-get") and shutil.which("dpkg-deb")):
        raise DatasetError(f"{what} comes in a Debian package, and apt is not here\n{remedy}")
    with tempfile.TemporaryDirectory() as work:
        _run(["apt-get", "download", package], work, remedy)
        archive = next(Path(work).glob(f"{package}_*.deb"), None)
        if archive is None:
            raise DatasetError(f"apt-get download {package} left no file\n{remedy}")
        _run(["dpkg-deb", "-x", archive.name, "unpacked"], work, remedy)
        for name in files:
            _keep(Path(work) / "unpacked" / name, cache / name, package, remedy)
    return cache


def _keep(source: Path, goal: Path, package: str, remedy: str) -> None:
    if not source.is_file():
        raise DatasetError(f"{package} has no {goal.name}; another version of it may\n{remedy}")
    goal.parent.mkdir(parents=True, exist_ok=True)
    partial = goal.with_name(f"{goal.name}.{os.getpid()}.part")
    shutil.copyfile(source, partial)
    partial.replace(goal)


def _run(command: list[str], folder: str, remedy: str) -> None:
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=SECONDS, check=False)
    except subprocess.TimeoutExpired:
        raise DatasetError(f"{' '.join(command)} took more than {SECONDS} s\n{remedy}") from None
    if done.returncode:
        last = next((line for line in reversed(done.stderr.splitlines()) if line.strip()), "no message")
        raise DatasetError(f"{' '.join(command)} failed: {last}\n{remedy}")
