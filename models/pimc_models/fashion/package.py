"""All of Fashion-MNIST's test set, from Debian's package: kept in the user's cache, never in the repository.

The package is `dataset-fashion-mnist` (MIT); `pimc_models.debian` fetches it.
"""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pimc_models.debian import DatasetError, cache_folder, files_of

__all__ = ["DatasetError", "read_idx", "test_arrays"]

PACKAGE = "dataset-fashion-mnist"
FOLDER = Path("usr/share/datasets/fashion-mnist")
"""Where the package puts its files."""
FILES = ("t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz")


def test_arrays() -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """Return all test images (10,000 x 28 x 28 pixels) and labels; fetches the package once. Raises DatasetError."""
    names = [str(FOLDER / name) for name in FILES]
    place = files_of(PACKAGE, names, cache_folder("fashion-mnist"), "the full Fashion-MNIST test set")
    images, labels = (read_idx(place / name) for name in names)
    if images.shape != (10_000, 28, 28) or labels.shape != (10_000,):
        raise DatasetError(f"{place}: test set of shape {images.shape} instead of 10,000 images\ndelete its files")
    return images, labels


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
