"""From operations to a list of calls on numpy arrays: fusion, views instead of copies, arrays freed after use."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from pimc_isa.crossbar.footprint import group_measures
from pimc_isa.element import U8, element
from pimc_isa.engines.dots.layer import Layer, LayerPart
from pimc_isa.engines.dots.model import analog_model
from pimc_isa.engines.kernels.windows import WindowGeometry
from pimc_isa.engines.noise import Noise
from pimc_isa.engines.values.content import Content, ContentPiece, content_key, extent
from pimc_isa.engines.values.operations import (
    CallOp,
    DotOp,
    Operation,
    QuantOp,
    Region,
    TilesOp,
    Value,
    contents_of,
    results_of,
)
from pimc_isa.engines.values.share import Shared
from pimc_isa.engines.values.trace import StepId
from pimc_isa.flow.use import Tally
from pimc_isa.operands import Range, Window
from pimc_isa.program import Program

__all__ = ["Call", "Frame", "Index", "PlannedCall", "Scratch", "ValuePlan", "ValuePlanner", "WindowSource", "geometry"]

Array = np.ndarray


class Scratch:
    """Working memory shared by all calls of a plan; grows to the largest request."""

    def __init__(self) -> None:
        self._bytes = np.empty(0, np.uint8)

    def take(self, size: int) -> Array:
        """At least ``size`` bytes; the content is lost at the next request."""
        if self._bytes.size < size:
            self._bytes = np.empty(size, np.uint8)
        return self._bytes


class Frame:
    """One run: arrays by value number, the program's inputs for these images, outputs as they appear.

    ``first`` is the number of the first image, for noise. With ``counts``, ``tallies`` appear by tile and position in
    its code.
    """

    def __init__(
        self, count: int, images: int, ports: Mapping[str, Array], first: int = 0, counts: bool = False
    ) -> None:
        self.arrays: list[Array | None] = [None] * count
        self.images = images
        self.first = first
        self.ports = ports
        self.outputs: dict[str, Array] = {}
        self.counts = counts
        self.tallies: dict[StepId, Tally] = {}

    def get(self, value: int) -> Array:
        """The array of a value that has been computed and is still needed."""
        array = self.arrays[value]
        assert array is not None
        return array


Index = tuple[slice | Array, ...]
Call = Callable[[Frame], None]


@dataclass(frozen=True)
class PlannedCall:
    """One call, and the values nobody needs afterwards."""

    call: Call
    frees: tuple[int, ...]
    label: str = ""


@dataclass(frozen=True)
class WindowSource:
    """An array that windows look at: its value number and where its first element lies in the tensor."""

    value: int
    row: int
    col: int
    chan: int


@dataclass(frozen=True)
class ValuePlan:
    """Calls in order, the number of values, and the peak of live arrays' bytes for one image."""

    items: tuple[PlannedCall, ...]
    values: int
    bytes_per_image: int


