"""Rows that messages carry: what a ``send`` puts into its channel, and what a ``recv`` makes of it, in an image."""

from __future__ import annotations

import numpy as np

from pimc_isa.check.stream import executions
from pimc_isa.instructions import Recv, Send
from pimc_isa.operands import RowExpr, RowRange, Slab
from pimc_isa.program import Tile

__all__ = ["is_sent", "messages_by", "rows_at", "sent_rows"]

Array = np.ndarray


def rows_at(row: RowExpr, i: Array) -> Array:
    """``RowExpr.at`` for many counters."""
    return np.asarray((row.a * i + row.b) // row.d)


def is_sent(tile: Tile, instr: Send, i: Array) -> Array:
    """Which iterations send their row: those whose row lies in the range."""
    rows, (first, step) = rows_at(instr.src.row, i), (instr.rows.first, instr.rows.step)
    return np.asarray((rows >= first) & (rows < _stop(tile, instr.src, instr.rows)) & ((rows - first) % step == 0))


def messages_by(tile: Tile, instr: Recv, i: Array) -> Array:
    """How many messages of an image have been taken after each iteration: one for each row of the range so far."""
    until = np.minimum(rows_at(instr.until, i), _stop(tile, instr.dst, instr.rows))
    return np.asarray(np.maximum(-(-(until - instr.rows.first) // instr.rows.step), 0))


def _stop(tile: Tile, slab: Slab, rows: RowRange) -> int:
    height = tile.buffer[slab.buffer].rows
    return height if rows.stop is None else min(rows.stop, height)


def sent_rows(tile: Tile, channel: str) -> tuple[Array, Array]:
    """Of each message that a tile puts into a channel in an image, in order: its row, and the position of its send."""
    parts = [(np.zeros(0, np.int64),) * 3]
    for position, instr, when, i in executions(tile):
        if isinstance(instr, Send) and instr.channel == channel:
            mine = is_sent(tile, instr, i)
            parts.append((when[mine], rows_at(instr.src.row, i)[mine], np.full(mine.sum(), position)))
    when, rows, positions = (np.concatenate(column) for column in zip(*parts, strict=True))
    order = np.argsort(when)
    return rows[order], positions[order]
