"""Sliced dot products by counting bits: every pair of input slice and weight slice, each sum converted by itself.

A column sum of bits is the population count of an AND: inputs become bit planes (32 rows in a word), cells become bit
planes, and all that follows, to the finer conversions of flagged ones, is made of the counts of the eight input bits.
Needs numba; without it the reference in ``exactness`` runs.
"""

from __future__ import annotations

from itertools import chain
from typing import Any

import numpy as np

from pimc_isa.crossbar.cells import Cells
from pimc_isa.engines.kernels.columns import WORD, Columns, columns_of, words_of
from pimc_isa.flow.forms import Block, Conversion, NormalForm, Takes
from pimc_isa.jit import compiled, numba_or_none
from pimc_isa.operands import Weights

__all__ = [
    "INPUT_BITS",
    "BitProduct",
    "GroupedBits",
    "bit_product",
    "fits",
    "grouped_bits",
    "input_words",
    "pack",
    "unit_table",
    "widened",
]

Array = np.ndarray
INPUT_BITS = 8
TAKES = Takes.of("step", "refinement", "unit_conversions", "sides", grids=("singles",))
_NO_FLAGS = np.zeros(0, np.int32)
_MOST = 1 << 30
_NOTHING = (0, 1, 0, 0, 1, 0, 0, 0, 0, 0)


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


