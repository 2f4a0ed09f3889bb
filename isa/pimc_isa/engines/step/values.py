"""The values of the step engine: physical ring slots, and one instruction's reads and writes, a row at a time."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from pimc_isa.engines.step.actions import Ledger
from pimc_isa.engines.step.dots import Dots
from pimc_isa.engines.step.geometry import InTile, channels, columns, held_as, row_at, tap_positions
from pimc_isa.engines.step.host import run_call
from pimc_isa.engines.step.rounds import Schedules
from pimc_isa.errors import RunError
from pimc_isa.instructions import Mvm, Mvma
from pimc_isa.operands import Buffer, RowExpr, Slab
from pimc_isa.program import Program, Tile

__all__ = ["Memory", "Ring", "Values"]

Array = np.ndarray
Part = tuple[slice, slice]


class Ring:
    """The slots of one buffer, and for whoever asks afterwards every row ever written."""

    def __init__(self, buffer: Buffer, images: int) -> None:
        self.buffer = buffer
        row = buffer.cols[1] - buffer.cols[0], buffer.chans[1] - buffer.chans[0]
        dtype = held_as(buffer.dtype)[1]
        self.slots = np.zeros((buffer.slots, *row), dtype)
        self.history = np.zeros((images, buffer.rows, *row), dtype)

    def slot(self, image: int, row: int) -> int:
        """Where a row lies; row numbers run on from image to image."""
        return (image * self.buffer.rows + row) % self.buffer.slots

    def part(self, cols: range, chans: range) -> Part:
        """Absolute columns and channels as positions in a slot."""
        found = []
        for wanted, (first, stop) in ((cols, self.buffer.cols), (chans, self.buffer.chans)):
            if not first <= wanted.start <= wanted.stop <= stop:
                raise RunError(f"buffer {self.buffer.name} holds {first}:{stop}, not {wanted.start}:{wanted.stop}")
            found.append(slice(wanted.start - first, wanted.stop - first))
        return found[0], found[1]

    def load(self, image: int, row: int) -> Array:
        """A row as it lies in its slot now: [columns, channels]."""
        return np.array(self.slots[self.slot(image, row)])

    def store(self, image: int, row: int, part: Part, values: Array) -> None:
        """Put values into a part of a row's slot."""
        self.slots[self.slot(image, row)][part] = values
        self.history[image, row][part] = values


class Memory:
    """One tile's rings and crossbars."""

    def __init__(self, program: Program, tile: Tile, images: int, dots: Dots) -> None:
        self.place = InTile(program, tile)
        self.dots, self.rounds = dots, Schedules(dots)
        self.rings = {b.name: Ring(b, images) for b in tile.buffers}


