"""Flow hazards: rows that are read before they are written, or after their slot of the ring was written again.

A stream has sequential semantics, so this needs no timing: for each read, the last write to the row's slot before it
must have been of that row. All rows of a loop are looked at together; tiles with the same stream are looked at once.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from operator import itemgetter

import numpy as np

from pimc_isa.check.code import place
from pimc_isa.check.messages import is_sent, messages_by, rows_at
from pimc_isa.check.stream import executions
from pimc_isa.define import Context, Instr, fields_of
from pimc_isa.errors import ProgramError
from pimc_isa.instructions import CallHost, CallRow, Recv, Send, executed_instructions
from pimc_isa.limits import beyond
from pimc_isa.operands import ALL_ROWS, Buffer, Range, RowRange, Slab, Window
from pimc_isa.program import Tile

__all__ = ["RowChecker"]

Array = np.ndarray
_EACH = 64  # rows that are looked at in the time an instruction takes


@dataclass(frozen=True)
class _Access:
    """All executions of one read or write of an instruction in an image: when, and which rows of a region.

    Rows are those from ``first`` on, ``step`` apart, below ``stop``. ``brings``: the range of a ``recv``.
    """

    position: int
    buffer: str
    write: bool
    when: Array
    first: Array
    stop: Array
    cols: Range
    chans: Range
    brings: RowRange | None = None

    @property
    def step(self) -> int:
        """From one row to the next."""
        return 1 if self.brings is None else self.brings.step

    @property
    def counts(self) -> Array:
        """How many rows each execution touches."""
        return np.asarray(np.maximum(-(-(self.stop - self.first) // self.step), 0))


@dataclass(frozen=True)
class _Hazard:
    position: int
    row: int
    buffer: str
    holds: int = -1  # row in the slot, -1 if none
    lost: bool = False  # whether the row has been there
    before: int = -1  # position of the recv that has brought this part of the row already


class RowChecker:
    """Checks tiles; remembers the streams it has seen."""

    def __init__(self) -> None:
        self.known: dict[Hashable, _Hazard | None] = {}
        self.looked = 0

    def check(self, ctx: Context, where: str) -> None:
        """Raise ProgramError for the first hazard of a tile whose code is otherwise right."""
        tile = ctx.tile
        key = _key(ctx)
        if key not in self.known:
            self.known[key] = self._first_hazard(ctx, where)
        hazard = self.known[key]
        if hazard is None:
            return
        if hazard.before >= 0:
            raise ProgramError(
                f"{place(where, tile, hazard.position)}: brings row {hazard.row} of '{hazard.buffer}', "
                f"(a part of) which instruction {hazard.before} brings too"
            )
        slots = tile.buffer[hazard.buffer].slots
        why = "no earlier instruction has written (all of) it"
        if hazard.holds > hazard.row or hazard.lost:
            why = f"its slot holds row {hazard.holds} by then; the ring has {slots} slots"
        raise ProgramError(
            f"{place(where, tile, hazard.position)}: reads row {hazard.row} of '{hazard.buffer}', but {why}"
        )

    def _first_hazard(self, ctx: Context, where: str) -> _Hazard | None:
        tile = ctx.tile
        count = executed_instructions(tile) + _EACH * len(tile.code)
        self._refuse(where, count)
        accesses: dict[str, list[_Access]] = {}
        for access in _accesses(ctx):
            accesses.setdefault(access.buffer, []).append(access)
        grids = {name: _Grid(tile.buffer[name], a) for name, a in accesses.items()}
        for name, a in accesses.items():
            count += _EACH * sum(map(grids[name].cells_of, a))
        self._refuse(where, count)
        cells = [(tile.buffer[name], cell) for name, a in accesses.items() for cell in grids[name].cells(a, _merges(a))]
        count += sum(_work(cell) for _, cell in cells)
        self._refuse(where, count)
        self.looked += count
        found = [h for buffer, cell in cells for h in _cell_hazard(buffer, cell)]
        return min(found, key=lambda h: h[0])[1] if found else None

    def _refuse(self, where: str, count: int) -> None:
        """Refuse what would take too long, before it is looked at."""
        for limit, number in (("row accesses", count), ("all row accesses", self.looked + count)):
            problem = beyond(limit, "the number of rows that its instructions read and write", number)
            if problem:
                raise ProgramError(f"{where}: {problem}")


def _key(ctx: Context) -> Hashable:
    """What the hazards of a tile depend on; channels by order of first use, columns and channels by their order only.

    So strips of one layer are looked at once.
    """
    tile = ctx.tile
    channels: dict[str, int] = {}
    code: list[Hashable] = []
    touched: list[tuple[str, Range, Range]] = [(b.name, b.cols, b.chans) for b in tile.buffers]
    for instr in tile.code:
        code.append(instr.mnemonic)
        for name, spec in fields_of(type(instr)):
            value = getattr(instr, name)
            if spec.kind == "slab":
                code.append((value.buffer, value.row))
                touched.append((value.buffer, *_region(tile, value)))
            elif spec.window:
                window = tile.window[getattr(instr, spec.window)]
                cols = window.cols(_region(tile, instr.destination)[0], tile.buffer[value].width)
                code.append((value, window.kernel[0], window.stride[0], window.pads[0], window.dilation[0]))
                touched.append((value, cols, instr.window_chans(ctx)))
            elif spec.space == "channel":
                code.append(channels.setdefault(value, len(channels)))
            elif not spec.space:
                code.append(value)
            elif spec.space == "call":
                code.append(tile.call[value])
    buffers = tuple((b.name, b.rows, b.slots) for b in tile.buffers)
    return buffers, tuple(code), _ranked(touched)


def _ranked(touched: list[tuple[str, Range, Range]]) -> tuple[int, ...]:
    """The ranges' edges as their places among all edges in the same buffer."""
    edges: dict[tuple[str, int], set[int]] = {}
    for buffer, *ranges in touched:
        for axis, span in enumerate(ranges):
            edges.setdefault((buffer, axis), set()).update(span)
    ranks = {key: {edge: n for n, edge in enumerate(sorted(found))} for key, found in edges.items()}
    return tuple(
        ranks[buffer, axis][e] for buffer, *ranges in touched for axis, span in enumerate(ranges) for e in span
    )


