"""Element-wise kernels on whole tensors: quantised addition, maxima over windows, depthwise products."""

from __future__ import annotations

import numpy as np

from pimc_isa.engines.kernels.jit import compiled
from pimc_isa.engines.kernels.windows import Geometry, taps
from pimc_isa.numerics import qadd, qadd_inner
from pimc_isa.operands import Elementwise

__all__ = ["add_into", "depthwise", "look_up", "window_max", "window_sum"]

Array = np.ndarray
F32 = np.float32
F64 = np.float64


def add_into(a: Array, b: Array, s: Elementwise, out: Array) -> None:
    """``numerics.qadd`` of equally shaped contiguous u8 arrays."""
    kernel = compiled(_add_loops)
    if kernel is None:
        out[...] = qadd(a, b, s)
        return
    every = np.arange(256, dtype=np.uint8)
    ra = F32(F32(s.a[0]) / F32(s.y[0]))
    inner = qadd_inner(every, s).astype(F64)
    kernel(a.reshape(-1), b.reshape(-1), F64(ra), inner, F32(s.lo), F32(s.hi), out.reshape(-1))


def _add_loops(a, b, ra, inner, lo, hi, out):  # type: ignore[no-untyped-def]
    magic = np.float32(12582912.0)
    for i in range(a.size):
        v = np.float32(np.float64(a[i]) * ra + inner[b[i]])
        v = min(max(v, lo), hi)
        v = np.float32(np.float32(v + magic) - magic)
        out[i] = np.uint8(np.int32(v))


def look_up(table: Array, x: Array) -> Array:
    """``table[x]`` for a 256-entry table."""
    return np.take(table, x)


def window_max(x: Array, g: Geometry) -> Array:
    """Largest u8 element of each window [images, rows, columns, channels]."""
    kernel = compiled(_max_loops)
    if kernel is None:
        return np.asarray(taps(x, g).max(axis=3))
    out = np.empty((x.shape[0], *g.out, g.chans[1] - g.chans[0]), np.uint8)
    kernel(x, out, g.origin[0], g.origin[1], g.kernel[0], g.kernel[1], g.step[0], g.step[1],
           g.dilation[0], g.dilation[1], g.chans[0], np.uint8(g.pad_value))  # fmt: skip
    return out


def _max_loops(x, out, oy, ox, kh, kw, sy, sx, dy, dx, c0, pad):  # type: ignore[no-untyped-def]
    images, height, width, _ = x.shape
    _, rows, cols, chans = out.shape
    for image in range(images):
        for row in range(rows):
            for column in range(cols):
                best = out[image, row, column]
                best[:] = np.uint8(0)
                for ky in range(kh):
                    y = oy + row * sy + ky * dy
                    for kx in range(kw):
                        at = ox + column * sx + kx * dx
                        if y < 0 or y >= height or at < 0 or at >= width:
                            for c in range(chans):
                                best[c] = max(best[c], pad)
                        else:
                            pixel = x[image, y, at]
                            for c in range(chans):
                                best[c] = max(best[c], pixel[c0 + c])


def window_sum(x: Array, g: Geometry) -> Array:
    """i32 sum of each window."""
    return np.asarray(taps(x, g).sum(axis=3, dtype=np.int32))


def depthwise(x: Array, g: Geometry, w: Array) -> Array:
    """i32 sums of one input channel per output channel: ``w`` i32 [taps, channels]."""
    kernel = compiled(_depthwise_loops)
    if kernel is None:
        return np.asarray(np.einsum("nyxtc,tc->nyxc", taps(x, g).astype(np.int32), w), np.int32)
    out = np.empty((x.shape[0], *g.out, g.chans[1] - g.chans[0]), np.int32)
    kernel(x, w, out, g.origin[0], g.origin[1], g.kernel[0], g.kernel[1], g.step[0], g.step[1],
           g.dilation[0], g.dilation[1], g.chans[0], np.int32(g.pad_value))  # fmt: skip
    return out


def _depthwise_loops(x, w, out, oy, ox, kh, kw, sy, sx, dy, dx, c0, pad):  # type: ignore[no-untyped-def]
    images, height, width, _ = x.shape
    _, rows, cols, chans = out.shape
    for image in range(images):
        for row in range(rows):
            for column in range(cols):
                total = out[image, row, column]
                total[:] = np.int32(0)
                for ky in range(kh):
                    y = oy + row * sy + ky * dy
                    for kx in range(kw):
                        at = ox + column * sx + kx * dx
                        taps_w = w[ky * kw + kx]
                        if y < 0 or y >= height or at < 0 or at >= width:
                            for c in range(chans):
                                total[c] = np.int32(total[c] + taps_w[c] * pad)
                        else:
                            pixel = x[image, y, at]
                            for c in range(chans):
                                total[c] = np.int32(total[c] + taps_w[c] * np.int32(pixel[c0 + c]))
