"""Static instructions of a tile with all their iterations: which rows they touch, and when in the stream.

"When" is the place in the tile's sequential stream, not a cycle: the values engine knows no timing.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from pimc_isa.define import Instr, fields_of
from pimc_isa.errors import ProgramError
from pimc_isa.instructions import CallRow, HostWork, Recv, Send, blocks
from pimc_isa.operands import Range, RowExpr, Slab
from pimc_isa.program import Program, Tile

__all__ = ["Read", "Step", "StepId", "TileTrace", "Write", "trace_tile"]

Array = np.ndarray
StepId = tuple[int, int]  # tile number, position in its code
NEVER = np.iinfo(np.int64).max


@dataclass(frozen=True)
class Step:
    """One instruction of the code with its iterations: iteration i happens at ``start + i * stride``."""

    id: StepId
    instr: Instr
    trips: int
    start: int
    stride: int

    def rows(self, expr: RowExpr) -> Array:
        """The row of each iteration."""
        return (expr.a * np.arange(self.trips) + expr.b) // expr.d

    @cached_property
    def times(self) -> Array:
        """The place in the stream of each iteration."""
        return self.start + self.stride * np.arange(self.trips)


@dataclass(frozen=True, eq=False)
class Write:
    """A step writes ``rows`` (no row twice) at ``times``; ``when[r]`` is the time of row r, -1 where not written."""

    step: StepId
    buffer: str
    rows: Array
    when: Array
    cols: Range
    chans: Range


@dataclass(frozen=True, eq=False)
class Read:
    """A step reads a buffer: row r is read between ``first[r]`` and ``last[r]`` (``first`` is NEVER where not read)."""

    step: StepId
    operand: str
    buffer: str
    first: Array
    last: Array
    cols: Range
    chans: Range


@dataclass(frozen=True)
class TileTrace:
    """A tile's steps and accesses. ``scratch``: some step writes a row twice, or rows at uneven distances."""

    tile: Tile
    steps: dict[StepId, Step]
    writes: dict[str, list[Write]]
    reads: list[Read]
    messages: dict[str, list[tuple[StepId, Array, Array]]]  # per channel sent to: step, source rows, times
    taken: dict[StepId, Array]  # per recv: the message of each row that it writes
    scratch: bool


def trace_tile(program: Program, tile: Tile) -> TileTrace:
    """Follow a tile's stream once, without values."""
    trace = TileTrace(tile, {s.id: s for s in _steps(tile)}, {}, [], {}, {}, False)
    rewrites = False
    takers: dict[str, list[Step]] = {}
    for step in trace.steps.values():
        instr = step.instr
        if isinstance(instr, Recv):
            takers.setdefault(instr.channel, []).append(step)
            continue
        if isinstance(instr, Send):
            _sending(trace, step, instr)
            continue
        if isinstance(instr, HostWork):
            rewrites |= _call_accesses(trace, step, instr)
            continue
        rewrites |= _accesses(trace, step)
    for steps in takers.values():
        _receipts(trace, steps)
    return TileTrace(tile, trace.steps, trace.writes, trace.reads, trace.messages, trace.taken, rewrites)


def _steps(tile: Tile) -> list[Step]:
    """The instructions that do something, with their places in the unrolled stream; a loop's end takes one too."""
    result: list[Step] = []
    clock = 0
    for block in blocks(tile.code):
        length = len(block.positions) + 1 if block.looped else 1
        for n, at in enumerate(block.positions, start=clock + block.looped):
            result.append(Step((tile.number, at), tile.code[at], block.times, n, length))
        clock += length * block.times if block.looped else len(block.positions)
    return result


def _accesses(trace: TileTrace, step: Step) -> bool:
    """Record slab and window operands; returns whether its rows repeat or are uneven."""
    tile, rewrites = trace.tile, False
    for name, spec in fields_of(type(step.instr)):
        value = getattr(step.instr, name)
        if spec.window:
            trace.reads.append(_window_read(trace, step, name, value, getattr(step.instr, spec.window)))
        elif spec.kind == "slab" and spec.access:
            rows, buffer = _rows_of(trace, step, value), tile.buffer[value.buffer]
            cols, chans = tile.cols(value), tile.chans(value)
            if "r" in spec.access:
                first, last = _spread(buffer.rows, rows, step.times)
                trace.reads.append(Read(step.id, name, buffer.name, first, last, cols, chans))
            if "w" in spec.access:
                when = np.full(buffer.rows, -1, np.int64)
                when[rows] = step.times
                rewrites |= not _is_progression(rows)
                write = Write(step.id, buffer.name, rows, when, cols, chans)
                trace.writes.setdefault(buffer.name, []).append(write)
    return rewrites