# ---- what an image's executions read and write ----


def _accesses(ctx: Context) -> Iterator[_Access]:
    tile = ctx.tile
    received: dict[str, list[tuple[int, Recv, Array, Array]]] = {}
    for position, instr, when, i in executions(tile):
        if isinstance(instr, Recv):
            received.setdefault(instr.channel, []).append((position, instr, when, messages_by(tile, instr, i)))
        elif isinstance(instr, Send):
            yield _sent_access(tile, position, instr, when, i)
        elif isinstance(instr, CallHost):
            yield from _call_accesses(tile, position, instr, when)
        elif isinstance(instr, CallRow):
            yield from _call_row_accesses(tile, position, instr, when, i)
        else:
            yield from _field_accesses(ctx, position, instr, when, i)
    for recvs in received.values():
        yield from _recv_accesses(tile, recvs)


def _field_accesses(ctx: Context, position: int, instr: Instr, when: Array, i: Array) -> Iterator[_Access]:
    tile = ctx.tile
    for name, spec in fields_of(type(instr)):
        value = getattr(instr, name)
        if spec.kind == "slab" and spec.access:
            first, (cols, chans) = rows_at(value.row, i), _region(tile, value)
            for write in (False, True):
                if "rw"[write] in spec.access:
                    yield _Access(position, value.buffer, write, when, first, first + 1, cols, chans)
        elif spec.window:
            held, window = tile.buffer[value], tile.window[getattr(instr, spec.window)]
            first, stop = _window_rows(window, rows_at(instr.destination.row, i), held.rows)
            cols = window.cols(_region(tile, instr.destination)[0], held.width)
            yield _Access(position, value, False, when, first, stop, cols, instr.window_chans(ctx))


def _region(tile: Tile, slab: Slab) -> tuple[Range, Range]:
    held = tile.buffer[slab.buffer]
    return slab.cols or held.cols, slab.chans or held.chans


def _window_rows(window: Window, out: Array, height: int) -> tuple[Array, Array]:
    """``Window.rows`` for many output rows."""
    first = out * window.stride[0] - window.pads[0]
    last = first + (window.kernel[0] - 1) * window.dilation[0] + 1
    return np.clip(first, 0, height), np.clip(last, 0, height)


def _sent_access(tile: Tile, position: int, instr: Send, when: Array, i: Array) -> _Access:
    """A row that is not sent is not read."""
    first, sent = rows_at(instr.src.row, i), is_sent(tile, instr, i)
    return _Access(position, instr.src.buffer, False, when, first, first + sent, *_region(tile, instr.src))


def _call_accesses(tile: Tile, position: int, instr: CallHost, when: Array) -> Iterator[_Access]:
    call = tile.call[instr.call]
    for pairs, write in ((call.inputs, False), (call.outputs, True)):
        for _, name in pairs:
            if name in tile.buffer:
                b = tile.buffer[name]
                first = np.zeros(len(when), np.int64)
                yield _Access(position, name, write, when, first, first + b.rows, b.cols, b.chans)


def _call_row_accesses(tile: Tile, position: int, instr: CallRow, when: Array, i: Array) -> Iterator[_Access]:
    call, first = tile.call[instr.call], rows_at(instr.row, i)
    for pairs, write in ((call.inputs, False), (call.outputs, True)):
        for b in (tile.buffer[name] for _, name in pairs):
            yield _Access(position, b.name, write, when, first, first + 1, b.cols, b.chans)


