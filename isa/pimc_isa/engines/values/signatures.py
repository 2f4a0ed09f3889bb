"""Signatures: what a step computes, leaving out which rows, columns and channels of it.

Two steps with one signature do the same to the same tensors. The signature of a step contains those of its inputs, so
steps of one signature can never depend on each other.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import replace

import numpy as np

from pimc_isa.engines.values.lift import Lifted
from pimc_isa.engines.values.trace import Read, Step, StepId, Write
from pimc_isa.instructions import Copy, HostWork, Lut, Mvm, Mvma, PerPair, PoolAvg, PoolMax, PoolSum, Quant, Recv, Send
from pimc_isa.operands import ALL_ROWS, Slab
from pimc_isa.program import Tile

__all__ = ["Signer", "row_shift"]

Array = np.ndarray
Source = tuple[int, Hashable, int, int]  # class, row shift, column shift, channel shift


class Signer:
    """Signatures: what a step computes, leaving out which part of it."""

    def __init__(self, lifted: Lifted, merge: bool) -> None:
        self.lifted, self.program, self.merge = lifted, lifted.program, merge
        self.names: dict[Hashable, int] = {}
        self.level: dict[int, int] = {}
        self.puts: dict[tuple[StepId, str], frozenset[Source]] = {}
        self.sent: dict[str, frozenset[Source]] = {}

    def _name(self, key: Hashable, sources: frozenset[Source]) -> tuple[int, int]:
        name = self.names.setdefault(key, len(self.names))
        level = 1 + max((self.level[int(s[0])] for s in sources), default=0)
        self.level[name] = level
        return name, level

    def tiles(self, numbers: tuple[int, ...]) -> tuple[int, int]:
        """Row-wise tiles are one unit of their own kind."""
        arriving = [c for c in self.program.channels if c.source not in numbers and set(c.dests) & set(numbers)]
        sources = frozenset(s for c in arriving for s in self._channel(c.name))
        found = self._name(("tiles", numbers), sources)
        for c in self.program.channels:
            if c.source in numbers:
                self.sent[c.name] = frozenset({(found[0], ("channel", c.name), 0, 0)})
        return found

    def step(self, step_id: StepId) -> tuple[int, int] | None:
        """The class and level of a step that computes; None for moves, whose sources are noted."""
        trace = self.lifted.traces[step_id[0]]
        step = trace.steps[step_id]
        instr = step.instr
        if isinstance(instr, Recv):
            write = next(w for w in trace.writes[instr.dst.buffer] if w.step == step_id)
            arriving = self._channel(instr.channel)
            if instr.rows != ALL_ROWS:
                arriving = _received(arriving, trace.taken[step_id], write.rows)
            self._put(write, _shift(arriving, 0, -write.cols[0], -write.chans[0]))
            return None
        if isinstance(instr, Send):
            return None
        reads = {r.operand: self._read(r) for r in self.lifted.reads.get(step_id, [])}
        if isinstance(instr, Copy):
            write = next(w for w in trace.writes[instr.dst.buffer] if w.step == step_id)
            cols, chans = trace.tile.cols(instr.src), trace.tile.chans(instr.src)
            rows = row_shift(step.rows(instr.src.row), write.rows)
            self._put(write, _shift(reads["src"], rows, cols[0] - write.cols[0], chans[0] - write.chans[0]))
            return None
        sources = frozenset(s for r in reads.values() for s in r)
        parts = about(self.program.tile[step_id[0]], step) if self.merge else None
        kind: Hashable = (parts, tuple(sorted(reads.items()))) if parts is not None else ("alone", step_id)
        name, level = self._name(kind, sources)
        for writes in trace.writes.values():
            for write in writes:
                if write.step == step_id:
                    self._put(write, frozenset({(name, 0, 0, 0)}))
        return name, level

    def _put(self, write: Write, sources: frozenset[Source]) -> None:
        self.puts[write.step, write.buffer] = sources

    def _read(self, read: Read) -> frozenset[Source]:
        return frozenset(s for w in self.lifted.seen[read.step, read.operand] for s in self.puts[w.step, w.buffer])

    def _channel(self, name: str) -> frozenset[Source]:
        if name not in self.sent:
            tile = self.program.tile[self.program.channel[name].source]
            trace = self.lifted.traces[tile.number]
            found: set[Source] = set()
            order = sorted(int(t) for _, _, times in trace.messages.get(name, []) for t in times)
            for step_id, rows, times in trace.messages.get(name, []):
                instr = trace.steps[step_id].instr
                assert isinstance(instr, Send)
                cols, chans = tile.cols(instr.src), tile.chans(instr.src)
                shift = row_shift(rows, np.searchsorted(order, times))
                for read in self.lifted.reads[step_id]:
                    found |= _shift(self._read(read), shift, cols[0], chans[0])
            self.sent[name] = frozenset(found)
        return self.sent[name]


def row_shift(sources: Array, rows: Array) -> Hashable:
    """How rows move: one number where all move alike, else the whole map."""
    shift = sources - rows
    return int(shift[0]) if len(shift) and (shift == shift[0]).all() else (sources.tobytes(), rows.tobytes())


def _shift(sources: frozenset[Source], rows: Hashable, cols: int, chans: int) -> frozenset[Source]:
    def added(before: Hashable) -> Hashable:
        if isinstance(before, int) and isinstance(rows, int):
            return before + rows
        return (before, rows) if rows != 0 else before

    return frozenset((s[0], added(s[1]), s[2] + cols, s[3] + chans) for s in sources)


def _received(sources: frozenset[Source], messages: Array, rows: Array) -> frozenset[Source]:
    """The sources of messages as those of the rows they become: rows dealt out and merged again have not moved."""
    shifts = ((s, _through(s[1], messages, rows)) for s in sources)
    return frozenset((s[0], shift, s[2], s[3]) for s, shift in shifts if shift is not None)


def _through(shift: Hashable, messages: Array, rows: Array) -> Hashable | None:
    """A row shift that ends at messages, and then at rows, as one; None where none of them comes from there."""
    if not len(rows):
        return None
    if isinstance(shift, int):
        found = row_shift(messages + shift, rows)
        return found if isinstance(found, int) else (0, found)
    match shift:
        case (before, int(by)):
            return _through(before, messages + by, rows)
        case (before, (bytes(sources), bytes(to))):
            of = dict(zip(np.frombuffer(to, np.int64).tolist(), np.frombuffer(sources, np.int64), strict=True))
            known = np.array([message in of for message in messages.tolist()], bool)
            from_ = np.array([of[message] for message in messages[known].tolist()], np.int64)
            return _through(before, from_, rows[known])
    moves = row_shift(messages, rows)
    return shift if moves == 0 else (shift, moves)


def about(tile: Tile, step: Step) -> tuple[Hashable, ...] | None:
    """What a step computes apart from its inputs and its part; None if it cannot be merged."""
    instr = step.instr
    dst = tile.buffer[instr.destination.buffer] if not isinstance(instr, HostWork) else None
    size = (dst.rows, dst.width, dst.channels) if dst is not None else ()
    match instr:
        case Mvm() | Mvma():
            x, g = tile.buffer[instr.src], tile.group[instr.group]
            window = replace(tile.window[instr.window], name="")
            held = replace(g, name="", copies=1)  # on however many copies
            if not g.rounds:
                held = replace(held, n=(0, 0), groups=(0, 0))  # whichever outputs
            return (instr.mnemonic, size, x.rows, x.width, x.channels, window, held)
        case Quant():
            return ("quant", size, replace(tile.requant[instr.requant], name=""), _offset(tile, step, instr.src))
        case Lut():
            return ("lut", size, tile.table[instr.table].data, _offset(tile, step, instr.src))
        case PerPair():
            scales = replace(tile.elementwise[instr.scales], name="")
            return (instr.mnemonic, size, scales, _offset(tile, step, instr.a), _offset(tile, step, instr.b))
        case PoolMax() | PoolSum() | PoolAvg():
            x = tile.buffer[instr.src]
            scales_ = replace(tile.elementwise[instr.scales], name="") if isinstance(instr, PoolAvg) else None
            return (
                instr.mnemonic,
                size,
                x.rows,
                x.width,
                x.channels,
                replace(tile.window[instr.window], name=""),
                scales_,
            )
    return None


def _offset(tile: Tile, step: Step, operand: Slab) -> Hashable:
    """Where an operand lies relative to the destination, and its width if that is one column."""
    dst = step.instr.destination
    rows = row_shift(step.rows(operand.row), step.rows(dst.row))
    (x0, x1), chans = tile.cols(operand), tile.chans(operand)
    to, to_chans = tile.cols(dst), tile.chans(dst)
    if x1 - x0 == 1 and to[1] - to[0] > 1:
        return rows if isinstance(rows, int) else "rows", x0, "one column", chans[0] - to_chans[0]
    return rows, x0 - to[0], chans[0] - to_chans[0]
