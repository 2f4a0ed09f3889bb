"""Element-wise kernels on whole tensors: sums, products and tables, maxima over windows, depthwise products."""

from __future__ import annotations

import numpy as np

from pimc_isa.engines.kernels.windows import WindowGeometry, taps
from pimc_isa.jit import compiled
from pimc_isa.numerics import entries_of, qadd, qadd_terms, qmul
from pimc_isa.operands import Elementwise

__all__ = ["add_into", "depthwise", "look_up", "multiply", "window_max", "window_sum"]

Array = np.ndarray
F32 = np.float32
F64 = np.float64


def add_into(a: Array, b: Array, s: Elementwise, out: Array) -> None:
    """``numerics.qadd`` of equally shaped contiguous u8 arrays."""
    kernel = compiled(_add_loops)
    if kernel is None:
        out[...] = qadd(a, b, s)
        return
    ra, rb, k = qadd_terms(s)
    lo, hi = F32(s.lo - s.offset), F32(s.hi - s.offset)
    kernel(a.reshape(-1), b.reshape(-1), ra, rb, k, lo, hi, F32(s.offset), out.reshape(-1))


def _add_loops(a, b, ra, rb, k, lo, hi, offset, out):  # type: ignore[no-untyped-def]
    # Each fused multiply-add is a float64 product and sum rounded once to float32, as in numerics.fma. Adding and
    # subtracting 1.5 * 2**23 rounds half to even once the value is clipped to 8 bits.
    wide_a, wide_b, wide_k = np.float64(ra), np.float64(rb), np.float64(k)
    magic = np.float32(12582912.0)
    for i in range(a.size):
        inner = np.float32((np.float64(b[i]) - offset) * wide_b + wide_k)
        v = np.float32((np.float64(a[i]) - offset) * wide_a + np.float64(inner))
        v = min(max(v, lo), hi)
        v = np.float32(np.float32(v + magic) - magic)
        out[i] = np.uint8(np.int32(v + offset))


def window_max(x: Array, g: WindowGeometry) -> Array:
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
                            pixel = x[image, y, at, c0 : c0 + chans]
                            for c in range(chans):
                                best[c] = max(best[c], pixel[c])


def window_sum(x: Array, g: WindowGeometry) -> Array:
    """i32 sum of each window."""
    ones = np.ones((g.kernel[0] * g.kernel[1], g.chans[1] - g.chans[0]), np.int32)
    return depthwise(x, g, ones)


def depthwise(x: Array, g: WindowGeometry, w: Array) -> Array:
    """i32 sums of one input channel per output channel: ``w`` i32 [taps, channels]."""
    narrow = w.min() >= -128 and w.max() <= 127 and 0 <= g.pad_value <= 255
    kernel = compiled(_narrow_loops if narrow else _depthwise_loops)
    if kernel is None:
        return np.asarray(np.einsum("nyxtc,tc->nyxc", taps(x, g).astype(np.int32), w), np.int32)
    out = np.empty((x.shape[0], *g.out, g.chans[1] - g.chans[0]), np.int32)
    kind = np.int16 if narrow else np.int32
    kernel(x, w.astype(kind), out, g.origin[0], g.origin[1], g.kernel[0], g.kernel[1], g.step[0], g.step[1],
           g.dilation[0], g.dilation[1], g.chans[0], kind(g.pad_value))  # fmt: skip
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
                        weight = w[ky * kw + kx]
                        if y < 0 or y >= height or at < 0 or at >= width:
                            for c in range(chans):
                                total[c] = np.int32(total[c] + weight[c] * pad)
                        else:
                            pixel = x[image, y, at, c0 : c0 + chans]
                            for c in range(chans):
                                total[c] = np.int32(total[c] + weight[c] * np.int32(pixel[c]))


