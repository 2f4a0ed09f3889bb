"""Tiny programs whose timing fits on a sheet of paper, and a small machine with round numbers."""

from __future__ import annotations

import numpy as np

from pimc_isa.define import Instr
from pimc_isa.engines import step
from pimc_isa.engines.cycles import simulate
from pimc_isa.engines.timing import Timing
from pimc_isa.machine import Array, Chip, Host, Machine, Network, TileSpec
from pimc_isa.operands import Buffer, Channel, RowExpr, Slab
from pimc_isa.program import Program, Tile

I = RowExpr(1)  # noqa: E741
ROW0 = RowExpr(0, 0)


def machine(queue_depth: int = 4, columns: int = 3, rows: int = 1) -> Machine:
    """4 lanes; bus 4 B; links 4 B, 2 cycles a hop; off-chip links 2 B, 5 cycles; host 8 elements a cycle."""
    return Machine(
        "tiny",
        1e9,
        Array(8, 8, 2),
        TileSpec(4, 4096, 4, 4, queue_depth),
        Chip(columns, rows),
        Network(4, 2, 2, 5),
        Host(8),
    )


def buffer(name: str, rows: int, slots: int, width: int = 4, channels: int = 2) -> Buffer:
    """A u8 ring; a row is 8 bytes unless told otherwise."""
    return Buffer(name, "u8", rows, width, channels, (0, width), (0, channels), slots)


def tile(number: int, place: tuple[int, int, int], buffers: tuple[Buffer, ...], *code: Instr) -> Tile:
    """A tile at (chip, x, y)."""
    return Tile(number, f"t{number}", "tile", *place, buffers=buffers, code=code)


def slab(name: str, row: RowExpr = I) -> Slab:
    """All of a row."""
    return Slab(name, row)


def program(m: Machine, tiles: tuple[Tile, ...], *channels: Channel) -> Program:
    """A program of tiles that compute nothing of interest."""
    return Program(m, tiles, channels, (), (), (), (), {})


def spans(timing: Timing, number: int, image: int = 0) -> list[tuple[int, int]]:
    """[start, end) of a tile's instructions in stream order."""
    trace = next(t for t in timing.tiles if t.tile == number)
    return [(int(a), int(b)) for a, b in zip(trace.start[image], trace.end[image], strict=True)]


def both(p: Program, images: int = 1) -> Timing:
    """The timing, on which both engines must agree."""
    fast, slow = simulate(p, images), step.run(p, {}, images, values=False).timing
    same(fast, slow)
    return fast


def same(fast: Timing, slow: Timing) -> None:
    """Assert that two timings are equal in everything."""
    assert [t.tile for t in fast.tiles] == [t.tile for t in slow.tiles]
    for a, b in zip(fast.tiles, slow.tiles, strict=True):
        np.testing.assert_array_equal(a.index, b.index)
        np.testing.assert_array_equal(a.iteration, b.iteration)
        np.testing.assert_array_equal(a.start, b.start, err_msg=f"starts on tile {a.tile}")
        np.testing.assert_array_equal(a.end, b.end, err_msg=f"ends on tile {a.tile}")
    assert fast.image_ends == slow.image_ends
    assert dict(fast.unit_busy) == dict(slow.unit_busy)
    assert dict(fast.link_busy) == dict(slow.link_busy)
    assert fast.sharing == slow.sharing
