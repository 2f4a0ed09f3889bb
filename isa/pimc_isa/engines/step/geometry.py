"""Rows, columns, channels and windows, as the manual's section "Meaning" has them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pimc_isa.element import ELEMENTS
from pimc_isa.instructions import Send
from pimc_isa.operands import Buffer, RowExpr, RowRange, Slab, Window
from pimc_isa.program import Program, Tile

__all__ = [
    "InTile",
    "Row",
    "channels",
    "columns",
    "elements",
    "held_elements",
    "is_sent",
    "nbytes",
    "row_at",
    "row_elements",
    "rows_named",
    "rows_seen",
    "slab_row",
    "tap_positions",
    "window_rows",
]

#: A row of a buffer: its name and the row's number.
Row = tuple[str, int]


@dataclass(frozen=True)
class InTile:
    """Where an instruction stands: its program and its tile."""

    program: Program
    tile: Tile


def row_at(row: RowExpr, i: int) -> int:
    """``(a*i + b) // d``, rounded down."""
    return (row.a * i + row.b) // row.d


def rows_named(rows: RowRange, height: int) -> list[int]:
    """The rows of a tensor of ``height`` rows that a range names, in order: first, first + step, ... below its stop."""
    stop = height if rows.stop is None or rows.stop > height else rows.stop
    found, row = [], rows.first
    while row < stop:
        found.append(row)
        row += rows.step
    return found


def is_sent(tile: Tile, instr: Send, i: int) -> bool:
    """Whether the row of a ``send`` is one of those that it sends."""
    return row_at(instr.src.row, i) in rows_named(instr.rows, tile.buffer[instr.src.buffer].rows)


def slab_row(slab: Slab, i: int) -> Row:
    """The row of a row part in iteration ``i``."""
    return slab.buffer, row_at(slab.row, i)


def columns(tile: Tile, slab: Slab) -> range:
    """Columns of a row part: those it names, or all that the buffer holds."""
    return range(*(tile.buffer[slab.buffer].cols if slab.cols is None else slab.cols))


def channels(tile: Tile, slab: Slab) -> range:
    """Channels of a row part: those it names, or all that the buffer holds."""
    return range(*(tile.buffer[slab.buffer].chans if slab.chans is None else slab.chans))


def elements(tile: Tile, slab: Slab) -> int:
    """Elements of a row part."""
    return len(columns(tile, slab)) * len(channels(tile, slab))


def held_elements(buffer: Buffer) -> int:
    """Elements of all rows of a buffer, as far as it holds them."""
    return buffer.rows * (buffer.cols[1] - buffer.cols[0]) * (buffer.chans[1] - buffer.chans[0])


def row_elements(buffer: Buffer) -> int:
    """Elements of one row of a buffer, as far as it holds them."""
    return (buffer.cols[1] - buffer.cols[0]) * (buffer.chans[1] - buffer.chans[0])


def held_as(dtype: str) -> tuple[int, type[np.generic]]:
    """Bits of an element, and numpy's type for it: those of the manual, else what a package has declared."""
    restated: dict[str, tuple[int, type[np.generic]]] = {"u8": (8, np.uint8), "i32": (32, np.int32)}
    return restated[dtype] if dtype in restated else (ELEMENTS[dtype].bits, ELEMENTS[dtype].storage)


def nbytes(tile: Tile, slab: Slab) -> int:
    """Bytes of a row part: an i32 takes four, a u8 one."""
    bits = elements(tile, slab) * held_as(tile.buffer[slab.buffer].dtype)[0]
    return bits // 8 + (bits % 8 > 0)


def tap_positions(window: Window, row: int, column: int) -> list[tuple[int, int]]:
    """(row, column) of the input for each tap of output (row, column); kernel rows first, then kernel columns."""
    top, left = row * window.stride[0] - window.pads[0], column * window.stride[1] - window.pads[1]
    return [
        (top + ky * window.dilation[0], left + kx * window.dilation[1])
        for ky in range(window.kernel[0])
        for kx in range(window.kernel[1])
    ]


def rows_seen(window: Window, out_row: int, height: int) -> range:
    """Input rows that count as read for an output row: first tap to last and all between, inside the tensor."""
    taps = [row for row, _ in tap_positions(window, out_row, 0)]
    inside = [row for row in range(min(taps), max(taps) + 1) if 0 <= row < height]
    return range(inside[0], inside[-1] + 1) if inside else range(0)


def window_rows(tile: Tile, dst: Slab, src: str, window: str, i: int) -> set[Row]:
    """The rows of buffer ``src`` that a window instruction reads in iteration ``i``."""
    return {(src, row) for row in rows_seen(tile.window[window], row_at(dst.row, i), tile.buffer[src].rows)}
