"""Dot products of groups that work on a position in several rounds.

Where conversions are proved exact, all rounds together are one integer product with the matrix that they put together;
else every round is computed as a layer of its own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import numpy as np

from pimc_isa.crossbar.cells import Cells, decode
from pimc_isa.crossbar.exactness import guarded_flags
from pimc_isa.crossbar.footprint import outputs_per_array
from pimc_isa.crossbar.levels import read_levels
from pimc_isa.crossbar.rounds import CrossbarRead, OneRound, copied, read_columns, rounds_of
from pimc_isa.engines.dots.analog import AnalogLayer
from pimc_isa.engines.dots.oneround import RoundLayer, dealt, driven_alike
from pimc_isa.engines.kernels.convert import scaled
from pimc_isa.engines.kernels.gemm import Product, product
from pimc_isa.flow.forms import NormalForm
from pimc_isa.operands import Group, Weights
from pimc_isa.program import Program

__all__ = ["RoundsProduct"]

Array = np.ndarray


class RoundsProduct:
    """The sums of a group with rounds; ``cells`` are those of its rows and columns, ``scale`` its full scale."""

    def __init__(
        self, program: Program, group: Group, cells: Cells, form: NormalForm, scale: float, fast: bool = True
    ) -> None:
        self.weights: Weights = program.weight[group.weights]
        self.group, self.cells, self.form, self.scale = group, cells, form, scale
        self.declared = program.schedule[group.rounds]
        across = outputs_per_array(self.weights.columns, program.machine.array)
        self.rounds = rounds_of(program, group, across)
        self.copies = copied(program, group)
        self._fast, self._units, self._program = fast, program.machine.array.unit_columns, program
        self._kernel: Product | None = None
        self._layers: dict[bool, list[RoundLayer]] = {}

    @property
    def outputs(self) -> int:
        """Channels of the result."""
        return self.declared.outputs[1] - self.declared.outputs[0]

    def exact(self, a: Array) -> Array:
        """i32 [m, outputs] of window vectors u8 [m, inputs], for conversions that lose nothing."""
        if self._kernel is None:
            self._kernel = product(self.matrix())
        return self._kernel(a)

    def matrix(self) -> Array:
        """The integer weights [inputs, outputs] that all rounds put together."""
        w = decode(self.cells, self.weights)[0]
        put = np.zeros((self.declared.inputs, self.outputs), np.int32)
        for read in (read for done in self.rounds for read in done.reads):
            places = np.ix_(read.inputs, read.channels - self.declared.outputs[0])
            np.add.at(put, places, w[np.ix_(read.rows - self.group.k[0], read.columns - self.group.n[0])])
        put[:, self.copies[0]] = put[:, self.copies[1]]
        return put

    def converted(self, a: Array) -> Array:
        """As ``exact``, round by round with every conversion."""
        return self._collected([layer(a) for layer in self._each_round(self._fast)])

    def sliced(self, a: Array) -> Array:
        """As ``converted``, slice by slice."""
        return self._collected([layer(a) for layer in self._each_round(fast=False)])

    def _each_round(self, fast: bool) -> list[RoundLayer]:
        if fast not in self._layers:
            held = self.group, self.weights, self.cells
            self._layers[fast] = [RoundLayer(done, held, self.form, self.scale, fast) for done in self.rounds]
        return self._layers[fast]

    def analog(self, a: Array, at: Array, hardware: AnalogLayer) -> Array:
        """As ``converted``, on hardware that is not ideal, at numbered positions (see ``noise``)."""
        return self._collected([self._noisy(a, at, hardware.of_round(n), done) for n, done in enumerate(self.rounds)])

    def bits(self, a: Array) -> tuple[Array, Array]:
        """Word lines, and columns in use that they cross, with each input bit set: two int64 [m, 8] over all rounds."""
        lines, cells = (np.zeros((len(a), 8), np.int64) for _ in range(2))
        for read in (read for done in self.rounds for read in done.reads):
            driven = a[:, read.inputs]
            ones = np.stack([(driven >> bit & 1).sum(axis=1, dtype=np.int64) for bit in range(8)], axis=1)
            lines += ones
            cells += ones * read_columns(read, self.weights.columns, self._units)
        return lines, cells

    def levels(self, a: Array) -> Array:
        """Levels of the cells that inputs with each bit set meet, int64 [m, 8], over all rounds."""
        found = np.zeros((len(a), 8), np.int64)
        for read in (read for done in self.rounds for read in done.reads):
            held = read_levels(self._program, self.group, read)
            found += np.stack([(a[:, read.inputs] >> bit & 1) @ held for bit in range(8)], axis=1)
        return found

    def flags(self, a: Array, at: Callable[[], Array], hardware: AnalogLayer | None) -> Array:
        """End codes of guarded conversions, int64 [blocks of the form, m], over all rounds."""
        total = np.zeros((len(self.form.blocks), len(a)), np.int64)
        first = self.group.k[0] // self.weights.block_rows
        for number, done in enumerate(self.rounds):
            for read in done.reads:
                driven = np.full(self.group.k[1] - self.group.k[0], -1)
                driven[read.rows - self.group.k[0]] = read.inputs
                x = dealt(a, driven)[:, None]
                if hardware is not None:
                    found = hardware.of_round(number).flags(x, at())
                else:
                    found = guarded_flags(x, self.cells, self.weights, self.form, self.scale)
                total += found[:, read.block - first, :, 0, read.columns - self.group.n[0]].sum(axis=0)
        return total

    def _collected(self, results: list[Array]) -> Array:
        """What the rounds leave behind: every channel overwritten, added to, or copied."""
        total = np.zeros((len(results[0]), self.outputs), np.int32)
        for done, made in zip(self.rounds, results, strict=True):
            places = done.channels - self.declared.outputs[0]
            total[:, places] = np.where(done.added, total[:, places] + made, made)
        total[:, self.copies[0]] = total[:, self.copies[1]]
        return total

    def _noisy(self, a: Array, at: Array, hardware: AnalogLayer, done: OneRound) -> Array:
        """i32 [m, channels] of one round."""
        codes, corrections = (np.zeros((len(a), len(done.channels)), np.int32) for _ in range(2))
        (k0, k1), first = self.group.k, self.group.k[0] // self.weights.block_rows
        for reads in _one_of_each_block(driven_alike(done.reads)):
            driven = np.full(k1 - k0, -1)
            for read in reads:
                driven[read.rows - k0] = read.inputs
            parts = hardware.block_parts(dealt(a, driven)[:, None], at)
            for read in reads:
                places, columns = np.searchsorted(done.channels, read.channels), read.columns - self.group.n[0]
                for total, part in zip((codes, corrections), parts[read.block - first], strict=True):
                    np.add.at(total.T, places, part.T[columns])
        return np.asarray(corrections + scaled(codes, hardware.step))


def _one_of_each_block(reads: list[CrossbarRead]) -> list[list[CrossbarRead]]:
    """Reads in groups that have at most one of each row block, so that a group is one vector on all rows."""
    found: list[list[CrossbarRead]] = []
    seen: Counter[int] = Counter()
    for read in reads:
        if seen[read.block] == len(found):
            found.append([])
        found[seen[read.block]].append(read)
        seen[read.block] += 1
    return found