class ValuePlanner:
    """Turns operations into calls. ``kept`` contents stay alive to the end."""

    def __init__(
        self, program: Program, shared: Shared, kept: Iterable[Content], prove: bool, noise: Noise | None = None
    ) -> None:
        self.program, self._prove, self.noise = program, prove, noise
        self.model = analog_model(program, noise)
        self.values: list[Value] = list(shared.holdings.values)
        self.scratch = Scratch()
        self.layers: dict[LayerPart, Layer] = {}
        self.kept = list(kept)
        self.operations = _needed(shared.operations, self.kept, self._measured)
        self.readers = _count_readers(self.operations, self.kept)
        self.maker = {v: op for op in self.operations for v in results_of(op)}
        self._assembled: dict[object, int] = {}
        self._pending: list[tuple[Call, list[int], list[int], str]] = []  # call, values read, values made, label
        self._reads: list[int] = []
        self.fused = {dot.out for op in self.operations if isinstance(op, QuantOp) and (dot := self.fused_dot(op))}

    def _measured(self, op: Operation) -> frozenset[StepId]:
        """The steps of an operation whose actions depend on data."""
        if not isinstance(op, DotOp) or not group_measures(self.program, op.part):
            return frozenset()
        return frozenset(member.step for member in op.members)

    def layer(self, part: LayerPart) -> Layer:
        """Weights of a part, decoded once."""
        if part not in self.layers:
            self.layers[part] = Layer(self.program, part, self._prove, self.model)
        return self.layers[part]

    # ---- operands ----

    def use(self, value: int) -> int:
        """Note that the call being built reads a value."""
        self._reads.append(value)
        return value

    def emit(self, call: Call, made: list[int], label: str) -> None:
        """Append a call with the values used since the last one."""
        self._pending.append((call, self._reads, made, label))
        self._reads = []

    def window_source(self, content: Content, size: tuple[int, int], chans: Range) -> WindowSource:
        """The array behind reads of windows over ``chans``: the value where it lies unmoved in the tensor, else a copy.

        Windows that all lie in the padding read nothing; theirs is one pixel that none of them meets.
        """
        if not content:
            return WindowSource(self.use(self._pixel(chans)), 0, 0, chans[0])
        if len(content) == 1:
            piece, region = content[0], self.values[content[0].value].region
            held = np.flatnonzero(piece.rows >= 0)
            shift = int(piece.rows[held[0]]) - int(held[0])
            unmoved = (piece.rows[held] - held == shift).all() and (region.step == 1 or region.count == 1)
            row, col = region.first - shift, region.cols[0] - piece.dcol
            inside = row >= 0 and row + region.count <= size[0] and col >= 0 and col + region.shape[1] <= size[1]
            if unmoved and inside:
                return WindowSource(self.use(piece.value), row, col, region.chans[0] - piece.dchan)
        value = self.assembled(content)
        (row, _), (col, _), (chan, _) = extent(content)
        return WindowSource(self.use(value), row, col, chan)

    def operand(self, content: Content, region: Region, broadcast: bool = False) -> tuple[int, Index | None]:
        """A value and the index that cuts ``region`` out of it (None: all of it).

        With ``broadcast``, one row may stand for many equal ones. A single column always does.
        """
        if len(content) != 1:
            value = self.assembled(content)
            (row, _), cols, chans = extent(content)
            rows = _index(region.rows - row, broadcast)
            made = self.values[value].region
            return self.use(value), _whole((rows, _cut(cols, cols[0]), _cut(chans, chans[0])), made)
        piece = content[0]
        made = self.values[piece.value].region
        sources = (piece.rows[region.rows] - made.first) // made.step
        cols = (piece.cols[0] + piece.dcol, piece.cols[1] + piece.dcol)
        chans = (piece.chans[0] + piece.dchan, piece.chans[1] + piece.dchan)
        index = (_index(sources, broadcast), _cut(cols, made.cols[0]), _cut(chans, made.chans[0]))
        return self.use(piece.value), _whole(index, made)

    def assembled(self, content: Content) -> int:
        """A value put together from pieces, made once for equal contents."""
        key = content_key(content)
        if key in self._assembled:
            return self._assembled[key]
        outer, self._reads = self._reads, []
        (r0, r1), cols, chans = extent(content)
        region = Region(r0, 1, r1 - r0, cols, chans)
        dtype = self.values[content[0].value].dtype
        self.values.append(Value(len(self.values), region, dtype))
        out = len(self.values) - 1
        pastes = [self._paste(piece, region) for piece in content]
        kind = element(dtype).storage

        def call(frame: Frame) -> None:
            array = np.zeros((frame.images, *region.shape), kind)
            for value, to, of in pastes:
                array[to] = frame.get(value)[of]
            frame.arrays[out] = array

        self.emit(call, [out], "assemble")
        self._reads = outer
        self._assembled[key] = out
        return out

    def _pixel(self, chans: Range) -> int:
        """One row and column of zeros."""
        region = Region(0, 1, 1, (0, 1), chans)
        self.values.append(Value(len(self.values), region, U8.name))
        out = len(self.values) - 1
        pending, self._reads = self._reads, []

        def call(frame: Frame) -> None:
            frame.arrays[out] = np.zeros((frame.images, *region.shape), np.uint8)

        self.emit(call, [out], "padding")
        self._reads = pending
        return out

    def _paste(self, piece: ContentPiece, region: Region) -> tuple[int, Index, Index]:
        value, held, of = self.cut(piece)
        rows = _index(held - region.first)
        to = (slice(None), rows, _cut(piece.cols, region.cols[0]), _cut(piece.chans, region.chans[0]))
        return self.use(value), to, of

    def cut(self, piece: ContentPiece) -> tuple[int, Array, Index]:
        """A piece's value, the rows it holds, and the index that cuts it out of the value."""
        made = self.values[piece.value].region
        held = np.flatnonzero(piece.rows >= 0)
        sources = (piece.rows[held] - made.first) // made.step
        cols = _cut(piece.cols, made.cols[0] - piece.dcol)
        chans = _cut(piece.chans, made.chans[0] - piece.dchan)
        return piece.value, held, (slice(None), _index(sources), cols, chans)

    def fused_dot(self, op: QuantOp) -> DotOp | None:
        """The dot product that only this requantisation reads, all of it, in place."""
        if len(op.src) != 1:
            return None
        piece = op.src[0]
        dot = self.maker.get(piece.value)
        if not isinstance(dot, DotOp) or self.readers[piece.value] != 1 or dot.base:
            return None
        made, wanted = self.values[dot.out].region, self.values[op.out].region
        rows = piece.rows[wanted.rows]
        moved = (made.cols[0] - piece.dcol, made.chans[0] - piece.dchan) != (wanted.cols[0], wanted.chans[0])
        if moved or made.shape != wanted.shape or not (rows == made.rows).all():
            return None
        return dot

    @property
    def lossy(self) -> bool:
        """Whether the sums may differ from integer dot products."""
        if self.noise is not None or self.model is not None:
            return True
        numbers = [n for op in self.operations if isinstance(op, TilesOp) for n in op.tiles]
        parts = {LayerPart.of(g) for n in numbers for g in self.program.tile[n].groups}
        return not all(self.layer(part).exact for part in {*self.layers, *parts})

    def sums_products(self, op: QuantOp) -> bool:
        """Whether a requantisation reads dot products (and not sums of pooling)."""
        return any(isinstance(self.maker.get(piece.value), DotOp) for piece in op.src)

    # ---- the result ----

    def finish(self) -> ValuePlan:
        """Order is that of emission; every value is freed after its last reader, dead ones at once."""
        last: dict[int, int] = {}
        for n, (_, reads, made, _) in enumerate(self._pending):
            for value in (*made, *reads):
                last[value] = n
        for content in self.kept:
            for piece in content:
                last[piece.value] = len(self._pending)
        frees: dict[int, list[int]] = {}
        for value, n in last.items():
            frees.setdefault(n, []).append(value)
        items = tuple(
            PlannedCall(call, tuple(frees.get(n, ())), label) for n, (call, _, _, label) in enumerate(self._pending)
        )
        return ValuePlan(items, len(self.values), self._peak(frees))

    def _peak(self, frees: Mapping[int, list[int]]) -> int:
        live = peak = 0
        for n, (_, _, made, _) in enumerate(self._pending):
            live += sum(self._bytes(v) for v in made)
            peak = max(peak, live)
            live -= sum(self._bytes(v) for v in frees.get(n, ()))
        return max(peak, 1)

    def _bytes(self, value: int) -> int:
        return self.values[value].region.elements * element(self.values[value].dtype).dtype.itemsize


