"""The compiled loops that count bits. Imports numba, so it is imported only where a kernel is wanted.

The population count must be a global here: what a compiled closure captures becomes part of its key in the on-disk
cache, and an intrinsic has another identity in every process.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from numba.extending import intrinsic

from pimc_isa.jit import cached

__all__ = ["kernel"]


def _count_bits(context, word):  # type: ignore[no-untyped-def]
    return word(word), lambda _, builder, signature, arguments: builder.ctpop(arguments[0])


#: LLVM's count of set bits.
ctpop: Any = intrinsic(_count_bits)


@cache
def kernel(
    slices: int, bits: int, scales: tuple[int, ...], words: int, alike: bool, rounding: int, clips_below: bool, gap: int
) -> Callable[..., None]:
    """The kernel for one shape, so that the compiler unrolls the loops over slices, planes and words.

    Where all conversions are ``alike``, one pair of limits serves all, and input slices are added high to low,
    shifting by ``gap`` in between.
    """
    planes = len(scales)

    def loops(x, cells, where, lo, hi, step, shift, lowest, highest, signs, ulo, uhi, ustep, ushift, centre, sums):  # type: ignore[no-untyped-def]
        count, outputs = sums.shape
        held = np.empty(slices * bits * words, np.uint32)
        index = where.reshape(-1)
        for m in range(count):
            for v in range(slices * bits * words):
                held[v] = x[m, index[v]] if index[v] >= 0 else np.uint32(0)
            total = sums[m]
            inputs = np.int32(0)
            for i in range(ulo.size):
                p = np.int32(0)
                for bit in range(bits):
                    for w in range(words):
                        p = np.int32(p + (np.int32(ctpop(held[(i * bits + bit) * words + w])) << bit))
                p = np.int32((p + ustep[i] // 2) // ustep[i] * ustep[i])
                inputs = np.int32(inputs + np.int32(min(max(p, ulo[i]), uhi[i]) << ushift[i]))
            for n in range(outputs):
                total[n] = np.int32(total[n] + inputs * centre[n])
            for j in range(cells.shape[0]):
                column, sign = cells[j], signs[j]
                low, high, by, up = lo[j], hi[j], step[j], shift[j]
                for n in range(outputs):
                    t = np.int32(0)
                    for v in range(slices):
                        i = slices - 1 - v
                        p = np.int32(0)
                        for bit in range(bits):
                            for s in range(planes):
                                for w in range(words):
                                    both = held[(i * bits + bit) * words + w] & column[w, s, n]
                                    p = np.int32(p + np.int32(ctpop(both)) * np.int32(scales[s] << bit))
                        if alike:
                            if rounding != 1:
                                p = np.int32((p + rounding // 2) // rounding * rounding)
                            if clips_below:
                                p = max(p, lowest)
                            t = np.int32(np.int32(t << gap) + min(p, highest))
                        else:
                            p = np.int32((p + by[i] // 2) // by[i] * by[i])
                            t = np.int32(t + np.int32(min(max(p, low[i]), high[i]) << up[i]))
                    if alike:
                        t = np.int32(t << up[0])
                    total[n] = np.int32(total[n] + sign[n] * t)

    return cached(loops)


@cache
def block_kernel(slices: int, bits: int, width: int, sides: int, words: int, rounds: bool) -> Callable[..., None]:
    """The kernel for blocks of pairs: ``width`` bit planes of each of ``sides``; ``rounds``: some step is above 1."""

    def loops(x, cells, where, grid, blocks, signs, ulo, uhi, ustep, ushift, centre, sums):  # type: ignore[no-untyped-def]
        count, outputs = sums.shape
        held = np.empty((slices, bits * words), np.uint32)
        index = where.reshape(slices, bits * words)
        gathered = np.empty((blocks.shape[0], outputs), np.int32)
        for m in range(count):
            for i in range(slices):
                for v in range(bits * words):
                    held[i, v] = x[m, index[i, v]] if index[i, v] >= 0 else np.uint32(0)
            total = sums[m]
            inputs = np.int32(0)
            for i in range(ulo.size):
                p = np.int32(0)
                for bit in range(bits):
                    for w in range(words):
                        p = np.int32(p + (np.int32(ctpop(held[i, bit * words + w])) << bit))
                p = np.int32((p + ustep[i] // 2) // ustep[i] * ustep[i])
                inputs = np.int32(inputs + np.int32(min(max(p, ulo[i]), uhi[i]) << ushift[i]))
            for n in range(outputs):
                total[n] = np.int32(total[n] + inputs * centre[n])
            gathered[:] = np.int32(0)
            for j in range(cells.shape[0]):
                column, sign = cells[j], signs[j]
                for i in range(slices):
                    to, row = gathered[grid[j, i, 0]], held[i]
                    up, first = grid[j, i, 1], grid[j, i, 2]
                    low, high, by = grid[j, i, 3], grid[j, i, 4], grid[j, i, 5]
                    for n in range(outputs):
                        q = np.int32(0)
                        for side in range(sides):
                            p = np.int32(0)
                            for bit in range(bits):
                                for s in range(width):
                                    for w in range(words):
                                        both = row[bit * words + w] & column[w, side * width + s, n]
                                        p = np.int32(p + (np.int32(ctpop(both)) << (s + bit)))
                            if rounds:
                                p = np.int32((p + by // 2) // by * by)
                            p = min(max(p, low), high)
                            q = np.int32(q - p) if side else np.int32(q + p)
                        to[n] = np.int32(to[n] + np.int32((sign[n] * q if first else q) << up))
            for b in range(blocks.shape[0]):
                low, high, by, up, last = blocks[b, 0], blocks[b, 1], blocks[b, 2], blocks[b, 3], blocks[b, 4]
                values = gathered[b]
                for n in range(outputs):
                    y = np.int32(values[n])
                    if rounds:
                        y = np.int32((y + by // 2) // by * by)
                    z = np.int32(min(max(y, low), high) << up)
                    total[n] = np.int32(total[n] + (signs[last, n] * z if last >= 0 else z))

    return cached(loops)
