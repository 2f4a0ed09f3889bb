"""Sliced dot products by counting bits: every pair of input slice and weight slice, each sum converted by itself.

A column sum of bits is the population count of an AND: inputs become bit planes (32 rows in a word), cells become bit
planes, and clip, sign and shift follow in registers. Needs numba; without it the reference in ``exactness`` runs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from pimc_isa.crossbar.cells import Cells, row_blocks, slice_shifts
from pimc_isa.flow.forms import Conversion, NormalForm, Takes
from pimc_isa.jit import compiled, numba_or_none
from pimc_isa.operands import Weights

__all__ = ["INPUT_BITS", "WORD", "BitProduct", "bit_product", "cell_planes", "input_words", "pack", "unit_conversions"]

Array = np.ndarray
WORD = 32
INPUT_BITS = 8
TAKES = Takes.of("step", "unit_conversions", grids=("singles",))


def pack(x: Array) -> Array:
    """Bit planes of bytes [..., c] (c a multiple of 32) as u8 [..., c]: for each of 8 bits, lowest first, c bits."""
    rows = np.ascontiguousarray(x).reshape(-1, x.shape[-1])
    kernel = compiled(_pack_loops)
    if kernel is None:
        planes = [np.packbits(rows >> bit & 1, axis=1, bitorder="little") for bit in range(INPUT_BITS)]
        return np.concatenate(planes, axis=1).reshape(x.shape)
    out = np.empty_like(rows)
    kernel(rows.view(np.uint64), out)
    return out.reshape(x.shape)


def _pack_loops(x, out):  # type: ignore[no-untyped-def]
    # Eight bytes at once: the bits of one plane, one in each byte, are gathered in the top byte by a multiplication.
    rows, words = x.shape
    low, gather = np.uint64(0x0101010101010101), np.uint64(0x0102040810204080)
    for row in range(rows):
        for bit in range(8):
            to = out[row, bit * words : (bit + 1) * words]
            shift = np.uint64(bit)
            for w in range(words):
                to[w] = np.uint8((((x[row, w] >> shift) & low) * gather) >> np.uint64(56))


@dataclass(frozen=True, eq=False)
class _Block:
    """One row block: its kernel, cell planes, and where its input words lie in a packed vector."""

    kernel: Callable[..., None]
    cells: Array
    words: Array
    signs: Array
    centre: Array


class BitProduct:
    """A layer's part with its cells as bit planes. ``taps`` packed vectors of ``depth`` bits make up one window."""

    def __init__(self, cells: Cells, weights: Weights, form: NormalForm, taps: int, depth: int) -> None:
        self._tables = _conversions(form)
        self._units = unit_conversions(form)
        self._alike = _uniform(form)
        lowest, highest, _, gap = self._alike or (0, 0, 1, 0)
        self._common = (np.int32(lowest), np.int32(highest))
        self._outputs = cells.codes.shape[2]
        widths = [hi - lo for lo, hi in form.input_slices]
        self._blocks = []
        for number, rows in row_blocks(cells.codes.shape[1], weights.block_rows):
            planes, scales = cell_planes(cells.codes[0, rows], weights)
            words = planes.shape[1]
            alike, rounding, clips_below = self._alike is not None, 1, True
            if self._alike is not None:
                rounding, clips_below = self._alike[2], self._alike[0] > 0 or weights.bipolar
            kernel = _kernel(len(widths), max(widths), scales, words, alike, rounding, clips_below, gap)
            where = input_words(form, rows.start, words, depth, taps)
            signs = 1 - 2 * (cells.polarity[0, number].astype(np.int32)[None] >> np.arange(len(planes))[:, None] & 1)
            centre = cells.centre[0, number].astype(np.int32)
            self._blocks.append(_Block(kernel, planes, where, signs.astype(np.int32), centre))

    def __call__(self, packed: Array) -> Array:
        """i32 sums [m, n] of packed windows u8 [m, taps * depth] (for each tap its 8 planes)."""
        words = packed.view(np.uint32)
        sums = np.zeros((len(packed), self._outputs), np.int32)
        for b in self._blocks:
            b.kernel(words, b.cells, b.words, *self._tables, *self._common, b.signs, *self._units, b.centre, sums)
        return sums


