"""One builder per kind of operation: it looks everything up once and returns a function of the frame."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from pimc_isa.engines.kernels.epilogue import requantise_into
from pimc_isa.engines.kernels.pointwise import add_into, look_up, multiply, window_max, window_sum
from pimc_isa.engines.kernels.windows import WindowGeometry, taps
from pimc_isa.engines.noise import Noise, add_lumped
from pimc_isa.engines.values.content import Content, extent
from pimc_isa.engines.values.hostcall import OrtCall
from pimc_isa.engines.values.operations import (
    CallOp,
    DotOp,
    GenericOp,
    LutOp,
    Operation,
    PairOp,
    PoolOp,
    QuantOp,
    Region,
    TilesOp,
)
from pimc_isa.engines.values.plan import Call, Frame, Index, ValuePlan, ValuePlanner, WindowSource, geometry
from pimc_isa.engines.values.rowwise import run_tiles
from pimc_isa.engines.values.share import Shared
from pimc_isa.engines.values.sums import summer
from pimc_isa.engines.values.tallies import add_tally, emit_counting
from pimc_isa.engines.values.whole import WholeRows
from pimc_isa.errors import ProgramError
from pimc_isa.instructions import Add, Mul
from pimc_isa.numerics import average_taps
from pimc_isa.operands import Requant
from pimc_isa.program import Program

__all__ = ["make_plan"]

Array = np.ndarray


def make_plan(
    program: Program, shared: Shared, kept: Iterable[Content], prove: bool, noise: Noise | None = None
) -> tuple[ValuePlan, ValuePlanner]:
    """Compile all operations that outputs or ``kept`` contents need; without ``prove`` every slice is computed."""
    planner = ValuePlanner(program, shared, kept, prove, noise)
    for op in planner.operations:
        compile_operation(planner, op)
    return planner.finish(), planner


def compile_operation(p: ValuePlanner, op: Operation) -> None:
    """Append the calls of one operation to the plan."""
    match op:
        case DotOp():
            emit_counting(p, op)
            _dot(p, op)
        case QuantOp():
            _quant(p, op)
        case LutOp():
            _lut(p, op)
        case PairOp():
            _pair(p, op)
        case PoolOp():
            _pool(p, op)
        case GenericOp():
            _generic(p, op)
        case CallOp():
            _call(p, op)
        case TilesOp():
            _tiles(p, op)


def _array(frame: Frame, value: int, index: Index | None) -> Array:
    array = frame.get(value)
    return array if index is None else array[index]


# ---- matrix ----


def _dot(p: ValuePlanner, op: DotOp) -> None:
    """Sums as a value of their own; where requantisation is the only reader it makes them itself."""
    if op.out in p.fused:
        return
    region = p.values[op.out].region
    sums = summer(p, op, region)
    base = p.operand(op.base, region) if op.base else None

    def call(frame: Frame) -> None:
        out = np.empty((frame.images, *region.shape), np.int32)
        flat = out.reshape(-1, region.shape[2])
        for first, last, block in sums(frame):
            flat[first:last] = block
        if base is not None:
            out += _array(frame, *base)
        frame.arrays[op.out] = out

    p.emit(call, [op.out], f"dot {op.part.weights}")


def _quant(p: ValuePlanner, op: QuantOp) -> None:
    region = p.values[op.out].region
    q = op.requant
    multiplier, bias = _parameters(p, q, op.first_channel, region.shape[2])
    dot = p.fused_dot(op)
    if p.noise is not None and p.noise.sinad_db is not None and p.sums_products(op):
        _noisy_quant(p, op, p.noise, multiplier, bias)
        return
    if dot is not None:
        sums = summer(p, dot, p.values[dot.out].region)

        def fused(frame: Frame) -> None:
            out = np.empty((frame.images, *region.shape), np.uint8)
            flat = out.reshape(-1, region.shape[2])
            for first, last, block in sums(frame):
                requantise_into(block, multiplier, bias, q.zero, q.lo, q.hi, flat[first:last])
            frame.arrays[op.out] = out

        p.emit(fused, [op.out], f"dot+quant {dot.part.weights}")
        return
    source = p.operand(op.src, region)

    def call(frame: Frame) -> None:
        out = np.empty((frame.images, *region.shape), np.uint8)
        sums = np.ascontiguousarray(_array(frame, *source)).reshape(-1, region.shape[2])
        requantise_into(sums, multiplier, bias, q.zero, q.lo, q.hi, out.reshape(sums.shape))
        frame.arrays[op.out] = out

    p.emit(call, [op.out], "quant")


def _noisy_quant(p: ValuePlanner, op: QuantOp, noise: Noise, multiplier: Array, bias: Array) -> None:
    """Requantisation of whole images, whose largest sum sets the lumped noise."""
    region, q = p.values[op.out].region, op.requant
    dot = p.fused_dot(op)
    sums = None if dot is None else summer(p, dot, p.values[dot.out].region)
    source = None if dot is not None else p.operand(op.src, region)
    chans = np.arange(op.first_channel, op.first_channel + region.shape[2])

    def call(frame: Frame) -> None:
        shape = (frame.images, *region.shape)
        if source is not None:
            exact = _array(frame, *source)
        else:
            assert sums is not None
            exact = np.empty(shape, np.int32)
            flat = exact.reshape(-1, region.shape[2])
            for first, last, block in sums(frame):
                flat[first:last] = block
        at = region.rows, np.arange(*region.cols), chans
        noisy = add_lumped(noise, q.data, np.asarray(exact).reshape(shape), (multiplier, bias), frame.first, at)
        out = np.empty(shape, np.uint8)
        requantise_into(noisy.reshape(-1, shape[3]), multiplier, bias, q.zero, q.lo, q.hi, out.reshape(-1, shape[3]))
        frame.arrays[op.out] = out

    p.emit(call, [op.out], "noise+quant")


def _parameters(p: ValuePlanner, q: Requant, first: int, count: int) -> tuple[Array, Array]:
    """Multiplier f32 and bias i32 of each channel."""
    result = []
    for name, dtype in (("multiplier", np.float32), ("bias", np.int32)):
        data = np.asarray(p.program.tensors[f"{q.data}.{name}"])
        part = data[first : first + count] if data.size > 1 else np.repeat(data.reshape(-1), count)
        if part.size != count:
            raise ProgramError(
                f"{q.data}.{name} has {data.size} channels, but channels up to {first + count} are needed"
            )
        result.append(np.ascontiguousarray(part, dtype))
    return result[0], result[1]


# ---- vector ----


def _lut(p: ValuePlanner, op: LutOp) -> None:
    region = p.values[op.out].region
    source = p.operand(op.src, region, True)
    table = np.asarray(p.program.tensors[op.table])

    def call(frame: Frame) -> None:
        x = _array(frame, *source)
        frame.arrays[op.out] = _spread(look_up(table, x, region.chans), frame, region)

    p.emit(call, [op.out], "lut")


def _spread(array: Array, frame: Frame, region: Region) -> Array:
    """The array at full size, where a single row or column stood for many."""
    shape = (frame.images, *region.shape)
    return array if array.shape == shape else np.ascontiguousarray(np.broadcast_to(array, shape))


def _pair(p: ValuePlanner, op: PairOp) -> None:
    region = p.values[op.out].region
    a, b = p.operand(op.a, region, True), p.operand(op.b, region, True)
    scales, fast, compute = op.scales, op.instr is Add, multiply if op.instr is Mul else op.instr.compute

    def call(frame: Frame) -> None:
        left, right = _array(frame, *a), _array(frame, *b)
        if fast and left.shape == right.shape == (frame.images, *region.shape):
            out = np.empty(left.shape, np.uint8)
            add_into(np.ascontiguousarray(left), np.ascontiguousarray(right), scales, out)
        else:
            out = _spread(compute(left, right, scales), frame, region)
        frame.arrays[op.out] = out

    p.emit(call, [op.out], op.instr.mnemonic)


def _pool(p: ValuePlanner, op: PoolOp) -> None:
    region = p.values[op.out].region
    source = p.window_source(op.x, op.size, region.chans)
    g = geometry(source, op.window, region, region.chans)
    call = _average(op, source, g, region) if op.kind == "pool.avg" else _fold(op, source, g)
    p.emit(call, [op.out], op.kind)


def _fold(op: PoolOp, source: WindowSource, g: WindowGeometry) -> Call:
    fold = window_max if op.kind == "pool.max" else window_sum

    def call(frame: Frame) -> None:
        frame.arrays[op.out] = fold(frame.get(source.value), g)

    return call


def _average(op: PoolOp, source: WindowSource, g: WindowGeometry, region: Region) -> Call:
    scales = op.scales
    assert scales is not None
    inside = np.ones((1, *op.size, 1), np.uint8)
    whole = WindowSource(0, 0, 0, 0)
    counted = geometry(whole, op.window, region, (0, 1))
    unpadded = WindowGeometry(counted.out, counted.origin, g.kernel, g.step, g.dilation, (0, 1), 0)
    counts = taps(inside, unpadded).sum(axis=3, dtype=np.float32)

    def call(frame: Frame) -> None:
        frame.arrays[op.out] = average_taps(taps(frame.get(source.value), g), counts, scales)

    return call


# ---- everything else ----


def _generic(p: ValuePlanner, op: GenericOp) -> None:
    """An instruction this engine has no kernel for: its declared meaning on all rows at once."""
    region = p.values[op.out].region
    tile = p.program.tile[op.step[0]]
    slabs = {slab: p.operand(content, region) for slab, content in op.slabs.items()}
    sizes = {b.name: (b.rows, b.width) for b in tile.buffers}
    chans = {b.name: b.chans for b in tile.buffers}
    sources = {name: p.window_source(content, sizes[name], chans[name]) for name, content in op.sources.items()}

    def call(frame: Frame) -> None:
        reads = {slab: _array(frame, *where) for slab, where in slabs.items()}
        arrays = {name: (frame.get(s.value), s) for name, s in sources.items()}
        meaning = WholeRows(p.program, tile, region, reads, arrays, p.layer, frame.first, frame.counts)
        op.instr.execute(meaning)
        for tally in meaning.tallies:
            add_tally(frame.tallies, op.step, tally)
        frame.arrays[op.out] = _spread(meaning.result(), frame, region)

    p.emit(call, [op.out], op.instr.mnemonic)


def _call(p: ValuePlanner, op: CallOp) -> None:
    tile = p.program.tile[op.tile]
    host = OrtCall(p.program, tile, tile.call[op.name], rows=op.rows is not None)
    feeds = {}
    for place, content in op.feeds.items():
        b = tile.buffer[place]
        rows = np.arange(b.rows) if op.rows is None else op.rows
        feeds[place] = p.operand(content, Region.of(rows, b.cols, b.chans))

    def call(frame: Frame) -> None:
        buffers = {place: _array(frame, *where) for place, where in feeds.items()}
        made, sent = host(buffers, frame.ports) if op.rows is None else (host.by_row(buffers), {})
        for place, value in op.made.items():
            frame.arrays[value] = made[place]
        frame.outputs.update(sent)

    p.emit(call, list(op.made.values()), f"call {op.name}")


def _messages(p: ValuePlanner, content: Content) -> tuple[int, Index | None]:
    (_, rows), cols, chans = extent(content)
    return p.operand(content, Region(0, 1, rows, cols, chans))


def _tiles(p: ValuePlanner, op: TilesOp) -> None:
    arriving = {name: _messages(p, content) for name, content in op.arriving.items() if content}

    def call(frame: Frame) -> None:
        messages = {name: _array(frame, *where) for name, where in arriving.items()}
        how = frame.images, p.model, frame.first, frame.counts
        tiles, sent = run_tiles(p.program, op.tiles, messages, frame.ports, *how)
        for name, value in op.channels.items():
            frame.arrays[value] = sent[name]
        for (number, buffer), value in op.buffers.items():
            frame.arrays[value] = tiles[number].buffers[buffer]
        for number, tile in tiles.items():
            frame.outputs.update(tile.results)
            for position, tally in tile.tallies.items() if frame.counts else ():
                add_tally(frame.tallies, (number, position), tally)

    p.emit(call, [*op.channels.values(), *op.buffers.values()], "tiles row by row")
