"""The values of the step engine: physical ring slots, and one instruction's meaning on one row at a time."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property

import numpy as np

from pimc_isa.crossbar.cells import Cells
from pimc_isa.crossbar.exactness import full_scale, sliced_dot
from pimc_isa.engines.dots.analog import AnalogLayer
from pimc_isa.engines.dots.model import analog_model
from pimc_isa.engines.noise import position_numbers
from pimc_isa.engines.step.host import run_call
from pimc_isa.errors import RunError
from pimc_isa.flow import NormalForm, normal_form
from pimc_isa.operands import Buffer, Range, RowExpr, Slab
from pimc_isa.program import Program, Tile

__all__ = ["Memory", "RowMeaning"]

Array = np.ndarray


class Ring:
    """The slots of one buffer, and for whoever asks afterwards every row ever written."""

    def __init__(self, buffer: Buffer, images: int) -> None:
        self.buffer = buffer
        row = buffer.cols[1] - buffer.cols[0], buffer.chans[1] - buffer.chans[0]
        dtype = np.int32 if buffer.dtype == "i32" else np.uint8
        self.slots = np.zeros((buffer.slots, *row), dtype)
        self.history = np.zeros((images, buffer.rows, *row), dtype)

    def slot(self, image: int, row: int) -> int:
        """Where a row lies; row numbers run on from image to image."""
        return (image * self.buffer.rows + row) % self.buffer.slots

    def part(self, cols: Range | None, chans: Range | None) -> tuple[slice, slice]:
        """Absolute ranges as positions in a slot."""
        own = self.buffer.cols, self.buffer.chans
        given = cols or own[0], chans or own[1]
        for (lo, hi), (first, stop) in zip(given, own, strict=True):
            if not first <= lo <= hi <= stop:
                raise RunError(f"buffer {self.buffer.name} holds {first}:{stop}, not {lo}:{hi}")
        return (
            slice(given[0][0] - own[0][0], given[0][1] - own[0][0]),
            slice(given[1][0] - own[1][0], given[1][1] - own[1][0]),
        )

    def load(self, image: int, row: int) -> Array:
        """A row as it lies in its slot now: [columns, channels]."""
        return np.array(self.slots[self.slot(image, row)])

    def store(self, image: int, row: int, part: tuple[slice, slice], values: Array) -> None:
        """Put values into a part of a row's slot."""
        self.slots[self.slot(image, row)][part] = values
        self.history[image, row][part] = values