def geometry(source: WindowSource, window: Window, region: Region, chans: Range) -> WindowGeometry:
    """Windows of a region's outputs over a source; ``chans`` are absolute channels of the tensor."""
    rows = (region.first, region.step, region.count)
    held = (chans[0] - source.chan, chans[1] - source.chan)
    return WindowGeometry.of(window, rows, region.cols, (source.row, source.col), held)


def _needed(
    operations: list[Operation], kept: list[Content], measured: Callable[[Operation], frozenset[StepId]]
) -> list[Operation]:
    """Operations that outputs or kept contents depend on. Host calls and row-wise tiles always run.

    So does what depends on data in its actions, unless a later operation looks at the same steps.
    """
    wanted = {piece.value for content in kept for piece in content}
    looked: set[StepId] = set()
    result: list[Operation] = []
    for op in reversed(operations):
        unseen = measured(op) - looked
        if isinstance(op, CallOp | TilesOp) or unseen or wanted & set(results_of(op)):
            result.append(op)
            looked |= unseen
            wanted |= {piece.value for content in contents_of(op) for piece in content}
    return result[::-1]


def _count_readers(operations: list[Operation], kept: list[Content]) -> dict[int, int]:
    count: dict[int, int] = {}
    for content in [c for op in operations for c in contents_of(op)] + kept:
        for piece in content:
            count[piece.value] = count.get(piece.value, 0) + 1
    return count


def _index(rows: Array, broadcast: bool = True) -> slice | Array:
    """Row numbers as a slice where they are evenly spaced upwards; with ``broadcast``, equal rows as one."""
    if len(rows) == 1 or (broadcast and (rows == rows[0]).all()):
        return slice(int(rows[0]), int(rows[0]) + 1)
    step = int(rows[1] - rows[0])
    if step > 0 and (np.diff(rows) == step).all():
        return slice(int(rows[0]), int(rows[-1]) + 1, step)
    return rows


def _cut(span: tuple[int, int], origin: int) -> slice:
    return slice(span[0] - origin, span[1] - origin)


def _whole(index: Index, region: Region) -> Index | None:
    """The index with the batch in front, or None where it takes everything."""
    for part, size in zip(index, region.shape, strict=True):
        if not isinstance(part, slice) or part.indices(size) != (0, size, 1):
            return (slice(None), *index)
    return None