class Values:
    """What a meaning works with in one execution: reads come from the slots, writes are kept until it ends."""

    def __init__(self, memory: Memory, image: int, iteration: int, inputs: Mapping[str, Array]) -> None:
        self.memory = memory
        self.program, self.tile = memory.place.program, memory.place.tile
        self.image = image
        self.iteration = iteration
        self.inputs = inputs
        self.message: Array | None = None
        self.outputs: dict[str, Array] = {}
        self.ledger = Ledger()
        self._writes: list[tuple[Ring, int, Part, Array]] = []

    def commit(self) -> None:
        """The execution ends: what it wrote is there."""
        for ring, row, part, values in self._writes:
            ring.store(self.image, row, part, values)

    def read(self, slab: Slab) -> Array:
        """A row part, [columns, channels]."""
        ring = self.memory.rings[slab.buffer]
        row = row_at(slab.row, self.iteration)
        return ring.load(self.image, row)[ring.part(columns(self.tile, slab), channels(self.tile, slab))]

    def write(self, slab: Slab, values: Array) -> None:
        """Keep a row part's new values [columns, channels] (one column or channel may stand for all)."""
        ring = self.memory.rings[slab.buffer]
        part = ring.part(columns(self.tile, slab), channels(self.tile, slab))
        self._writes.append((ring, row_at(slab.row, self.iteration), part, values))

    def tensor(self, name: str) -> Array:
        """A tensor of the program."""
        return np.asarray(self.program.tensors[name])

    def inside(self, dst: Slab, src: str, window: str) -> Array:
        """Which taps of the windows of ``dst`` lie inside the tensor of ``src``: bool [columns, taps]."""
        buffer = self.tile.buffer[src]
        return np.array(
            [
                [0 <= y < buffer.rows and 0 <= x < buffer.width for y, x in self._taps(dst, window, column)]
                for column in columns(self.tile, dst)
            ]
        )

    def windows(self, dst: Slab, src: str, window: str, chans: range) -> Array:
        """[columns, taps, channels]: what the windows of ``dst`` see; outside the tensor the window's pad value."""
        ring, pad = self.memory.rings[src], self.tile.window[window].pad_value
        inside = self.inside(dst, src, window)
        seen = np.full((*inside.shape, len(chans)), pad, ring.slots.dtype)
        rows: dict[int, Array] = {}
        for n, column in enumerate(columns(self.tile, dst)):
            for t, (y, x) in enumerate(self._taps(dst, window, column)):
                if inside[n, t]:
                    if y not in rows:
                        rows[y] = ring.load(self.image, y)
                    seen[n, t] = rows[y][ring.part(range(x, x + 1), chans)][0]
        return seen

    def dot(self, dst: Slab, src: str, window: str, group: str) -> Array:
        """i32 [columns, channels]: dot products of the windows of ``dst`` with a group's cells."""
        g = self.tile.group[group]
        weights = self.program.weight[g.weights]
        taps = self.tile.window[window].kernel[0] * self.tile.window[window].kernel[1]
        row, cols = row_at(dst.row, self.iteration), columns(self.tile, dst)
        if g.rounds:
            whole = self.windows(dst, src, window, range(*self.tile.buffer[src].chans)).reshape(len(cols), -1)
            return self.memory.rounds.sums(g, whole, (self.image, row, cols), self.ledger)
        made = []
        for number in range(*g.groups):
            c = weights.k // taps
            chans = range(number * c, number * c + c)
            if weights.groups == 1:
                chans = range(*self.tile.buffer[src].chans)
            vectors = self.windows(dst, src, window, chans).reshape(len(cols), -1)[:, g.k[0] : g.k[1]]
            made.append(self.memory.dots.products(g, number, vectors, (self.image, row, cols), self.ledger))
        return np.concatenate(made, axis=1)

    def lumped(self, slab: Slab, sums: Array, scale: tuple[Array, Array], name: str) -> Array:
        """Sums [columns, channels] of a row part as they are requantised: with lumped noise if a matrix unit made them.

        ``scale``: multiplier and bias; ``name``: that of the requant's data.
        """
        matrix = (i for i in self.tile.code if isinstance(i, Mvm | Mvma))
        if not any(i.dst.buffer == slab.buffer for i in matrix):
            return sums
        at, where = (
            (self.image, row_at(slab.row, self.iteration)),
            (columns(self.tile, slab), channels(self.tile, slab)),
        )
        return self.memory.dots.hardware.lump(name, sums, scale, at, *where)

    def send(self, slab: Slab) -> None:
        """Read the message; the network carries it."""
        self.message = self.read(slab)

    def call(self, name: str) -> None:
        """Run a host call on whole buffers."""
        whole: dict[str, Array] = {}
        for _, place in self.tile.call[name].inputs:
            if not place.startswith("$"):
                ring = self.memory.rings[place]
                whole[place] = np.stack([ring.load(self.image, row) for row in range(ring.buffer.rows)])
        made, self.outputs = run_call(self.program, self.tile, name, whole, self.inputs)
        for place, values in made.items():
            ring = self.memory.rings[place]
            part = slice(None), slice(None)
            self._writes += [(ring, row, part, values[row]) for row in range(ring.buffer.rows)]

    def call_row(self, name: str, at: RowExpr) -> None:
        """Run a host call for one row."""
        row = row_at(at, self.iteration)
        alone = {
            place: self.memory.rings[place].load(self.image, row)[None] for _, place in self.tile.call[name].inputs
        }
        made, _ = run_call(self.program, self.tile, name, alone, self.inputs, by_row=True)
        for place, values in made.items():
            self._writes.append((self.memory.rings[place], row, (slice(None), slice(None)), values[0]))

    def _taps(self, dst: Slab, window: str, column: int) -> list[tuple[int, int]]:
        return tap_positions(self.tile.window[window], row_at(dst.row, self.iteration), column)
