"""The loops of the peripherals, compiled by numba; each does the operations of its numpy reference in the same order.

No operation is fused or reordered (no fast-math), so float32 results are equal to the last bit.
"""

from __future__ import annotations

import numpy as np

__all__ = ["fitted_loops", "fold_loops", "lookup_loops", "sum_loops"]


def sum_loops(p, dac_bits, out):  # type: ignore[no-untyped-def]
    """``out`` i32 [positions, outputs]: exact sums of column sums [positions, slices, lines, outputs]."""
    positions, slices, lines, outputs = p.shape
    for position in range(positions):
        for o in range(outputs):
            out[position, o] = 0
        for i in range(slices):
            for j in range(lines):
                shift = np.int32(dac_bits * i + j)
                for o in range(outputs):
                    out[position, o] += np.int32(p[position, i, j, o]) << shift


def fold_loops(p, scale, top, hidden, bias, output, offset, out):  # type: ignore[no-untyped-def]
    """``out`` f32 [positions, outputs] from column sums [positions, slices, 8, outputs], slice after slice.

    Sixty-four outputs at a time: their voltages stay in the first-level cache and fill the vector units.
    """
    positions, slices, lines, outputs = p.shape
    neurons = hidden.shape[0]
    x = np.empty((lines, 64), np.float32)
    held = np.empty(64, np.float32)
    total = np.empty(64, np.float32)
    one, a, b, c = np.float32(1.0), np.float32(1.875), np.float32(-1.25), np.float32(0.375)
    for position in range(positions):
        for start in range(0, outputs, 64):
            count = min(64, outputs - start)
            for o in range(64):
                held[o] = np.float32(0.0)
            for i in range(slices):
                for j in range(lines):
                    for o in range(count):
                        v = np.float32(p[position, i, j, start + o]) * scale
                        x[j, o] = min(max(v, -top), top)
                for o in range(64):
                    total[o] = offset
                for h in range(neurons):
                    w0, w1, w2, w3 = hidden[h, 0], hidden[h, 1], hidden[h, 2], hidden[h, 3]
                    w4, w5, w6, w7 = hidden[h, 4], hidden[h, 5], hidden[h, 6], hidden[h, 7]
                    w8, start_z, weight = hidden[h, 8], bias[h], output[h]
                    for o in range(64):
                        z = start_z + w0 * x[0, o]
                        z = z + w1 * x[1, o]
                        z = z + w2 * x[2, o]
                        z = z + w3 * x[3, o]
                        z = z + w4 * x[4, o]
                        z = z + w5 * x[5, o]
                        z = z + w6 * x[6, o]
                        z = z + w7 * x[7, o]
                        z = z + w8 * held[o]
                        z = min(max(z, -one), one)
                        s = z * z
                        total[o] = total[o] + weight * (z * (a + s * (b + s * c)))
                for o in range(64):
                    held[o] = total[o]
            for o in range(count):
                out[position, start + o] = held[o]


def lookup_loops(volts, low, per_bucket, first, edges, codes, out):  # type: ignore[no-untyped-def]
    """``out`` i16 [n]: the code of each voltage; a bucket says where its edges begin."""
    buckets, n = first.shape[0], edges.shape[0]
    for i in range(volts.shape[0]):
        v = volts[i]
        bucket = min(max(np.int64((v - low) * per_bucket), 0), buckets - 1)
        k = first[bucket]
        while k < n and v >= edges[k]:
            k += 1
        out[i] = codes[k]


def fitted_loops(y, scale, key, first, normal, bias, sigma, per_knot, middle, per_volt, out):  # type: ignore[no-untyped-def]
    """``out`` i16 [n] from exact sums i32 [n]: add the fitted bias and noise of that value, then convert ideally."""
    knots = bias.shape[0]
    golden, mix_1, mix_2 = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
    for i in range(y.shape[0]):
        v = np.float32(y[i]) * scale
        at = min(max(v * per_knot + middle, np.float32(0.0)), np.float32(knots - 1))
        k = min(np.int64(at), knots - 2)
        part = at - np.float32(k)
        mean = bias[k] + part * (bias[k + 1] - bias[k])
        spread = sigma[k] + part * (sigma[k + 1] - sigma[k])
        r = key + (first + np.uint64(i) + np.uint64(1)) * golden
        r = (r ^ (r >> np.uint64(30))) * mix_1
        r = (r ^ (r >> np.uint64(27))) * mix_2
        r = r ^ (r >> np.uint64(31))
        v = v + mean + spread * normal[r >> np.uint64(52)]
        code = np.floor(v * per_volt + np.float32(0.5))
        out[i] = np.int16(min(max(code, np.float32(-128.0)), np.float32(127.0)))
