"""The row-by-row interpreter: tiles as a Kahn network, one instruction and one row at a time.

Slow and obvious. An instruction runs when nothing before it in the stream, on rows or channels it touches, still waits:
the units of a tile are in order each, but do not wait for one another. It runs the tiles whose streams cannot be
lifted, and tests hold the lifted engine against it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from pimc_isa.crossbar.footprint import group_measures
from pimc_isa.engines.dots.counting import observe
from pimc_isa.engines.dots.layer import Layer, LayerPart
from pimc_isa.engines.dots.model import AnalogModel
from pimc_isa.engines.kernels.windows import WindowGeometry, taps
from pimc_isa.engines.noise import position_numbers
from pimc_isa.engines.values.hostcall import OrtCall
from pimc_isa.engines.values.instances import Pending, instances
from pimc_isa.errors import DeadlockError, ProgramError
from pimc_isa.flow.use import Tally
from pimc_isa.operands import Group, Range, RowExpr, RowRange, Slab
from pimc_isa.program import Program, Tile

__all__ = ["RowwiseTile", "run_tiles"]

Array = np.ndarray
Inbox = list[Array]  # messages [images, columns, channels]


class RowwiseTile:
    """One tile's state for one batch; implements the vocabulary of ``define.Meaning``."""

    def __init__(
        self,
        program: Program,
        tile: Tile,
        images: int,
        ports: Mapping[str, Array],
        model: AnalogModel | None = None,
        first: int = 0,
        counts: bool = False,
    ) -> None:
        self.program, self.tile, self.ports, self.images = program, tile, ports, images
        self._model, self._first, self._counts = model, first, counts
        self.tallies: dict[int, Tally] = {}
        self.results: dict[str, Array] = {}
        self.buffers: dict[str, Array] = {}
        self._written: dict[str, Array] = {}
        for b in tile.buffers:
            shape = (images, b.rows, b.cols[1] - b.cols[0], b.chans[1] - b.chans[0])
            self.buffers[b.name] = np.zeros(shape, b.element.storage)
            self._written[b.name] = np.zeros(b.rows, bool)
        self.inbox: dict[str, Inbox] = {}
        self.deliver: Callable[[str, Array], None] = lambda channel, message: None
        self._arrived: dict[str, int] = {}
        self._i = self._position = 0
        self._waiting = list(instances(program, tile))

    @property
    def done(self) -> bool:
        """Whether the stream has ended."""
        return not self._waiting

    def waits_for(self) -> str:
        """The channel of the first instruction that cannot run."""
        return next(w.channel for w in self._waiting if w.takes)

    def advance(self) -> bool:
        """Run every instruction that depends on nothing that still waits; returns whether there was one."""
        pending, left = Pending(), []
        for instance in self._waiting:
            if pending.blocks(instance) or (instance.takes and not self.inbox.get(instance.channel)):
                pending.add(instance)
                left.append(instance)
            else:
                self._i, self._position = instance.i, instance.position
                instance.instr.execute(self)
        progress = len(left) < len(self._waiting)
        self._waiting = left
        return progress

    # ---- the vocabulary ----

    def read(self, operand: Slab) -> Array:
        """One row [images, 1, columns, channels]."""
        row = operand.row.at(self._i)
        self._check(operand.buffer, row, row + 1)
        found: Array = self.buffers[operand.buffer][:, row : row + 1, *self._place(operand)]
        return found

    def write(self, operand: Slab, values: Array) -> None:
        """Store one row."""
        row = operand.row.at(self._i)
        self.buffers[operand.buffer][:, row : row + 1, *self._place(operand)] = values
        self._written[operand.buffer][row] = True

    def _place(self, operand: Slab) -> tuple[slice, slice]:
        held = self.tile.buffer[operand.buffer]
        (x0, x1), (c0, c1) = self.tile.cols(operand), self.tile.chans(operand)
        return slice(x0 - held.cols[0], x1 - held.cols[0]), slice(c0 - held.chans[0], c1 - held.chans[0])

    def _check(self, buffer: str, first: int, last: int) -> None:
        missing = np.flatnonzero(~self._written[buffer][first:last])
        if missing.size or first < 0:
            row = first + int(missing[0]) if missing.size else first
            raise ProgramError(f"tile {self.tile.number}: row {row} of {buffer} is read before it is written")

    def patches(self, dst: Slab, src: str, window: str) -> Array:
        """[images, 1, columns, taps, channels] for the channels of ``dst``."""
        held = self.tile.buffer[src]
        c0, c1 = self.chans(dst)
        g = self._geometry(dst, src, window, (c0 - held.chans[0], c1 - held.chans[0]))
        return taps(self.buffers[src], g)

    def _geometry(self, dst: Slab, src: str, window: str, chans: Range) -> WindowGeometry:
        held, w = self.tile.buffer[src], self.tile.window[window]
        row = dst.row.at(self._i)
        self._check(src, *w.rows(row, held.rows))
        return WindowGeometry.of(w, (row, 1, 1), self.tile.cols(dst), (0, held.cols[0]), chans)

    def patches_count(self, dst: Slab, src: str, window: str) -> Array:
        """Taps of each window that lie inside the tensor."""
        held, w = self.tile.buffer[src], self.tile.window[window]
        inside = np.ones((1, held.rows, held.width, 1), np.uint8)
        row = dst.row.at(self._i)
        g = WindowGeometry.of(w, (row, 1, 1), self.tile.cols(dst), (0, 0), (0, 1))
        return _count(inside, g)

    def dot(self, dst: Slab, src: str, window: str, group: str) -> Array:
        """i32 [images, 1, columns, channels]."""
        g = self.tile.group[group]
        layer = _layer(self.program, LayerPart.of(g), self._model)
        held, w = self.tile.buffer[src], self.tile.window[window]
        per_group = layer.channels_per_group(w.kernel[0] * w.kernel[1])
        chans = (0, held.chans[1] - held.chans[0])
        if layer.weights.groups > 1:
            chans = (g.groups[0] * per_group - held.chans[0], g.groups[1] * per_group - held.chans[0])
        geometry = self._geometry(dst, src, window, chans)
        every = taps(self.buffers[src], geometry)
        n, _, cols, count, _ = every.shape
        split = (
            every.reshape(n * cols, count, layer.groups, -1).transpose(0, 2, 1, 3).reshape(n * cols, layer.groups, -1)
        )
        vectors = np.ascontiguousarray(split if layer.rounds else split[..., g.k[0] : g.k[1]])
        self._look(layer, vectors, g, dst)
        if layer.analog is not None:
            sums = layer.noisy(vectors, self._numbers(dst))
        elif layer.rounds is not None:
            sums = layer.rounds.sliced(vectors[:, 0])
        elif layer.exact:
            sums = np.einsum("mgk,gkn->mgn", vectors.astype(np.int64), layer.w().astype(np.int64)).astype(np.int32)
            sums = layer.lifted(sums.reshape(len(sums), -1))
        else:
            sums = layer.sliced(vectors)
        return np.asarray(sums).reshape(n, 1, cols, -1)

    def _look(self, layer: Layer, vectors: Array, g: Group, dst: Slab) -> None:
        """Count what the data of one row decide of actions."""
        measures = group_measures(self.program, g) if self._counts else frozenset()
        if not measures:
            return
        seen = observe(layer, vectors, measures, lambda: self._numbers(dst)).whole(self.program, g)
        before = self.tallies.get(self._position)
        self.tallies[self._position] = seen if before is None else before + seen

    def _numbers(self, dst: Slab) -> Array:
        """The numbers of the positions of a row part, which noise depends on."""
        image = np.arange(self._first, self._first + self.images)[:, None]
        return position_numbers(image, np.array([[dst.row.at(self._i)]]), np.arange(*self.tile.cols(dst))[None]).ravel()

    def tensor(self, name: str) -> Array:
        """A tensor of the program."""
        return np.asarray(self.program.tensors[name])

    def chans(self, operand: Slab) -> Range:
        """Absolute channels of a slab."""
        return self.tile.chans(operand)

    def receive(self, channel: str, dst: Slab, until: RowExpr, rows: RowRange) -> None:
        """Move the next message into its row (a ``recv`` is run row by row)."""
        message = self._arrived.get(channel, 0)
        row = rows.within(self.tile.buffer[dst.buffer].rows)[message]
        self.buffers[dst.buffer][:, row, *self._place(dst)] = self.inbox[channel].pop(0)
        self._written[dst.buffer][row] = True
        self._arrived[channel] = message + 1

    def send(self, channel: str, src: Slab, rows: RowRange) -> None:
        """Hand one row part to the network (those of other rows are not run)."""
        self.deliver(channel, self.read(src)[:, 0].copy())

    def call(self, name: str, row: RowExpr | None = None) -> None:
        """Run a host call."""
        if row is not None:
            self._call_row(name, row.at(self._i))
            return
        made, sent = OrtCall(self.program, self.tile, self.tile.call[name])(self.buffers, self.ports)
        for buffer, value in made.items():
            self.buffers[buffer][...] = value
            self._written[buffer][:] = True
        self.results.update(sent)

    def _call_row(self, name: str, row: int) -> None:
        call = self.tile.call[name]
        for _, place in call.inputs:
            self._check(place, row, row + 1)
        rows = {place: self.buffers[place][:, row : row + 1] for _, place in call.inputs}
        for place, value in OrtCall(self.program, self.tile, call, rows=True).by_row(rows).items():
            self.buffers[place][:, row : row + 1] = value
            self._written[place][row] = True