def _narrow_loops(x, w, out, oy, ox, kh, kw, sy, sx, dy, dx, c0, pad):  # type: ignore[no-untyped-def]
    # Up to three taps of a row at a time, products in 16 bits: 255 * -128 fits.
    images, height, width, _ = x.shape
    _, rows, cols, chans = out.shape
    threes = kw - kw % 3
    for image in range(images):
        for row in range(rows):
            for column in range(cols):
                total = out[image, row, column]
                total[:] = np.int32(0)
                left = ox + column * sx
                inside = left >= 0 and left + (kw - 1) * dx < width
                for ky in range(kh):
                    y = oy + row * sy + ky * dy
                    first = 0
                    if inside and y >= 0 and y < height:
                        for kx in range(0, threes, 3):
                            w0, w1, w2 = w[kw * ky + kx], w[kw * ky + kx + 1], w[kw * ky + kx + 2]
                            p0 = x[image, y, left + kx * dx, c0 : c0 + chans]
                            p1 = x[image, y, left + kx * dx + dx, c0 : c0 + chans]
                            p2 = x[image, y, left + kx * dx + 2 * dx, c0 : c0 + chans]
                            for c in range(chans):
                                a = np.int32(np.int16(w0[c] * np.int16(p0[c])))
                                b = np.int32(np.int16(w1[c] * np.int16(p1[c])))
                                d = np.int32(np.int16(w2[c] * np.int16(p2[c])))
                                total[c] = np.int32(total[c] + a + b + d)
                        first = threes
                    for kx in range(first, kw):
                        at = left + kx * dx
                        weight = w[kw * ky + kx]
                        if y < 0 or y >= height or at < 0 or at >= width:
                            for c in range(chans):
                                total[c] = np.int32(total[c] + np.int32(np.int16(weight[c] * pad)))
                        else:
                            pixel = x[image, y, at, c0 : c0 + chans]
                            for c in range(chans):
                                total[c] = np.int32(total[c] + np.int32(np.int16(weight[c] * np.int16(pixel[c]))))


def multiply(a: Array, b: Array, s: Elementwise) -> Array:
    """``numerics.qmul`` of u8 [images, rows, columns, channels] and as much, or one row and column of it."""
    kernel = compiled(_multiply_loops)
    same = a.shape == b.shape
    if kernel is None or not (same or b.shape == (a.shape[0], 1, 1, a.shape[3])):
        return qmul(a, b, s)
    images, channels = a.shape[0], a.shape[3]
    out = np.empty(a.shape, np.uint8)
    factor = F32(F32(F32(s.a[0]) * F32(s.b[0])) / F32(s.y[0]))
    sides = [np.ascontiguousarray(v).reshape(images, -1, channels) for v in (a, b)]
    limits = F32(s.lo - s.offset), F32(s.hi - s.offset)
    kernel(*sides, int(same), np.int32(s.a[1]), np.int32(s.b[1]), factor, F32(s.y[1] - s.offset), *limits,
           np.int32(s.offset), out.reshape(images, -1, channels))  # fmt: skip
    return out


def _multiply_loops(a, b, step, za, zb, factor, zero, lo, hi, offset, out):  # type: ignore[no-untyped-def]
    # Adding and subtracting 1.5 * 2**23 rounds half to even once the value is clipped to 8 bits.
    magic = np.float32(12582912.0)
    images, places, channels = a.shape
    for image in range(images):
        for place in range(places):
            left, right, to = a[image, place], b[image, place * step], out[image, place]
            for c in range(channels):
                product = np.int32((np.int32(left[c]) - za) * (np.int32(right[c]) - zb))
                v = np.float32(np.float32(np.float32(product) * factor) + zero)
                v = min(max(v, lo), hi)
                v = np.float32(np.float32(v + magic) - magic)
                to[c] = np.uint8(np.int32(v) + offset)


def look_up(table: Array, x: Array, chans: tuple[int, int]) -> Array:
    """``numerics.entries_of`` of u8 arrays."""
    kernel = compiled(_look_up_loops)
    if kernel is None or table.ndim != 1:
        return entries_of(table, x, chans)
    out = np.empty(x.shape, np.uint8)
    kernel(table, np.ascontiguousarray(x).reshape(-1), out.reshape(-1))
    return out


def _look_up_loops(table, x, out):  # type: ignore[no-untyped-def]
    for i in range(x.size):
        out[i] = table[x[i]]