def bit_product(cells: Cells, weights: Weights, form: NormalForm, taps: int, depth: int) -> BitProduct | None:
    """The product by bit counting, or None where the form, the block size or missing numba rule it out.

    ``depth`` is the number of packed bits of each of ``taps`` taps (a multiple of 32).
    """
    small = all(hi <= INPUT_BITS for _, hi in form.input_slices) and len(cells.codes) == 1
    if numba_or_none() is None or not TAKES(form) or not small or weights.block_rows % WORD or depth % WORD:
        return None
    return BitProduct(cells, weights, form, taps, depth)


def cell_planes(codes: Array, weights: Weights) -> tuple[Array, tuple[int, ...]]:
    """Bit planes of cells [k, n] as words [slices, words, planes, n], and each plane's weight."""
    magnitude, negative = np.abs(codes.astype(np.int64)), codes.astype(np.int64) < 0
    widest = max(weights.slices)
    words = -(-len(codes) // WORD)
    sides = [~negative, negative] if weights.bipolar else [np.ones_like(negative)]
    scales = tuple(sign << bit for sign in (1, -1)[: len(sides)] for bit in range(widest))
    out = np.zeros((len(weights.slices), len(scales), words, codes.shape[1]), np.uint32)
    for j, (shift, width) in enumerate(zip(slice_shifts(weights.slices), weights.slices, strict=True)):
        for s, side in enumerate(sides):
            for bit in range(width):
                out[j, s * widest + bit] = _words((magnitude >> (shift + bit) & 1) * side, words)
    return np.ascontiguousarray(out.transpose(0, 2, 1, 3)), scales


def _words(bits: Array, words: int) -> Array:
    """Rows of bits [k, n] as 32-bit words [words, n], the first row lowest."""
    padded = np.zeros((words * WORD, bits.shape[1]), np.uint64)
    padded[: len(bits)] = bits
    places = np.uint64(1) << np.arange(WORD, dtype=np.uint64)
    return np.asarray((padded.reshape(words, WORD, -1) * places[None, :, None]).sum(axis=1), np.uint32)


def input_words(form: NormalForm, first: int, words: int, depth: int, taps: int) -> Array:
    """Index of each input word [slices, bits, words] in a packed window; -1 where there is no such bit or row."""
    each = depth // WORD
    widest = max(hi - lo for lo, hi in form.input_slices)
    where = np.full((len(form.input_slices), widest, words), -1, np.int64)
    for i, (lo, hi) in enumerate(form.input_slices):
        for bit in range(lo, hi):
            for w in range(words):
                tap, inside = divmod(first // WORD + w, each)
                if tap < taps:
                    where[i, bit - lo, w] = (tap * INPUT_BITS + bit) * each + inside
    return where


def _limits(conversion: Conversion | None) -> tuple[int, int, int]:
    return (conversion.lo, conversion.hi, conversion.step) if conversion else (-(1 << 30), 1 << 30, 1)


def _uniform(form: NormalForm) -> tuple[int, int, int, int] | None:
    """Lowest and highest code, step, and the distance of neighbouring input slices upwards, if alike for all pairs."""
    limits = {_limits(b.conversion) for b in form.blocks}
    starts = [lo for lo, _ in form.input_slices]
    gaps = {b - a for a, b in pairwise(starts)} or {0}
    shifts = {b.shift - starts[i] - form.weight_shifts[j] for b in form.blocks for i, j in b.pairs}
    if len(limits) > 1 or len(gaps) > 1 or min(gaps) < 0 or shifts != {0}:
        return None
    return (*limits.pop(), gaps.pop())


def _conversions(form: NormalForm) -> tuple[Array, Array, Array, Array]:
    """Lowest and highest code, step and shift of every pair [weight slices, input slices]."""
    shape = (len(form.weight_shifts), len(form.input_slices))
    tables = tuple(np.zeros(shape, np.int32) for _ in range(4))
    for block in form.blocks:
        ((i, j),) = block.pairs
        for table, value in zip(tables, (*_limits(block.conversion), block.shift), strict=True):
            table[j, i] = value
    return tables  # type: ignore[return-value]


def unit_conversions(form: NormalForm) -> tuple[Array, Array, Array, Array]:
    """The same for the sums of input slices; without unit columns everything counts 0 times."""
    rows = [(*_limits(c), lo) for c, (lo, _) in zip(form.unit_conversions, form.input_slices, strict=False)]
    columns = np.array(rows or np.zeros((0, 4)), np.int32).T
    return tuple(np.ascontiguousarray(c) for c in columns)  # type: ignore[return-value]


def _kernel(*shape: Any) -> Callable[..., None]:
    from pimc_isa.engines.kernels.popcount_loops import kernel

    return kernel(*shape)