def _rows_of(trace: TileTrace, step: Step, operand: Slab) -> Array:
    """The row of a slab in each iteration. Raises ProgramError if its buffer does not have them."""
    rows, buffer = step.rows(operand.row), trace.tile.buffer[operand.buffer]
    if rows.min() < 0 or rows.max() >= buffer.rows:
        raise ProgramError(f"tile {trace.tile.number}, instruction {step.id[1]}: rows outside buffer {buffer.name}")
    return rows


def _sending(trace: TileTrace, step: Step, instr: Send) -> None:
    """Record what the iterations whose row lies in the range send and read."""
    buffer, src = trace.tile.buffer[instr.src.buffer], instr.src
    rows, sent = _rows_of(trace, step, src), instr.rows.within(buffer.rows)
    mine = np.array([row in sent for row in rows.tolist()], bool)
    if mine.any():
        rows, times = rows[mine], step.times[mine]
        trace.messages.setdefault(instr.channel, []).append((step.id, rows, times))
        first, last = _spread(buffer.rows, rows, times)
        trace.reads.append(Read(step.id, "src", buffer.name, first, last, trace.tile.cols(src), trace.tile.chans(src)))


def _window_read(trace: TileTrace, step: Step, name: str, source: str, window_name: str) -> Read:
    tile = trace.tile
    buffer, window = tile.buffer[source], tile.window[window_name]
    first, last = np.full(buffer.rows, NEVER, np.int64), np.full(buffer.rows, -1, np.int64)
    dst = step.instr.destination
    times = step.times
    for i, row in enumerate(step.rows(dst.row)):
        top, bottom = window.rows(int(row), buffer.rows)
        np.minimum(first[top:bottom], times[i], out=first[top:bottom])
        last[top:bottom] = times[i]
    cols = window.cols(tile.cols(dst), buffer.width)
    if cols[0] == cols[1]:  # every window lies beside the tensor, in the padding
        first = np.full_like(first, NEVER)
    return Read(step.id, name, buffer.name, first, last, cols, buffer.chans)


def _call_accesses(trace: TileTrace, step: Step, instr: HostWork) -> bool:
    """Record the buffers of a call, whole or by rows; returns whether its rows repeat or are uneven."""
    call, rewrites = trace.tile.call[instr.call], False
    for pairs, writes in ((call.inputs, False), (call.outputs, True)):
        for b in [trace.tile.buffer[place] for _, place in pairs if not place.startswith("$")]:
            rows = step.rows(instr.row) if isinstance(instr, CallRow) else np.arange(b.rows)
            times = step.times if isinstance(instr, CallRow) else np.full(b.rows, step.times[0], np.int64)
            if writes:
                when = np.full(b.rows, -1, np.int64)
                when[rows] = times
                rewrites |= not _is_progression(rows)
                trace.writes.setdefault(b.name, []).append(Write(step.id, b.name, rows, when, b.cols, b.chans))
            else:
                first, last = _spread(b.rows, rows, times)
                trace.reads.append(Read(step.id, b.name, b.name, first, last, b.cols, b.chans))
    return rewrites


def _receipts(trace: TileTrace, steps: list[Step]) -> None:
    """Which messages each recv of one channel takes, into which rows: counts run on over all in stream order."""
    events = sorted((int(t), n, i) for n, s in enumerate(steps) for i, t in enumerate(s.times))
    instrs = [s.instr for s in steps]
    until = []
    for s, instr in zip(steps, instrs, strict=True):
        assert isinstance(instr, Recv)
        below = np.clip(s.rows(instr.until), 0, trace.tile.buffer[instr.dst.buffer].rows).tolist()
        until.append([len(instr.rows.within(row)) for row in below])
    taken: list[list[int]] = [[] for _ in steps]
    times: list[list[int]] = [[] for _ in steps]
    arrived = 0
    for t, n, i in events:
        for message in range(arrived, until[n][i]):
            taken[n].append(message)
            times[n].append(t)
        arrived = max(arrived, until[n][i])
    for n, (s, instr) in enumerate(zip(steps, instrs, strict=True)):
        assert isinstance(instr, Recv)
        dst, messages = instr.dst, np.array(taken[n], np.int64)
        rows = instr.rows.first + instr.rows.step * messages
        when = np.full(trace.tile.buffer[dst.buffer].rows, -1, np.int64)
        when[rows] = times[n]
        trace.taken[s.id] = messages
        write = Write(s.id, dst.buffer, rows, when, trace.tile.cols(dst), trace.tile.chans(dst))
        trace.writes.setdefault(dst.buffer, []).append(write)


def _is_progression(rows: Array) -> bool:
    """Whether the rows are all different and evenly spaced."""
    gaps = np.diff(np.sort(rows))
    return bool(len(gaps) == 0 or (gaps[0] > 0 and (gaps == gaps[0]).all()))


def _spread(height: int, rows: Array, times: Array) -> tuple[Array, Array]:
    """First and last time each row is touched."""
    first, last = np.full(height, NEVER, np.int64), np.full(height, -1, np.int64)
    np.minimum.at(first, rows, times)
    np.maximum.at(last, rows, times)
    return first, last
