"""Random draws, as the manual's section "Noise" defines them: a function of a key and a number, nothing else."""

from __future__ import annotations

from functools import lru_cache
from statistics import NormalDist
from zlib import crc32

import numpy as np

__all__ = ["CELLS", "COLUMNS", "LUMPED", "SUMS", "key_of", "normal", "position"]

Array = np.ndarray

_WORD = (1 << 64) - 1
#: What a stream is for, the second part of its key.
CELLS, SUMS, LUMPED, COLUMNS = 1, 2, 3, 4


def _mixed(value: int) -> int:
    """The finisher of splitmix64."""
    value = (value ^ value >> 30) * 0xBF58476D1CE4E5B9 & _WORD
    value = (value ^ value >> 27) * 0x94D049BB133111EB & _WORD
    return value ^ value >> 31


def key_of(seed: int, use: int, name: str, *more: int) -> int:
    """The key of a stream: seed, use, CRC-32 of a name, further numbers, mixed in one after the other."""
    key = 0
    for part in (seed, use, crc32(name.encode()), *more):
        key = _mixed(key + part + 0x9E3779B97F4A7C15 & _WORD)
    return key


def hash_at(key: int, number: int) -> int:
    """The hash of one number of a stream."""
    return _mixed(key + (number + 1) * 0x9E3779B97F4A7C15 & _WORD)


@lru_cache(maxsize=1)
def _quantiles() -> Array:
    """float32 [4096]: quantiles of the standard normal at (i + 1/2) / 4096, scaled to a mean square of 1."""
    values = np.array([NormalDist().inv_cdf((i + 0.5) / 4096) for i in range(4096)])
    return np.asarray(values / np.sqrt(np.mean(values**2)), np.float32)


def normal(key: int, numbers: Array) -> Array:
    """Standard normal draws (float32 values, held as float64) of numbers of a stream, any shape."""
    table = _quantiles()
    flat = [table[hash_at(key, int(number)) >> 52] for number in numbers.ravel()]
    return np.array(flat, np.float64).reshape(numbers.shape)


def position(image: int, row: int, column: int) -> int:
    """The number of an output position."""
    return image << 32 | row << 16 | column
