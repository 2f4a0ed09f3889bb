"""All of Fashion-MNIST's test set, from Debian's package: kept in the user's cache, never in the repository.

The package `dataset-fashion-mnist` (MIT) is fetched with apt and unpacked with dpkg, which needs no root.
"""

from __future__ import annotations

import gzip
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pimc_isa.errors import PimcError

__all__ = ["DatasetError", "cache_folder", "read_idx", "test_arrays"]

PACKAGE = "dataset-fashion-mnist"
FOLDER = Path("usr/share/datasets/fashion-mnist")
"""Where the package puts its files."""
FILES = ("t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz")
SECONDS = 300
"""Longest time a download may take."""


class DatasetError(PimcError):
    """The full test set is not here and cannot be fetched, or a file of it is damaged."""


def test_arrays() -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """Return all test images (10,000 x 28 x 28 pixels) and labels; fetches the package once. Raises DatasetError."""
    installed, cache = Path("/") / FOLDER, cache_folder()
    folder = next((place for place in (installed, cache) if all((place / name).is_file() for name in FILES)), None)
    if folder is None:
        _fetch(cache)
        folder = cache
    images, labels = (read_idx(folder / name) for name in FILES)
    if images.shape != (10_000, 28, 28) or labels.shape != (10_000,):
        raise DatasetError(f"{folder}: test set of shape {images.shape} instead of 10,000 images\ndelete that folder")
    return images, labels


def cache_folder() -> Path:
    """Return where fetched files are kept: ``$XDG_CACHE_HOME/pimc``, by default in the home directory's ``.cache``."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "pimc" / "fashion-mnist"


def read_idx(path: Path) -> npt.NDArray[np.uint8]:
    """Read a gzipped IDX file of unsigned bytes (magic 0x0000_08_rank, then big-endian sizes). Raises DatasetError."""
    try:
        data = gzip.decompress(path.read_bytes())
    except (OSError, EOFError, ValueError):
        data = b""
    if len(data) < 8 or data[:3] != b"\x00\x00\x08":
        raise DatasetError(f"{path} is not a gzipped IDX file of bytes\ndelete it, and it is fetched again")
    shape = np.frombuffer(data, ">u4", data[3], 4)
    body = np.frombuffer(data, np.uint8, offset=4 + 4 * data[3])
    if body.size != shape.prod(dtype=np.int64):
        raise DatasetError(f"{path} is cut short\ndelete it, and it is fetched again")
    return body.reshape([int(n) for n in shape])


def _fetch(cache: Path) -> None:
    """Download and unpack; the files appear in the cache when both are whole."""
    remedy = f"install {PACKAGE}, or put {' and '.join(FILES)} into {cache}"
    if not (shutil.which("apt-get") and shutil.which("dpkg-deb")):
        raise DatasetError(f"the full Fashion-MNIST test set comes in a Debian package, and apt is not here\n{remedy}")
    with tempfile.TemporaryDirectory() as work:
        _run(["apt-get", "download", PACKAGE], work, remedy)
        archive = next(Path(work).glob(f"{PACKAGE}_*.deb"), None)
        if archive is None:
            raise DatasetError(f"apt-get download {PACKAGE} left no file\n{remedy}")
        _run(["dpkg-deb", "-x", archive.name, "unpacked"], work, remedy)
        cache.mkdir(parents=True, exist_ok=True)
        for name in FILES:
            partial = cache / f"{name}.{os.getpid()}.part"
            shutil.copyfile(Path(work) / "unpacked" / FOLDER / name, partial)
            partial.replace(cache / name)


def _run(command: list[str], folder: str, remedy: str) -> None:
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=SECONDS, check=False)
    except subprocess.TimeoutExpired:
        raise DatasetError(f"{' '.join(command)} took more than {SECONDS} s\n{remedy}") from None
    if done.returncode:
        last = next((line for line in reversed(done.stderr.splitlines()) if line.strip()), "no message")
        raise DatasetError(f"{' '.join(command)} failed: {last}\n{remedy}")
