"""onnxruntime's 8-bit arithmetic on x86-64, in numpy: the meaning of the vector instructions.

Sources: the kernels of onnxruntime (MLAS and contrib operators) behave as written here; the differential tests hold
every function against the real operator.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from pimc_isa.operands import Elementwise, Slab

if TYPE_CHECKING:
    from pimc_isa.define import Meaning

__all__ = [
    "average",
    "average_taps",
    "entries_of",
    "float_pair",
    "fma",
    "qadd",
    "qadd_terms",
    "qmax",
    "qmin",
    "qmul",
    "qsub",
    "qsum",
    "requantise",
]

Array = np.ndarray
Operand = np.ndarray | np.float32
F32 = np.float32


def requantise(acc: Array, multiplier: Array, bias: Array, zero: int, lo: int, hi: int) -> Array:
    """Requantise i32 sums (QLinearConv, QLinearMatMul, QGemm): one float32 product, then clip, then round half to even.

    ``acc`` [..., channels] i32; ``multiplier`` f32 and ``bias`` i32 of length channels or 1. Returns u8.
    """
    v = (acc + bias).astype(F32) * multiplier
    np.clip(v, F32(lo - zero), F32(hi - zero), out=v)
    return np.asarray(np.rint(v, out=v) + F32(zero)).astype(np.uint8)


def fma(a: Operand, b: Operand, c: Operand) -> Array:
    """Fused multiply-add of float32 operands: the float64 product is exact, one rounding to float32 follows the sum."""
    return np.asarray((np.float64(a) * np.float64(b) + np.float64(c)).astype(F32))


def qadd(a: Array, b: Array, s: Elementwise) -> Array:
    """QLinearAdd in the order of the AVX2 kernel: two fused multiply-adds, the second operand's first.

    A second operand that is a scalar rounds the same way; a scalar first operand must be passed as the second.
    """
    ra, rb, k = qadd_terms(s)
    x, other = a.astype(F32) - F32(s.offset), b.astype(F32) - F32(s.offset)
    y = np.rint(fma(x, ra, fma(other, rb, k))) + F32(s.offset)
    return np.asarray(np.clip(y, s.lo, s.hi).astype(np.uint8))


def qadd_terms(s: Elementwise) -> tuple[np.float32, np.float32, np.float32]:
    """The two operands' factors and the constant of ``qadd``, for operands without their storage offset.

    One of the constant's products is contracted into a fused multiply-add, as onnxruntime's compiler does.
    """
    sa, sb, sy = F32(s.a[0]), F32(s.b[0]), F32(s.y[0])
    ra, rb = F32(sa / sy), F32(sb / sy)
    za, zb, zy = (F32(zero - s.offset) for zero in (s.a[1], s.b[1], s.y[1]))
    return ra, rb, F32(zy - F32(fma(ra, za, F32(rb * zb))))


def qmul(a: Array, b: Array, s: Elementwise) -> Array:
    """QLinearMul: the integer product of the zero-point corrected operands times one float32 factor.

    The zero point is added in float32, before rounding.
    """
    m = F32(F32(F32(s.a[0]) * F32(s.b[0])) / F32(s.y[0]))
    product = (a.astype(np.int32) - s.a[1]) * (b.astype(np.int32) - s.b[1])
    y = np.rint(product.astype(F32) * m + F32(s.y[1] - s.offset)) + F32(s.offset)
    return np.asarray(np.clip(y, s.lo, s.hi).astype(np.uint8))


def entries_of(table: Array, x: Array, chans: tuple[int, int]) -> Array:
    """Entries of a table u8[256], or of one for each channel, u8[channels, 256]; ``chans`` are those of ``x``."""
    if table.ndim == 1:
        return np.take(table, x)
    return np.asarray(table[np.arange(*chans), x])


def float_pair(function: Callable[[Array, Array], Array], a: Array, b: Array, s: Elementwise) -> Array:
    """DequantizeLinear of both operands, a float32 function of the two, QuantizeLinear."""
    left = (a.astype(np.int32) - s.a[1]).astype(F32) * F32(s.a[0])
    right = (b.astype(np.int32) - s.b[1]).astype(F32) * F32(s.b[0])
    y = np.rint(function(left, right) / F32(s.y[0])) + F32(s.y[1])
    return np.asarray(np.clip(y, s.lo, s.hi).astype(np.uint8))


def qsum(a: Array, b: Array, s: Elementwise) -> Array:
    """Sum of two real rows (ONNX Sum, or Add between DequantizeLinear and QuantizeLinear)."""
    return float_pair(np.add, a, b, s)


def qsub(a: Array, b: Array, s: Elementwise) -> Array:
    """Difference of two real rows."""
    return float_pair(np.subtract, a, b, s)


def qmax(a: Array, b: Array, s: Elementwise) -> Array:
    """The larger of two real rows."""
    return float_pair(np.maximum, a, b, s)


def qmin(a: Array, b: Array, s: Elementwise) -> Array:
    """The smaller of two real rows."""
    return float_pair(np.minimum, a, b, s)


def average(m: Meaning, dst: Slab, src: str, window: str, s: Elementwise) -> Array:
    """QLinearAveragePool of the windows of ``src``. ``s.b[1]`` is 1 where padding counts (count_include_pad)."""
    return average_taps(m.patches(dst, src, window), m.patches_count(dst, src, window), s)


def average_taps(taps: Array, counts: Array, s: Elementwise) -> Array:
    """Dequantise, sum tap by tap in float32, divide by the count, quantise.

    ``taps`` u8 [images, rows, columns, taps, channels]; ``counts`` f32 [1, rows, columns, 1]: taps inside the tensor,
    of which a window has at least one, whatever it holds.
    """
    scale = F32(s.a[0])
    total = np.zeros(taps.shape[:3] + taps.shape[4:], F32)
    for t in range(taps.shape[3]):
        total += (taps[:, :, :, t].astype(np.int32) - s.a[1]).astype(F32) * scale
    mean = (total / (F32(taps.shape[3]) if s.b[1] else np.maximum(counts, F32(1)))).astype(F32)
    # the zero point is added before rounding
    y = np.rint((mean / F32(s.y[0]) + F32(s.y[1] - s.offset)).astype(F32)) + F32(s.offset)
    return np.asarray(np.clip(y, s.lo, s.hi).astype(np.uint8))
