"""Noisy conversions in one pass: value, fitted error, Gaussian noise by counter, code. Loops and numpy agree."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pimc_isa.engines.kernels.convert import Converter
from pimc_isa.engines.noise import normals_at
from pimc_isa.jit import compiled
from pimc_isa.peripherals.randomness import normal_table

__all__ = ["Errors", "add_noise", "noisy_codes", "numbers"]

Array = np.ndarray


@dataclass(frozen=True)
class Errors:
    """What a conversion adds, in codes: constant ``sigma``; ``bias`` and ``spread`` float64 at knots over its range."""

    sigma: float
    bias: Array
    spread: Array


def numbers(positions: Array, outputs: int, total: int, first: int) -> Array:
    """uint64 [m, outputs]: numbers of results; a layer has ``total`` outputs, these begin at ``first``."""
    return np.asarray(positions[:, None] * np.uint64(total) + np.arange(first, first + outputs, dtype=np.uint64))


def noisy_codes(v: Array, c: Converter, errors: Errors, key: int, which: Array) -> Array:
    """i32 codes of float64 sums ``v`` [m, n]; ``which`` as ``numbers`` gives them."""
    knots = len(errors.bias)
    middle = (knots - 1) / 2
    per_code = middle / (c.hi + 1)
    args = (c.step, float(c.lo), float(c.hi), errors.sigma**2, errors.bias, errors.spread, per_code, middle)
    kernel = compiled(_loops)
    if kernel is None:
        return _numpy(v, *args, normals_at(key, which))
    out = np.empty(v.shape, np.int32)
    kernel(v.reshape(-1), *args, np.uint64(key), which.reshape(-1), normal_table(), out.reshape(-1))
    return out


def _numpy(
    v: Array, step: float, lo: float, hi: float, variance: float, bias: Array, spread: Array, per_code: float,
    middle: float, draws: Array,
) -> Array:  # fmt: skip
    u = v / step
    at = np.minimum(np.maximum(u * per_code + middle, 0.0), len(bias) - 1.0)
    k = np.minimum(at.astype(np.int64), len(bias) - 2)
    part = at - k
    mean = bias[k] + part * (bias[k + 1] - bias[k])
    wide = spread[k] + part * (spread[k + 1] - spread[k])
    code = np.floor(u + mean + np.sqrt(variance + wide * wide) * draws.astype(np.float64) + 0.5)
    return np.asarray(np.minimum(np.maximum(code, lo), hi).astype(np.int32))


def _loops(v, step, lo, hi, variance, bias, spread, per_code, middle, key, which, normal, out):  # type: ignore[no-untyped-def]
    golden, mix_1, mix_2 = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
    knots = bias.shape[0]
    for i in range(v.shape[0]):
        r = key + (which[i] + np.uint64(1)) * golden
        r = (r ^ (r >> np.uint64(30))) * mix_1
        r = (r ^ (r >> np.uint64(27))) * mix_2
        r = r ^ (r >> np.uint64(31))
        u = v[i] / step
        at = min(max(u * per_code + middle, 0.0), knots - 1.0)
        k = min(np.int64(at), knots - 2)
        part = at - k
        mean = bias[k] + part * (bias[k + 1] - bias[k])
        wide = spread[k] + part * (spread[k + 1] - spread[k])
        code = np.floor(u + mean + np.sqrt(variance + wide * wide) * np.float64(normal[r >> np.uint64(52)]) + 0.5)
        out[i] = np.int32(min(max(code, lo), hi))


def add_noise(p: Array, sigma: float, key: int, which: Array) -> None:
    """Add Gaussian noise to column sums ``p`` float [m, n] in place; ``which`` as ``numbers`` gives them."""
    kernel, size = compiled(_add_loops), p.dtype.type(sigma)
    if kernel is None:
        p += size * normals_at(key, which).astype(p.dtype)
    else:
        kernel(p, size, np.uint64(key), which, normal_table())


def _add_loops(p, sigma, key, which, normal):  # type: ignore[no-untyped-def]
    golden, mix_1, mix_2 = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
    for i in range(p.shape[0]):
        for j in range(p.shape[1]):
            r = key + (which[i, j] + np.uint64(1)) * golden
            r = (r ^ (r >> np.uint64(30))) * mix_1
            r = (r ^ (r >> np.uint64(27))) * mix_2
            r = r ^ (r >> np.uint64(31))
            p[i, j] += sigma * normal[r >> np.uint64(52)]
