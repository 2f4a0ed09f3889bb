"""Counter-based random numbers: a value depends on (seed, stream, number) only, never on the order of the calls.

So a draw of a chip is the same in every engine, in every chunking of the work and with every numpy. The mixer is
splitmix64 (Steele, Lea, Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014).
"""

from __future__ import annotations

from functools import lru_cache
from statistics import NormalDist

import numpy as np

__all__ = ["NORMAL_TABLE_BITS", "hashes", "normal_table", "normals", "stream_key", "uniforms"]

Array = np.ndarray

GOLDEN = 0x9E3779B97F4A7C15
MIX_1 = 0xBF58476D1CE4E5B9
MIX_2 = 0x94D049BB133111EB
MASK = (1 << 64) - 1

#: The table of the noise kernel has two to this many quantiles, so noise stays within 3.7 sigma.
NORMAL_TABLE_BITS = 12


def _mix(value: int) -> int:
    value = ((value ^ (value >> 30)) * MIX_1) & MASK
    value = ((value ^ (value >> 27)) * MIX_2) & MASK
    return value ^ (value >> 31)


def stream_key(*parts: int) -> int:
    """One 64-bit key from a seed and the numbers that tell its uses apart."""
    key = 0
    for part in parts:
        key = _mix((key + (part & MASK) + GOLDEN) & MASK)
    return key


def hashes(key: int, first: int, count: int) -> Array:
    """uint64 [count]: the hashes of the numbers ``first``, ``first + 1``, ... of a stream."""
    numbers = np.arange(first, first + count, dtype=np.uint64)
    value = np.uint64(key) + (numbers + np.uint64(1)) * np.uint64(GOLDEN)
    value = (value ^ (value >> np.uint64(30))) * np.uint64(MIX_1)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(MIX_2)
    return np.asarray(value ^ (value >> np.uint64(31)))


def uniforms(key: int, count: int, first: int = 0) -> Array:
    """float64 [count] in (0, 1)."""
    return np.asarray(((hashes(key, first, count) >> np.uint64(12)).astype(np.float64) + 0.5) * 2.0**-52)


def normals(key: int, count: int) -> Array:
    """float64 [count], standard normal, by the inverse distribution; for the few hundred values of a draw."""
    inverse = NormalDist().inv_cdf
    return np.array([inverse(u) for u in uniforms(key, count).tolist()], np.float64)


@lru_cache(maxsize=1)
def normal_table() -> Array:
    """float32 quantiles of the standard normal at the middles of equal steps; indexed by the top bits of a hash."""
    size = 1 << NORMAL_TABLE_BITS
    inverse = NormalDist().inv_cdf
    table = np.array([inverse((i + 0.5) / size) for i in range(size)])
    table = np.asarray(table / np.sqrt(np.mean(table**2)), np.float32)  # the cut tails would cost variance
    table.flags.writeable = False
    return table