class Memory:
    """One tile's rings and what its groups hold."""

    def __init__(self, program: Program, tile: Tile, images: int) -> None:
        self.program = program
        self.tile = tile
        self.model = analog_model(program)
        self.rings = {b.name: Ring(b, images) for b in tile.buffers}

    @cached_property
    def cells(self) -> dict[str, tuple[Cells, NormalForm]]:
        """Each group's part of its weights' cells, and what its flow computes."""
        found: dict[str, tuple[Cells, NormalForm]] = {}
        for g in self.tile.group.values():
            w = self.program.weight[g.weights]
            (g0, g1), (k0, k1), (n0, n1) = g.groups, g.k, g.n
            blocks = slice(k0 // w.block_rows, -(-k1 // w.block_rows))
            codes, polarity, centre = (self.program.tensors[f"{w.name}.{t}"] for t in ("codes", "polarity", "centre"))
            part = Cells(
                codes[g0:g1, k0:k1, n0:n1],
                polarity[g0:g1, blocks, n0:n1],
                centre[g0:g1, blocks, n0:n1].astype(np.int64),
            )
            found[g.name] = part, normal_form(self.program.flow[g.flow])
        return found


class RowMeaning:
    """The vocabulary of meanings for one execution: reads come from the slots, writes are kept until it ends."""

    def __init__(self, memory: Memory, image: int, iteration: int, inputs: Mapping[str, Array]) -> None:
        self.memory = memory
        self.tile = memory.tile
        self.image = image
        self.iteration = iteration
        self.inputs = inputs
        self.message: Array | None = None
        self.outputs: dict[str, Array] = {}
        self._writes: list[tuple[Ring, int, tuple[slice, slice], Array]] = []

    def commit(self) -> None:
        """The execution ends: what it wrote is there."""
        for ring, row, part, values in self._writes:
            ring.store(self.image, row, part, values)

    def read(self, operand: Slab) -> Array:
        """A slab, [1, 1, columns, channels]."""
        ring = self.memory.rings[operand.buffer]
        return ring.load(self.image, operand.row.at(self.iteration))[ring.part(operand.cols, operand.chans)][None, None]

    def write(self, operand: Slab, values: Array) -> None:
        """Keep a slab's new values."""
        ring = self.memory.rings[operand.buffer]
        row = operand.row.at(self.iteration)
        self._writes.append((ring, row, ring.part(operand.cols, operand.chans), values[0, 0]))

    def patches(self, dst: Slab, src: str, window: str) -> Array:
        """Window contents for the columns and channels of ``dst``."""
        return self._windows(dst, src, window, self.chans(dst))[None, None]

    def patches_count(self, dst: Slab, src: str, window: str) -> Array:
        """How many taps of each window lie inside the tensor."""
        inside = [[tap is not None for tap in taps] for taps in self._taps(dst, src, window)]
        return np.asarray(np.array(inside, np.float32).sum(axis=1, dtype=np.float32).reshape(1, 1, -1, 1))

    def dot(self, dst: Slab, src: str, window: str, group: str) -> Array:
        """Dot products, slice by slice."""
        g = self.tile.group[group]
        weights = self.memory.program.weight[g.weights]
        cells, form = self.memory.cells[group]
        held = self.tile.buffer[src].chans
        taps = len(self._taps(dst, src, window)[0])
        vectors = []
        for number in range(*g.groups):
            c = weights.k // taps
            chans = held if weights.groups == 1 else (number * c, number * c + c)
            x = self._windows(dst, src, window, chans)
            vectors.append(x.reshape(len(x), -1)[:, g.k[0] : g.k[1]])
        bits = self.memory.program.flow[g.flow].input_bits
        scale = full_scale(weights, bits, g.v_max, g.gain)
        x = np.stack(vectors, axis=1)
        if self.memory.model is not None:
            part = (g.groups[0], g.k[0], g.n[0]), (), g.v_max, g.gain
            cols = np.arange(*(dst.cols or self.tile.buffer[dst.buffer].cols))
            at = position_numbers(np.array(self.image), np.array(dst.row.at(self.iteration)), cols)
            noisy = AnalogLayer(cells, weights, form, scale, part, self.memory.model)
            return noisy(x, at).reshape(1, 1, len(x), -1)
        y = sliced_dot(x, cells, weights, form, scale)
        return y.reshape(1, 1, len(y), -1).astype(np.int32)

    def tensor(self, name: str) -> Array:
        """A tensor of the program."""
        return np.asarray(self.memory.program.tensors[name])

    def chans(self, operand: Slab) -> Range:
        """The absolute channel range of a slab."""
        return operand.chans or self.tile.buffer[operand.buffer].chans

    def receive(self, channel: str, dst: Slab, until: RowExpr) -> None:
        """Rows are moved one by one by the engine."""
        raise NotImplementedError

    def send(self, channel: str, src: Slab) -> None:
        """Read the message; the engine carries it."""
        self.message = self.read(src)[0, 0]

    def call(self, name: str) -> None:
        """Run a host call on whole buffers."""
        whole: dict[str, Array] = {}
        for _, place in self.tile.call[name].inputs:
            if not place.startswith("$"):
                ring = self.memory.rings[place]
                whole[place] = np.stack([ring.load(self.image, row) for row in range(ring.buffer.rows)])
        made, self.outputs = run_call(self.memory.program, self.tile, name, whole, self.inputs)
        for place, values in made.items():
            ring = self.memory.rings[place]
            self._writes += [(ring, row, ring.part(None, None), values[row]) for row in range(ring.buffer.rows)]

    def _taps(self, dst: Slab, src: str, window: str) -> list[list[tuple[int, int] | None]]:
        """For each output column the (row, column) of every tap, None outside the tensor."""
        w, buffer = self.tile.window[window], self.tile.buffer[src]
        top = dst.row.at(self.iteration) * w.stride[0] - w.pads[0]
        columns = []
        for out in range(*(dst.cols or self.tile.buffer[dst.buffer].cols)):
            left = out * w.stride[1] - w.pads[1]
            taps: list[tuple[int, int] | None] = []
            for ky in range(w.kernel[0]):
                for kx in range(w.kernel[1]):
                    y, x = top + ky * w.dilation[0], left + kx * w.dilation[1]
                    taps.append((y, x) if 0 <= y < buffer.rows and 0 <= x < buffer.width else None)
            columns.append(taps)
        return columns

    def _windows(self, dst: Slab, src: str, window: str, chans: Range) -> Array:
        """[columns, taps, channels]."""
        ring = self.memory.rings[src]
        pad = self.tile.window[window].pad_value
        outside = np.full(chans[1] - chans[0], pad, ring.slots.dtype)
        columns = []
        for taps in self._taps(dst, src, window):
            column = []
            for tap in taps:
                if tap is None:
                    column.append(outside)
                else:
                    x, c = ring.part((tap[1], tap[1] + 1), chans)
                    column.append(ring.load(self.image, tap[0])[x, c][0])
            columns.append(np.stack(column))
        return np.stack(columns)
