"""Column sums with noise that follows from their products, in one pass: sum, noise, code, what it counts.

Loops and numpy agree.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pimc_isa.engines.kernels.convert import Converter
from pimc_isa.engines.noise import normals_at
from pimc_isa.jit import compiled
from pimc_isa.peripherals.randomness import normal_table

__all__ = ["Strays", "count_codes", "noisy_sums"]

Array = np.ndarray


@dataclass(frozen=True)
class Strays:
    """How sums stray: by ``part`` times the root of their products times a draw of stream ``key``.

    ``which`` uint64 [m, n]: the numbers of the draws.
    """

    part: float
    key: int
    which: Array


def noisy_sums(plus: Array, minus: Array | None, strays: Strays) -> Array:
    """float64 [m, n]: sums ``plus - minus`` of products, with their noise."""
    a, b = plus.astype(np.float64), 0.0 if minus is None else minus.astype(np.float64)
    draws = normals_at(strays.key, strays.which).astype(np.float64)
    return np.asarray((a - b) + strays.part * np.sqrt(a + b) * draws)


def count_codes(
    sums: tuple[Array, Array | None],
    strays: Strays,
    c: Converter,
    weight: Array,
    total: Array,
    only: Array | None = None,
    flags: Array | None = None,
) -> None:
    """Add the codes of noisy sums (``plus`` and ``minus``, any float) times ``weight`` int64 [n] to ``total`` int64.

    ``only`` bool [m, n]: where to convert. ``flags`` bool [m, n] becomes: where a code is an end code, which then does
    not count (an unsigned converter's 0 is none).
    """
    kernel = compiled(_loops)
    if kernel is None:
        _numpy(sums, strays, c, weight, total, only, flags)
        return
    plus, minus = sums
    nothing = np.zeros((1, 1), np.bool_)
    kernel(
        *(plus, plus if minus is None else minus, minus is not None),
        *(strays.part, np.uint64(strays.key), strays.which, normal_table()),
        *(c.step, float(c.lo), float(c.hi), weight, total),
        *(nothing if only is None else only, only is not None, nothing if flags is None else flags, flags is not None),
    )


def _numpy(
    sums: tuple[Array, Array | None],
    strays: Strays,
    c: Converter,
    weight: Array,
    total: Array,
    only: Array | None,
    flags: Array | None,
) -> None:
    codes = c.codes(noisy_sums(*sums, strays)).astype(np.int64)
    counts = np.ones(codes.shape, np.bool_) if only is None else only.copy()
    if flags is not None:
        flags[...] = counts & ((codes == c.hi) | ((codes == c.lo) & (c.lo < 0)))
        counts &= ~flags
    total += np.where(counts, codes * weight, 0)


def _loops(  # type: ignore[no-untyped-def]
    plus, minus, two, part, key, which, normal, step, lo, hi, weight, total, only, chosen, flags, guarded
):
    golden, mix_1, mix_2 = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
    for i in range(total.shape[0]):
        for j in range(total.shape[1]):
            if chosen and not only[i, j]:
                continue
            r = key + (which[i, j] + np.uint64(1)) * golden
            r = (r ^ (r >> np.uint64(30))) * mix_1
            r = (r ^ (r >> np.uint64(27))) * mix_2
            r = r ^ (r >> np.uint64(31))
            a, b = np.float64(plus[i, j]), np.float64(minus[i, j]) if two else 0.0
            v = (a - b) + part * np.sqrt(a + b) * np.float64(normal[r >> np.uint64(52)])
            code = min(max(np.floor(v / step + 0.5), lo), hi)
            end = guarded and (code == hi or (code == lo and lo < 0))
            if guarded:
                flags[i, j] = end
            if not end:
                total[i, j] += np.int64(code) * weight[j]