def _count(inside: Array, g: WindowGeometry) -> Array:
    """Taps inside the tensor, whatever the padding value is."""
    unpadded = WindowGeometry(g.out, g.origin, g.kernel, g.step, g.dilation, g.chans, 0)
    return np.asarray(taps(inside, unpadded).sum(axis=3, dtype=np.float32))


_LAYERS: dict[tuple[int, LayerPart, int], tuple[Program, AnalogModel | None, Layer]] = {}


def _layer(program: Program, part: LayerPart, model: AnalogModel | None) -> Layer:
    """Layers of the program in use (one program at a time is kept)."""
    key = (id(program), part, id(model))
    if key not in _LAYERS:
        if _LAYERS and next(iter(_LAYERS))[0] != id(program):
            _LAYERS.clear()
        _LAYERS[key] = (program, model, Layer(program, part, model=model))
    return _LAYERS[key][2]


def run_tiles(
    program: Program,
    numbers: tuple[int, ...],
    arriving: Mapping[str, Array],
    ports: Mapping[str, Array],
    images: int,
    model: AnalogModel | None = None,
    first: int = 0,
    counts: bool = False,
) -> tuple[dict[int, RowwiseTile], dict[str, Array]]:
    """Run some tiles to their end. ``arriving``: messages [images, rows, columns, channels] of channels from outside.

    Returns the tiles with their buffers, and the messages of every channel they sent to. Raises DeadlockError where
    all of them wait.
    """
    tiles = {n: RowwiseTile(program, program.tile[n], images, ports, model, first, counts) for n in numbers}
    sent: dict[str, list[Array]] = {}

    def deliver(channel: str, message: Array) -> None:
        sent.setdefault(channel, []).append(message)
        for dest in program.channel[channel].dests:
            if dest in tiles:
                tiles[dest].inbox.setdefault(channel, []).append(message)

    for number, tile in tiles.items():
        tile.deliver = deliver
        for channel, messages in arriving.items():
            if number in program.channel[channel].dests:
                tile.inbox[channel] = [messages[:, n] for n in range(messages.shape[1])]
    _until_done(tiles)
    return tiles, {channel: np.stack(messages, axis=1) for channel, messages in sent.items()}


def _until_done(tiles: dict[int, RowwiseTile]) -> None:
    """Let tiles advance in turn until all have ended."""
    while not all(t.done for t in tiles.values()):
        if not any([t.advance() for t in tiles.values()]):
            names = ", ".join(f"tile {n} for channel {t.waits_for()}" for n, t in tiles.items() if not t.done)
            raise DeadlockError(f"every tile waits: {names}\nsome rows are received that nobody sends")
