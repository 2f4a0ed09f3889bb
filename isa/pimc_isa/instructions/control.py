"""Control: loops over rows. Loops do not nest."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pimc_isa.define import Instr, count
from pimc_isa.errors import ProgramError

if TYPE_CHECKING:
    from pimc_isa.program import Tile

__all__ = ["End", "Halt", "Loop", "Stretch", "blocks", "executed_instructions"]


class Loop(Instr, op=0x01, name="loop", unit="control"):
    """Run the instructions up to the matching ``end`` with the counter i = 0, 1, ..., times-1."""

    times: int = count("number of iterations, at least 1")


class End(Instr, op=0x02, name="end", unit="control"):
    """End of a loop body."""


class Halt(Instr, op=0x03, name="halt", unit="control"):
    """End of the stream for one image; the tile starts over with the next image."""


@dataclass(frozen=True)
class Stretch:
    """A straight piece of a stream: positions in the code, and how often it runs; ``looped``: between loop and end."""

    positions: range
    times: int
    looped: bool


def blocks(code: Sequence[Instr]) -> Iterator[Stretch]:
    """Yield the pieces of one image's stream, up to ``halt``. Raises ProgramError for a loop without an end."""
    at = 0
    while at < len(code) and not isinstance(code[at], Halt):
        instr = code[at]
        if isinstance(instr, Loop):
            end = next((n for n in range(at, len(code)) if isinstance(code[n], End)), None)
            if end is None:
                raise ProgramError(f"the loop at instruction {at} has no end")
            yield Stretch(range(at + 1, end), instr.times, looped=True)
            at = end + 1
            continue
        last = next((n for n in range(at, len(code)) if isinstance(code[n], Loop | Halt)), len(code))
        yield Stretch(range(at, last), 1, looped=False)
        at = last


def executed_instructions(tile: Tile) -> int:
    """Instructions of a tile's stream that go to a unit, each execution of an image counted."""
    times, count = 1, 0
    for instr in tile.code:  # the first of all checks asks this: the stream may be no stream
        if isinstance(instr, Loop):
            times = instr.times
        elif isinstance(instr, End):
            times = 1
        elif not isinstance(instr, Halt):
            count += times
    return count
