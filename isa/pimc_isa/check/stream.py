"""The checks' own walk over a stream: it is judged here, so nothing is taken from who runs it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from pimc_isa.define import Instr
from pimc_isa.instructions import End, Loop

__all__ = ["Visit", "walk"]


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
