"""Cells that vary: programmed conductances of one chip, rounded so finely that float sums of them are exact."""

from __future__ import annotations

import numpy as np

from pimc_isa.crossbar.cells import slice_shifts
from pimc_isa.engines.noise import CELL, hashes_at, layer_key
from pimc_isa.operands import Weights
from pimc_isa.peripherals.randomness import NORMAL_TABLE_BITS, normal_table

__all__ = ["FRACTION_BITS", "cell_planes", "exact_product", "narrowest"]

Array = np.ndarray

#: Conductances are multiples of 2 to minus this, so that sums have one value in any order of addition.
FRACTION_BITS = 12


def cell_planes(
    codes: Array, weights: Weights, first: tuple[int, int, int], sigma: float = 0.0, seed: int = 0
) -> tuple[Array, ...]:
    """Conductances float64 [slices, rows, n] of codes [rows, n]: one array, or W+ and W- of bipolar cells.

    ``first``: absolute convolution group, row and output of the first code, which number the cells.
    """
    signed = codes.astype(np.int64)
    magnitude = np.abs(signed)
    sides = [signed > 0, signed < 0] if weights.bipolar else [np.ones(codes.shape, np.bool_)]
    result = [np.zeros((len(weights.slices), *codes.shape)) for _ in sides]
    group, k, n = first
    rows = np.arange(k, k + codes.shape[0])[:, None]
    cell = ((group * weights.k + rows) * weights.n + np.arange(n, n + codes.shape[1])) * len(weights.slices)
    key = layer_key(seed, CELL, weights.name)
    for j, (shift, width) in enumerate(zip(slice_shifts(weights.slices), weights.slices, strict=True)):
        field = (magnitude >> shift & ((1 << width) - 1)).astype(np.float64)
        for s, side in enumerate(sides):
            result[s][j] = field * side
        if sigma:
            number = (2 * (cell + j) + (signed < 0)).astype(np.uint64)
            factor = _factors(sigma)[hashes_at(key, number) >> np.uint64(64 - NORMAL_TABLE_BITS)]
            for plane in result:
                plane[j] = np.rint(plane[j] * factor * (1 << FRACTION_BITS)) / (1 << FRACTION_BITS)
    return tuple(result)


def _factors(sigma: float) -> Array:
    return np.exp(sigma * normal_table().astype(np.float64))


def exact_product(x: Array, w: Array) -> Array:
    """``x @ w`` of bytes and conductances (or sums of them) in the type of ``w``, which must hold all sums exactly."""
    return np.asarray(x.astype(w.dtype) @ w)


def narrowest(largest: float) -> type[np.float32 | np.float64]:
    """The type that holds sums of conductances up to ``largest`` exactly, and so in any order of addition."""
    return np.float32 if largest < 1 << (24 - FRACTION_BITS) else np.float64
