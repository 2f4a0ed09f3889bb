"""The vector unit's arithmetic, as the manual's section "Arithmetic" has it: float32, step by step, never reordered.

A value of ``single`` is rounded to float32. Products, sums and quotients of two float32 numbers are computed in float64
and rounded once more, which gives the same bits as float32 hardware; ``multiply_add`` rounds once after the sum.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from pimc_isa.operands import Elementwise, Requant

__all__ = ["add_rows", "average", "multiply_rows", "real_rows", "requantise"]

Array = np.ndarray


def single(value: Array | float) -> Array:
    """Rounded to float32, held as float64."""
    return np.asarray(np.asarray(value).astype(np.float32), np.float64)


def multiply_add(a: Array, b: Array, c: Array) -> Array:
    """``a * b + c``: the product of two float32 numbers is exact in float64; the sum is rounded to float32."""
    return single(a * b + c)


def to_bytes(value: Array, lo: int, hi: int) -> Array:
    """Clip to ``lo..hi`` and store as u8."""
    return np.asarray(np.minimum(np.maximum(value, lo), hi), np.uint8)


def requantise(sums: Array, multiplier: Array, bias: Array, q: Requant) -> Array:
    """u8 of i32 sums [columns, channels]: plus bias (wraps), to float32, times multiplier, clip, round half to even."""
    biased = (sums.astype(np.int64) + bias.astype(np.int64)).astype(np.int32)
    scaled = single(single(biased) * single(multiplier))
    clipped = np.minimum(np.maximum(scaled, q.lo - q.zero), q.hi - q.zero)
    return np.asarray(np.rint(clipped) + q.zero, np.uint8)


def add_rows(a: Array, b: Array, s: Elementwise) -> Array:
    """u8 of ``a * sa/sy + (b * sb/sy + constant)``, two fused multiply-adds, the second operand's first."""
    (scale_a, zero_a), (scale_b, zero_b), (scale_y, zero_y) = s.a, s.b, s.y
    factor_a, factor_b = single(single(scale_a) / single(scale_y)), single(single(scale_b) / single(scale_y))
    zeros = single(factor_b * (zero_b - s.offset))
    constant = single(zero_y - s.offset - multiply_add(factor_a, single(zero_a - s.offset), zeros))
    inner = multiply_add(b.astype(np.float64) - s.offset, factor_b, constant)
    outer = multiply_add(a.astype(np.float64) - s.offset, factor_a, inner)
    return to_bytes(np.rint(outer) + s.offset, s.lo, s.hi)


def multiply_rows(a: Array, b: Array, s: Elementwise) -> Array:
    """u8 of the integer product without zero points times ``sa * sb / sy``; the zero point is added before rounding."""
    factor = single(single(single(s.a[0]) * single(s.b[0])) / single(s.y[0]))
    product = (a.astype(np.int64) - s.a[1]) * (b.astype(np.int64) - s.b[1])
    shifted = single(single(single(product) * factor) + (s.y[1] - s.offset))
    return to_bytes(np.rint(shifted) + s.offset, s.lo, s.hi)


def real_rows(function: Callable[[Array, Array], Array], a: Array, b: Array, s: Elementwise) -> Array:
    """u8 of a function of two rows as real numbers; the zero point is added after rounding."""
    left = single(single(a.astype(np.int64) - s.a[1]) * single(s.a[0]))
    right = single(single(b.astype(np.int64) - s.b[1]) * single(s.b[0]))
    return to_bytes(np.rint(single(single(function(left, right)) / single(s.y[0]))) + s.y[1], s.lo, s.hi)


def average(taps: Array, inside: Array, s: Elementwise) -> Array:
    """u8 averages of windows [columns, taps, channels]; ``inside`` [columns, taps] says which taps the tensor has.

    Every tap is made real and added in the order of the taps. The divisor is the number of taps inside, or of all taps
    where ``b``'s zero point is 1; a window that lies outside altogether has the divisor 1.
    """
    scale_x, scale_y = single(s.a[0]), single(s.y[0])
    total = np.zeros((taps.shape[0], taps.shape[2]))
    for t in range(taps.shape[1]):
        real = single(single(taps[:, t].astype(np.int64) - s.a[1]) * scale_x)
        total = single(total + real)
    count = np.full(len(taps), taps.shape[1]) if s.b[1] else inside.sum(axis=1)
    count = np.where(count == 0, 1, count)
    mean = single(total / count[:, None])
    shifted = single(single(mean / scale_y) + (s.y[1] - s.offset))
    return to_bytes(np.rint(shifted) + s.offset, s.lo, s.hi)
