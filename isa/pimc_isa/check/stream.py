"""The checks' own walk over a stream: it is judged here, so nothing is taken from who runs it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from pimc_isa.define import Instr
from pimc_isa.instructions import End, Loop
from pimc_isa.program import Tile

__all__ = ["Visit", "executions", "walk"]

Array = np.ndarray


class Visit(NamedTuple):
    """An instruction in its place: how often it runs, and where the loop around it begins (-1: there is none).

    A ``loop`` stands outside its own, an ``end`` inside.
    """

    position: int
    instr: Instr
    times: int
    opened: int


def walk(code: Sequence[Instr]) -> Iterator[Visit]:
    """Visit a stream in the order of its code; loops that nest replace each other (another check refuses them)."""
    times, opened = 1, -1
    for position, instr in enumerate(code):
        yield Visit(position, instr, times, opened)
        if isinstance(instr, Loop):
            times, opened = instr.times, position
        elif isinstance(instr, End):
            times, opened = 1, -1


def executions(tile: Tile) -> Iterator[tuple[int, Instr, Array, Array]]:
    """Position, instruction, times (a number for each execution, in order) and loop counters."""
    now, body = 0, 0
    for position, instr, times, start in walk(tile.code):
        if isinstance(instr, Loop):
            ends = (n for n in range(position, len(tile.code)) if isinstance(tile.code[n], End))
            body = next(ends) - position
        elif isinstance(instr, End):
            now += times * body
        elif start >= 0:
            i = np.arange(times)
            yield position, instr, now + i * body + (position - start), i
        else:
            now += 1
            yield position, instr, np.array([now]), np.zeros(1, np.int64)
