"""Requantisation of i32 sums in one pass, byte for byte as ``numerics.requantise``."""

from __future__ import annotations

import numpy as np

from pimc_isa.jit import compiled
from pimc_isa.numerics import requantise

__all__ = ["requantise_into"]

Array = np.ndarray
F32 = np.float32


def requantise_into(acc: Array, multiplier: Array, bias: Array, zero: int, lo: int, hi: int, out: Array) -> None:
    """``out`` u8 [m, n] from ``acc`` i32 [m, n]; ``multiplier`` f32 [n] and ``bias`` i32 [n]; all contiguous."""
    kernel = compiled(_requantise_loops)
    if kernel is None:
        out[...] = requantise(acc, multiplier, bias, zero, lo, hi)
    else:
        kernel(acc, multiplier, bias, F32(lo - zero), F32(hi - zero), np.int32(zero), out)


def _requantise_loops(acc, multiplier, bias, lo, hi, zero, out):  # type: ignore[no-untyped-def]
    # Adding and subtracting 1.5 * 2**23 rounds half to even: exact for |v| < 2**22, and v is clipped to 8 bits first.
    magic = np.float32(12582912.0)
    rows, cols = acc.shape
    for i in range(rows):
        for j in range(cols):
            v = np.float32(np.int32(acc[i, j] + bias[j])) * multiplier[j]
            v = min(max(v, lo), hi)
            v = np.float32(np.float32(v + magic) - magic)
            out[i, j] = np.uint8(np.int32(v) + zero)
