"""Control: loops over rows. Loops do not nest."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pimc_isa.define import Instr, count

if TYPE_CHECKING:
    from pimc_isa.program import Tile

__all__ = ["End", "Halt", "Loop", "executed_instructions"]


class Loop(Instr, op=0x01, name="loop", unit="control"):
    """Run the instructions up to the matching ``end`` with the counter i = 0, 1, ..., times-1."""

    times: int = count("number of iterations, at least 1")


class End(Instr, op=0x02, name="end", unit="control"):
    """End of a loop body."""


class Halt(Instr, op=0x03, name="halt", unit="control"):
    """End of the stream for one image; the tile starts over with the next image."""


def executed_instructions(tile: Tile) -> int:
    """Instructions of a tile's stream that go to a unit, each execution of an image counted."""
    times, count = 1, 0
    for instr in tile.code:
        if isinstance(instr, Loop):
            times = instr.times
        elif isinstance(instr, End):
            times = 1
        elif not isinstance(instr, Halt):
            count += times
    return count
