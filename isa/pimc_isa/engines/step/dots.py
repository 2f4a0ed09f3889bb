"""Dot products as the analog parts compute them: column sums, analog additions, conversions, digital additions.

There is one way for all flows: every pair of an input slice and a weight slice gives a column sum; what a conversion
sees is added up; its code counts. Where converters lose nothing that is the integer dot product.
"""

from __future__ import annotations

import numpy as np

from pimc_isa.engines.step.actions import Ledger, on_lines
from pimc_isa.engines.step.analog import Hardware, Swings
from pimc_isa.engines.step.cells import HeldBlock, block_of
from pimc_isa.engines.step.flows import Reading, StepConverter, StepGroup, read_flow
from pimc_isa.engines.step.trained import trained_codes
from pimc_isa.operands import Group, Range, Weights
from pimc_isa.program import Program

__all__ = ["Dots"]

Array = np.ndarray


class Dots:
    """All crossbars of a program, on one chip: ideal or noisy."""

    def __init__(self, program: Program, hardware: Hardware) -> None:
        self.program, self.hardware = program, hardware
        self._blocks: dict[tuple[object, ...], HeldBlock] = {}

    def products(self, g: Group, number: int, vectors: Array, at: tuple[int, int, range], ledger: Ledger) -> Array:
        """i32 [positions, n] of u8 ``vectors`` [positions, k] with convolution group ``number`` of crossbars ``g``.

        ``at``: image, output row and output columns of the positions. What is done goes into the ``ledger``.
        """
        ledger.inputs[number] = vectors
        height = self.program.weight[g.weights].block_rows
        codes = np.zeros((len(vectors), g.n[1] - g.n[0]), np.int64)
        corrections = np.zeros_like(codes)
        for first in range(g.k[0], g.k[1], height):
            rows = first, min(first + height, g.k[1])
            x, vectors = np.split(vectors, [rows[1] - rows[0]], axis=1)
            made = self.crossbar(g, number, (rows, g.n), x, at, ledger)
            codes += made[0]
            corrections += made[1]
        return self.scaled(g, codes, corrections)

    def crossbar(
        self,
        g: Group,
        number: int,
        part: tuple[Range, Range],
        x: Array,
        at: tuple[int, int, range],
        ledger: Ledger,
        stream: tuple[int, ...] = (),
    ) -> tuple[Array, Array]:
        """What the columns of some rows (of one row block) and outputs give for their inputs: codes and corrections."""
        weights, reading = self.program.weight[g.weights], read_flow(self.program.flow[g.flow])
        block = self._block(weights, number, *part)
        slices = [on_lines(x, bits, g.zero) for bits in reading.slices]
        swings = Swings(weights, reading, self.hardware, g, stream)
        which = self.hardware.numbers(weights, number, part[1], at)
        codes = self._block_codes(block, slices, reading, (self._step(g), swings, which), ledger)
        return codes, _correction(block, slices, reading)

    def scaled(self, g: Group, codes: Array, corrections: Array) -> Array:
        """i32 of the sums of codes (times what one stands for, where conversions are ranged) and of corrections."""
        if read_flow(self.program.flow[g.flow]).converter.ranged:
            codes = np.floor(self._step(g) * codes + 0.5).astype(np.int64)
        return np.asarray(codes + corrections, np.int64).astype(np.int32)

    def _step(self, g: Group) -> float:
        """What one code of a ranged conversion stands for."""
        flow = self.program.flow[g.flow]
        return _full_scale(self.program.weight[g.weights], flow.input_bits, g) / read_flow(flow).converter.hi

    def _block(self, weights: Weights, number: int, rows: tuple[int, int], n: tuple[int, int]) -> HeldBlock:
        key = weights.name, number, rows, n
        if key not in self._blocks:
            h = self.hardware
            self._blocks[key] = block_of(self.program, weights, number, rows, n, h.noise.cell, h.seed)
        return self._blocks[key]

    def _block_codes(
        self, block: HeldBlock, slices: list[Array], reading: Reading, at: tuple[float, Swings, Array], ledger: Ledger
    ) -> Array:
        """What one row block adds: codes where conversions are ranged, else values. ``at``: step, swings, numbers."""
        step, swings, which = at
        if self.hardware.networks and reading.converter.ranged:
            ledger.convert(reading.groups[0].by, np.zeros(which.shape, np.bool_))
            return trained_codes(self.hardware, block, slices, step, swings, which)
        total = np.zeros(which.shape, np.int64)
        sides = range(len(block.columns))
        for group in reading.groups:
            for together in [[side] for side in sides] if reading.sides else [list(sides)]:
                counts = self._group_codes(block, slices, group, together, at, ledger)
                total += -counts if reading.sides and together == [1] else counts
        return total

    def _group_codes(
        self,
        block: HeldBlock,
        slices: list[Array],
        group: StepGroup,
        sides: list[int],
        at: tuple[float, Swings, Array],
        ledger: Ledger,
    ) -> Array:
        """What one conversion counts; where its code is an end code, what the finer ones count."""
        value, counts = self._converted(block, slices, group, sides, at)
        top, bottom = group.converter.hi * group.converter.step, group.converter.lo * group.converter.step
        flagged = ((value == top) | ((value == bottom) & (bottom < 0))) & bool(group.finer)
        ledger.convert(group.by, flagged)
        finer = np.zeros_like(counts)
        for each in group.finer:
            finer += self._converted(block, slices, each, sides, at)[1]
            ledger.refine(each.by, flagged)
        return np.where(flagged, finer, counts)

    def _converted(
        self, block: HeldBlock, slices: list[Array], group: StepGroup, sides: list[int], at: tuple[float, Swings, Array]
    ) -> tuple[Array, Array]:
        """The value of each code, and what it counts."""
        step, swings, which = at
        seen = self._analog_sum(block, slices, group, sides, swings, which)
        value = self._code(seen, group, step, swings, block.number, which)
        counts = -(value << group.shift) if group.minus else value << group.shift
        if len(group.pairs) == 1:
            counts = block.signs[group.pairs[0][1]] * counts
        return value, np.asarray(counts)

    def _analog_sum(
        self, block: HeldBlock, slices: list[Array], group: StepGroup, sides: list[int], swings: Swings, which: Array
    ) -> Array:
        """What one conversion sees, float64 [positions, n]: pairs by input slice, then weight slice, then W+ and W-."""
        seen = np.zeros(which.shape)
        for i, j, power in group.pairs:
            sign = 1 if len(group.pairs) == 1 else block.signs[j]
            for plus, p in self._sampled(block, slices[i].astype(np.float64), (i, j), group, sides, swings, which):
                if group.cell is not None:
                    p = _rounded(p, group.cell) * group.cell.step
                seen = seen + sign * (plus * p) * 2**power
        return seen

    def _sampled(
        self, block: HeldBlock, x: Array, pair: tuple[int, int], group: StepGroup, sides: list[int], swings: Swings,
        which: Array,
    ) -> list[tuple[int, Array]]:  # fmt: skip
        """The sums of one read with their noise, and the sign with which each counts."""
        hardware, (i, j) = self.hardware, pair
        sums = [(-1 if side == 1 and len(sides) == 2 else 1, x @ block.columns[side][j]) for side in sides]
        if hardware.columns is not None:
            return self._strayed(block, sums, (i, j, sides[0], group.flagged), group.cell is not None, swings, which)
        if swings.one_draw:
            return sums
        noise = [hardware.read_noise(swings, block.number, i, j, side, which) for side in sides]
        return [(plus, p + more) for (plus, p), more in zip(sums, noise, strict=True)]

    def _strayed(
        self, block: HeldBlock, sums: list[tuple[int, Array]], read: tuple[int, int, int, bool], apart: bool,
        swings: Swings, which: Array,
    ) -> list[tuple[int, Array]]:  # fmt: skip
        """Sums whose noise follows from what is added in them: each ``apart``, or W+ minus W- as one."""
        each = [(plus, p, p) for plus, p in sums]
        if not apart:
            each = [(1, np.asarray(sum(plus * p for plus, p in sums)), np.asarray(sum(p for _, p in sums)))]
        i, j, first, flagged = read
        found = []
        for side, (plus, p, added) in enumerate(each, first):
            noise = self.hardware.column_noise(swings, block.number, (i, j, side, flagged), added, which)
            found.append((plus, p + noise))
        return found

    def _code(self, seen: Array, group: StepGroup, step: float, swings: Swings, block: int, which: Array) -> Array:
        """The code of what is seen; times its step where the conversion is not ranged."""
        c = group.converter
        one = step if c.ranged else float(c.step)
        if swings.one_draw:
            codes = seen / one
            codes = self.hardware.disturbed(codes, c, swings, block, one, which)
            codes = np.minimum(np.maximum(np.floor(codes + 0.5), c.lo), c.hi)
        else:
            codes = _rounded(seen, c, one)
        return codes.astype(np.int64) * (1 if c.ranged else c.step)


def _rounded(value: Array, c: StepConverter, step: float | None = None) -> Array:
    """Codes: the nearest multiple of a step, halves up, clipped."""
    return np.minimum(np.maximum(np.floor(value / (c.step if step is None else step) + 0.5), c.lo), c.hi)


def _full_scale(weights: Weights, input_bits: int, g: Group) -> float:
    """What the end code of a ranged conversion stands for."""
    most = weights.block_rows * ((1 << input_bits) - 1) * ((1 << sum(weights.slices)) - 1)
    return most * g.v_max / g.gain


def _correction(block: HeldBlock, slices: list[Array], reading: Reading) -> Array:
    """Centre times the sum of inputs, which is converted like a column, or counted."""
    total = np.zeros(len(slices[0]), np.int64)
    for x, (lo, _, side), unit in zip(slices, reading.slices, reading.units, strict=False):
        summed = x.sum(axis=1)
        if unit is not None:
            summed = _rounded(summed.astype(np.float64), unit).astype(np.int64) * unit.step
        total += -(summed << lo) if side < 0 else summed << lo
    return np.asarray(total[:, None] * block.centre[None])