def widened(a: Array, block_rows: int) -> Array:
    """Window vectors u8 [m, k] with zeros behind each row block, so that every block begins a word."""
    blocks, each = -(-a.shape[1] // block_rows), -(-block_rows // WORD) * WORD
    if each == block_rows:
        if a.shape[1] % WORD == 0:
            return a
        wide = np.zeros((len(a), -(-a.shape[1] // WORD) * WORD), np.uint8)
        wide[:, : a.shape[1]] = a
        return wide
    wide = np.zeros((len(a), blocks, each), np.uint8)
    for n in range(blocks):
        part = a[:, n * block_rows : (n + 1) * block_rows]
        wide[:, n, : part.shape[1]] = part
    return wide.reshape(len(a), -1)


class _Sliced:
    """What both products share: columns, and tables of conversions."""

    def __init__(self, cells: Cells, weights: Weights, form: NormalForm) -> None:
        self._columns: Columns = columns_of(cells, weights, form.sides)
        self._outputs = cells.codes.shape[0] * cells.codes.shape[2]
        self._blocks = len(form.blocks)
        self._kind = _kind(form, weights)
        self._units = unit_table(form)
        self._tables = _tables(form)

    def _arguments(self) -> tuple[Any, ...]:
        c = self._columns
        return (c.cells, c.jobs, c.spans, c.mask, *self._tables, *self._units, c.centre)

    def _sums(self, count: int) -> Array:
        return np.zeros((count, self._columns.outputs), np.int32)

    def _flags(self, count: int) -> Array:
        """Room for flags [blocks of the form, row blocks, positions, columns]."""
        return np.zeros((self._blocks, len(self._columns.spans), count, self._columns.outputs), np.int32)


class BitProduct(_Sliced):
    """A layer's part with its cells as bit planes. ``taps`` packed vectors of ``depth`` bits make up one window."""

    def __init__(self, cells: Cells, weights: Weights, form: NormalForm, taps: int, depth: int) -> None:
        super().__init__(cells, weights, form)
        self._where = input_words(depth, taps)

    def __call__(self, packed: Array) -> Array:
        """i32 sums [m, n] of packed windows u8 [m, taps * depth] (for each tap its 8 planes)."""
        sums = self._sums(len(packed))
        self._run(packed, sums, _NO_FLAGS)
        return np.ascontiguousarray(sums[:, : self._outputs])

    def flags(self, packed: Array) -> Array:
        """End codes of guarded conversions, as ``exactness.guarded_flags`` counts them, without the group."""
        flags = self._flags(len(packed))
        self._run(packed, self._sums(len(packed)), flags.reshape(-1))
        return flags[..., : self._outputs]

    def _run(self, packed: Array, sums: Array, flags: Array) -> None:
        from pimc_isa.engines.kernels.popcount_loops import kernel

        kernel(*self._kind)(packed.view(np.uint32), self._where, *self._arguments(), sums, flags)


class GroupedBits(_Sliced):
    """A part of several convolution groups; row k of group g is element ``rows[k] + g * channels`` of a window."""

    def __init__(self, cells: Cells, weights: Weights, form: NormalForm, rows: Array, channels: int) -> None:
        super().__init__(cells, weights, form)
        groups, k, n = cells.codes.shape
        self._shape = groups, n
        self._lanes, self._beside = np.repeat(np.arange(groups) * channels, n), n == channels == 1
        self._rows = np.full(self._columns.spans[-1, 1] * WORD, -1)
        each = -(-weights.block_rows // WORD) * WORD
        places = np.arange(k)
        self._rows[places // weights.block_rows * each + places % weights.block_rows] = rows

    def __call__(self, x: Array) -> Array:
        """i32 sums [m, groups * n] of windows u8 [m, elements]."""
        sums = self._sums(len(x))
        self._run(x, sums, _NO_FLAGS)
        return np.ascontiguousarray(sums[:, : self._outputs])

    def flags(self, x: Array) -> Array:
        """End codes of guarded conversions, as ``exactness.guarded_flags`` counts them."""
        flags = self._flags(len(x))
        self._run(x, self._sums(len(x)), flags.reshape(-1))
        return flags[..., : self._outputs].reshape(*flags.shape[:3], *self._shape)

    def _run(self, x: Array, sums: Array, flags: Array) -> None:
        from pimc_isa.engines.kernels.popcount_loops import grouped_kernel

        grouped_kernel(*self._kind)(x, self._rows, self._lanes, self._beside, *self._arguments(), sums, flags)


def bit_product(cells: Cells, weights: Weights, form: NormalForm, taps: int, depth: int) -> BitProduct | None:
    """The product by bit counting, or None where the form, the block size or missing numba rule it out.

    ``depth`` is the number of packed bits of each of ``taps`` taps (a multiple of 32). One tap is ``widened``.
    """
    whole = taps == 1 or not weights.block_rows % WORD
    words = words_of(cells.codes.shape[1], weights.block_rows)[-1, 1]
    if not fits(cells, weights, form, TAKES) or len(cells.codes) != 1 or depth % WORD or not whole:
        return None
    return BitProduct(cells, weights, form, taps, depth) if words * WORD <= taps * depth else None


def grouped_bits(cells: Cells, weights: Weights, form: NormalForm, rows: Array, channels: int) -> GroupedBits | None:
    """The product of grouped weights, or None where the form or missing numba rule it out."""
    return GroupedBits(cells, weights, form, rows, channels) if fits(cells, weights, form, TAKES) else None


def fits(cells: Cells, weights: Weights, form: NormalForm, takes: Takes) -> bool:
    """Whether a form can be counted in 32 bits."""
    blocks = [*form.blocks, *(f for b in form.blocks for f in b.refinement)]
    top = weights.block_rows * ((1 << INPUT_BITS) - 1) * ((1 << max(weights.slices)) - 1)
    small = all(hi <= INPUT_BITS for _, hi in form.input_slices) and top < _MOST
    shifts = all(b.shift < WORD and not any(f.refinement for f in b.refinement) for b in blocks)
    return numba_or_none() is not None and takes(form) and small and shifts and cells.codes.size > 0


def input_words(depth: int, taps: int) -> Array:
    """Index of each input word [bits, words] in a packed window."""
    each = depth // WORD
    tap, inside = np.divmod(np.arange(taps * each), each)
    return (tap * INPUT_BITS + np.arange(INPUT_BITS)[:, None]) * each + inside


def _limits(conversion: Conversion | None) -> tuple[int, int, int]:
    return (conversion.lo, conversion.hi, conversion.step) if conversion else (-_MOST, _MOST, 1)


def _row(block: Block, form: NormalForm) -> tuple[int, ...]:
    """First bit, the bit behind the last, lowest and highest value, step, shift."""
    return (*form.input_slices[block.pairs[0][0]], *_limits(block.conversion), block.shift)


def _kind(form: NormalForm, weights: Weights) -> tuple[str, int]:
    """What ``kernel`` is told of a form: its kind, and the bits at which speculated slices begin."""
    blocks = [*form.blocks, *(f for b in form.blocks for f in b.refinement)]
    slices = [form.input_slices[b.pairs[0][0]] for b in blocks]
    places = {b.shift - lo - form.weight_shifts[b.pairs[0][1]] for b, (lo, _) in zip(blocks, slices, strict=True)}
    limits = {_limits(b.conversion) for b in blocks}
    bits = [(bit, bit + 1) for bit in range(INPUT_BITS)]
    first = sorted({form.input_slices[b.pairs[0][0]] for b in form.blocks})
    whole = [bit for lo, hi in first for bit in range(lo, hi)] == list(range(INPUT_BITS))
    full = len(form.blocks) == len(first) * len(form.weight_shifts)
    if len(limits) != 1 or places != {0} or {step for _, _, step in limits} != {1} or not (whole and full):
        return "any", 0
    finer = [sorted(form.input_slices[f.pairs[0][0]] for f in b.refinement) for b in form.blocks]
    if first == bits and not any(finer):
        never_low = not weights.bipolar and max(lo for lo, _, _ in limits) <= 0
        return "capped" if never_low else "plain", 0
    if all(fine and set(fine) <= set(bits) for fine in finer) and all(b.conversion for b in form.blocks):
        return "speculated", sum(1 << lo for lo, _ in first)
    return "any", 0


def _tables(form: NormalForm) -> tuple[Array, Array]:
    """For each weight slice its conversions [slices, n, 10], and the finer ones [n, 6] of those that are guarded.

    As ``_row``, then the lower end code, the first and the last finer one, and the block's number.
    """
    fine: list[tuple[int, ...]] = []
    coarse: list[list[tuple[int, ...]]] = [[] for _ in form.weight_shifts]
    for number, block in enumerate(form.blocks):
        first = len(fine)
        if block.conversion is not None:
            fine += [_row(b, form) for b in block.refinement]
        end = min(block.conversion.ends) if block.conversion else 0
        coarse[block.pairs[0][1]].append((*_row(block, form), end, first, len(fine), number))
    most = max(1, *map(len, coarse))
    filled = [[*rows, *[_NOTHING] * (most - len(rows))] for rows in coarse]
    return np.array(filled, np.int32), np.array(list(chain(fine, [(0,) * 6])), np.int32)


def unit_table(form: NormalForm) -> tuple[Array, bool]:
    """Conversions of the sums of input slices [n, 5], and whether every bit by itself goes through the same one.

    What is not converted is added bit by bit.
    """
    rows: list[tuple[int, ...]] = []
    for c, (lo, hi) in zip(form.unit_conversions, form.input_slices, strict=False):
        slices = [(lo, hi)] if c else [(bit, bit + 1) for bit in range(lo, hi)]
        rows += [(*bits, *_limits(c)) for bits in slices]
    alike = len({row[2:] for row in rows}) == 1 and rows[0][4] == 1
    even = alike and sorted(row[:2] for row in rows) == [(bit, bit + 1) for bit in range(INPUT_BITS)]
    return np.array(rows, np.int32).reshape(len(rows), 5), even
