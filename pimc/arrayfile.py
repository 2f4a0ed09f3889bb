"""Array files of others: a .npz or .npy file is judged by its headers before anything is read.

A compressed file can claim a thousand times its size, and a header can claim what the file does not hold.
"""

from __future__ import annotations

import math
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy

from pimc_isa.errors import RunError

__all__ = ["ArrayFileError", "one_or_all", "read_array_file"]

Array = np.ndarray
FREE_BYTES, RATIO = 256 << 20, 25
"""A file may hold arrays of `FREE_BYTES`, or of `RATIO` times its own size if that is more."""
MAX_ARRAYS = 1000


class ArrayFileError(RunError):
    """A file that holds no arrays of numbers, or claims more than it may."""


def read_array_file(path: str | Path) -> dict[str, Array]:
    """Arrays of numbers by name; that of a .npy file is named ''. Raises ArrayFileError."""
    path = Path(path)
    try:
        with path.open("rb") as file:
            allowed = max(FREE_BYTES, RATIO * path.stat().st_size)
            if not zipfile.is_zipfile(file):
                return {"": _array(file, str(path), allowed)}
            return _members(file, str(path), allowed)
    except ArrayFileError:
        raise
    except FileNotFoundError:
        raise ArrayFileError(f"{path}: there is no such file.") from None
    except OSError as error:
        raise ArrayFileError(f"{path}: cannot be read ({error.strerror or error}).") from None
    except Exception as error:  # zipfile and zlib raise classes of their own for damaged files
        raise ArrayFileError(
            f"{path}: not a .npz or .npy file of numbers, or damaged ({type(error).__name__})."
        ) from None


def _members(file: IO[bytes], where: str, allowed: int) -> dict[str, Array]:
    arrays: dict[str, Array] = {}
    with zipfile.ZipFile(file) as archive:
        names = archive.namelist()
        if len(names) > MAX_ARRAYS:
            raise ArrayFileError(f"{where}: {len(names):,} arrays; up to {MAX_ARRAYS:,} are read.")
        for name in names:
            with archive.open(name) as member:
                key = name.removesuffix(".npy")
                arrays[key] = _array(member, f"{where}: array {key[:60]!r}", allowed)
                allowed -= arrays[key].nbytes
    return arrays


def _array(file: IO[bytes], where: str, allowed: int) -> Array:
    """One array in numpy's format, whose header is looked at first."""
    file.seek(0)
    version = npy.read_magic(file)
    if version not in ((1, 0), (2, 0), (3, 0)):
        raise ArrayFileError(f"{where}: numpy's format {version} is not known.")
    reader: Any = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    shape, _, dtype = reader(file, max_header_size=10_000)
    if dtype.hasobject:
        raise ArrayFileError(f"{where}: holds {dtype}, not numbers.")
    size = math.prod(shape) * dtype.itemsize
    if size > allowed or size < 0 or any(n < 0 for n in shape):
        raise ArrayFileError(
            f"{where}: claims {size:,} bytes, shape {list(shape)[:8]}.\n"
            f"Up to {RATIO} times the file's size are read; store it uncompressed (numpy.savez)."
        )
    file.seek(0)
    return np.asarray(npy.read_array(file, allow_pickle=False, max_header_size=10_000))


def one_or_all(arrays: Mapping[str, Array]) -> Array | Mapping[str, Array]:
    """The array of a .npy file, or the arrays of a .npz file."""
    return arrays[""] if list(arrays) == [""] else arrays
