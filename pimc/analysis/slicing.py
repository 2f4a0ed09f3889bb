"""Adaptive weight slicing: the fewest slices whose conversions leave a layer's results as they are.

RAELLA (Andrulis et al., ISCA 2023), section 4.2 and algorithm 1: a slicing is tried on inputs of an ideal chip, driven
bit by bit, with every column sum clipped to the converter's codes. Its error is the mean of |code - exact code| of the
requantised results, over those whose exact code is not the result's zero point (0 as a number: a ReLU hides errors).
Slicings with few slices are tried first; of the first number of slices with any error under the budget the slicing of
least error is taken. That is what algorithm 1 finds, without trying the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from typing import Any

import numpy as np
import numpy.typing as npt

from pimc_isa.crossbar.cells import row_blocks, slice_shifts

__all__ = ["BUDGET", "SlicedLayer", "SlicingPlan", "bit_sums", "choose_slicing", "flat", "parts_of"]

Array = npt.NDArray[Any]
Slicing = tuple[int, ...]  # widths, low bits first

#: Mean error in codes that a slicing must stay below (the paper's).
BUDGET = 0.09
_INPUT_BITS = 8


@dataclass(frozen=True)
class SlicingPlan:
    """What was chosen for a layer: slices (low bits first), their error in codes, and how many were tried."""

    slices: Slicing
    error: float
    tried: int


@dataclass(frozen=True)
class SlicedLayer:
    """A layer as slicings are tried on it.

    ``vectors`` u8 [windows, groups, k] and ``weights`` s8 [groups, k, n]; ``quantise`` makes codes of sums
    [windows, groups * n], whose ``zero`` point is not looked at. Row blocks of ``block_rows``; a conversion's codes go
    from ``lowest`` to ``highest``. ``centres`` gives the centres [groups, blocks, n] for a slicing. ``passes``: the
    zero point of inputs whose positive and negative parts are driven; None: they are driven as they are. ``noise``: a
    column sum strays by that times the root of the products in it (section 7.2), with seeded draws.
    """

    vectors: Array
    weights: Array
    quantise: Callable[[Array], Array]
    zero: int
    block_rows: int
    lowest: int
    highest: int
    centres: Callable[[Slicing], Array]
    passes: int | None = None
    noise: float = 0.0

    def error(self, slices: Slicing) -> float:
        """The mean error of a slicing, in codes; 0 where every result is the zero point."""
        return self.error_of(self.sums(slices))

    def error_of(self, sums: Array) -> float:
        """The same of any dot products [windows, groups * n]."""
        exact, found = self._exact, self.quantise(sums)
        counts = exact != self.zero
        if not counts.any():
            return 0.0
        return float(np.abs(found[counts].astype(np.int64) - exact[counts]).mean())

    @cached_property
    def _exact(self) -> Array:
        w = self.weights.astype(np.float64)
        sums = np.matmul(self.vectors.transpose(1, 0, 2).astype(np.float64), w)
        return self.quantise(flat(sums)).astype(np.int64)

    def sums(self, slices: Slicing) -> Array:
        """Dot products [windows, groups * n] with every column sum of every input bit clipped."""
        total = (self.passes or 0) * self.weights.sum(axis=1, dtype=np.int64)[:, None]
        centres = self.centres(slices).astype(np.int64)
        for block, rows in row_blocks(self.weights.shape[1], self.block_rows):
            own = self.weights[:, rows].astype(np.int64) - centres[:, block, None]
            for sign, x in parts_of(self.vectors[:, :, rows].transpose(1, 0, 2), self.passes):
                inputs = x.sum(axis=2, dtype=np.int64)[:, :, None] * centres[:, block, None]
                total = total + sign * (inputs + self._by_bits(x, own, slices))
        return flat(total)

    def _by_bits(self, x: Array, own: Array, slices: Slicing) -> Array:
        """Of inputs [groups, windows, rows] with what the cells of a row block hold."""
        total: Array = np.zeros((), np.int64)
        for shift, width in zip(slice_shifts(slices), slices, strict=True):
            sums = bit_sums(x, own, (shift, width))
            if self.noise:
                products = bit_sums(x, np.abs(own), (shift, width))
                draws = np.random.default_rng(shift).standard_normal(sums.shape, np.float32)
                sums = np.rint(sums + self.noise * np.sqrt(products) * draws)
            codes = np.clip(sums, self.lowest, self.highest).astype(np.int64)
            total = total + (np.tensordot(1 << np.arange(_INPUT_BITS), codes, 1) << shift)
        return total


def parts_of(x: Array, zero: int | None) -> list[tuple[int, Array]]:
    """Inputs u8 as they are driven, with what their codes count: once, or those below the zero point -1 times."""
    if zero is None:
        return [(1, x)]
    return [(1, np.maximum(x, zero) - zero), (-1, zero - np.minimum(x, zero))]


def bit_sums(x: Array, own: Array, place: tuple[int, int]) -> Array:
    """Column sums f32 [bits, groups, windows, n] of each bit of u8 inputs [groups, windows, rows].

    ``own`` [groups, rows, n] is what the cells hold, ``place`` the shift and the width of the slice that is read.
    """
    shift, width = place
    field = ((np.abs(own) >> shift & (1 << width) - 1) * np.sign(own)).astype(np.float32)
    bits = np.stack([x >> bit & 1 for bit in range(_INPUT_BITS)]).astype(np.float32)
    groups, windows, rows = x.shape
    stacked = np.ascontiguousarray(bits.transpose(1, 0, 2, 3)).reshape(groups, -1, rows)
    sums = np.matmul(stacked, field).reshape(groups, _INPUT_BITS, windows, -1)
    return np.asarray(sums.transpose(1, 0, 2, 3))


def flat(sums: Array) -> Array:
    """[groups, windows, n] as [windows, groups * n]."""
    return np.ascontiguousarray(sums.transpose(1, 0, 2)).reshape(sums.shape[1], -1)


def choose_slicing(layer: SlicedLayer, slicings: Iterable[Slicing], budget: float = BUDGET) -> SlicingPlan:
    """The slicing of a layer; where none stays below the budget, the one of least error."""
    tried = 0
    found: dict[Slicing, float] = {}
    for _, some in groupby(sorted(slicings, key=len), key=len):
        errors = {slices: layer.error(slices) for slices in some}
        tried += len(errors)
        found |= errors
        fits = {slices: error for slices, error in errors.items() if error < budget}
        if fits:
            return _plan(fits, tried)
    return _plan(found, tried)


def _plan(errors: Mapping[Slicing, float], tried: int) -> SlicingPlan:
    best = min(errors, key=lambda slices: (errors[slices], slices))
    return SlicingPlan(best, errors[best], tried)