def _recv_accesses(tile: Tile, recvs: list[tuple[int, Recv, Array, Array]]) -> Iterator[_Access]:
    """All receptions from one channel: the n-th message of the image is the n-th row of the range."""
    when = np.concatenate([w for _, _, w, _ in recvs])
    order = np.argsort(when)
    have = np.maximum.accumulate(np.concatenate([u for *_, u in recvs])[order])
    first, stop = np.empty_like(have), np.empty_like(have)
    first[order], stop[order] = np.concatenate([[0], have[:-1]]), have
    at = 0
    for position, instr, w, _ in recvs:
        part = slice(at, at + len(w))
        at += len(w)
        begin, step = instr.rows.first, instr.rows.step
        rows = begin + step * first[part], begin + step * stop[part]
        yield _Access(position, instr.dst.buffer, True, w, *rows, *_region(tile, instr.dst), instr.rows)


# ---- comparison ----


class _Grid:
    """The parts of a row that every write covers whole or not at all."""

    def __init__(self, buffer: Buffer, accesses: list[_Access]) -> None:
        writes = [a for a in accesses if a.write]
        self.columns = _edges(buffer.cols, [w.cols for w in writes])
        self.channels = _edges(buffer.chans, [w.chans for w in writes])

    def cells_of(self, access: _Access) -> int:
        """How many parts an access touches."""
        return len(self._span(self.columns, access.cols)) * len(self._span(self.channels, access.chans))

    def cells(self, accesses: list[_Access], every: bool) -> Iterator[list[_Access]]:
        """The accesses of each part, where something is read, or of ``every`` one."""
        inside: dict[tuple[int, int], list[_Access]] = {}
        for access in accesses:
            for x in self._span(self.columns, access.cols):
                for c in self._span(self.channels, access.chans):
                    inside.setdefault((x, c), []).append(access)
        ordered = sorted(inside.items(), key=itemgetter(0))
        yield from (found for _, found in ordered if every or not all(a.write for a in found))

    def _span(self, edges: list[int], part: Range) -> range:
        if part[0] >= part[1]:
            return range(0)
        return range(max(0, bisect_right(edges, part[0]) - 1), min(len(edges) - 1, bisect_left(edges, part[1])))


def _work(accesses: list[_Access]) -> int:
    """Rows that the accesses touch, each execution counted."""
    return sum(int(a.counts.sum()) for a in accesses)


def _edges(whole: Range, parts: list[Range]) -> list[int]:
    return sorted({*whole, *(edge for part in parts for edge in part)})


def _rows(accesses: list[_Access]) -> tuple[Array, Array, Array]:
    """Each row of each execution: row, time, position."""
    parts = []
    for a in accesses:
        counts = a.counts
        total = int(counts.sum())
        offset = a.step * (np.arange(total) - np.repeat(np.cumsum(counts) - counts, counts))
        parts.append((np.repeat(a.first, counts) + offset, np.repeat(a.when, counts), np.full(total, a.position)))
    if not parts:
        return (np.zeros(0, np.int64),) * 3
    rows, when, position = (np.concatenate(column) for column in zip(*parts, strict=True))
    return rows, when, position


def _merges(accesses: list[_Access]) -> bool:
    """Whether ranges say which rows of a buffer each ``recv`` brings: then none is brought twice."""
    return any(a.brings not in (None, ALL_ROWS) for a in accesses)


def _brought_twice(buffer: Buffer, accesses: list[_Access]) -> Iterator[tuple[int, _Hazard]]:
    """The first row that a second ``recv`` brings."""
    rows, when, position = _rows([a for a in accesses if a.brings is not None])
    order = np.lexsort((when, rows))
    rows, when, position = rows[order], when[order], position[order]
    again = np.flatnonzero(rows[1:] == rows[:-1]) + 1
    if again.size:
        n = again[np.argmin(when[again])]
        yield int(when[n]), _Hazard(int(position[n]), int(rows[n]), buffer.name, before=int(position[n - 1]))


def _cell_hazard(buffer: Buffer, accesses: list[_Access]) -> Iterator[tuple[int, _Hazard]]:
    """The first hazards of a cell."""
    if _merges(accesses):
        yield from _brought_twice(buffer, accesses)
    written, at, _ = _rows([a for a in accesses if a.write])
    rows, when, position = _rows([a for a in accesses if not a.write])
    if not rows.size:
        return
    span = int(max(when.max(), at.max() if at.size else 0)) + 2
    keys = written % buffer.slots * span + at
    order = np.lexsort((written, keys))
    keys, written = keys[order], written[order]
    last = np.searchsorted(keys, rows % buffer.slots * span + when, "left") - 1
    found = np.where(last >= 0, written[np.maximum(last, 0)], -1) if written.size else np.full(len(rows), -1)
    wrong = np.flatnonzero(found != rows)
    if wrong.size:
        n = wrong[np.argmin(when[wrong])]
        row, other = int(rows[n]), int(found[n])
        in_slot = other if other >= 0 and other % buffer.slots == row % buffer.slots else -1
        lost = in_slot >= 0 and bool((at[order][written == row] < when[n]).any())
        yield int(when[n]), _Hazard(int(position[n]), row, buffer.name, in_slot, lost)
