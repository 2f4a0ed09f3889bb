"""Executions of instructions one by one, with the rows and channels that order them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from pimc_isa.define import Context, Instr, Touch
from pimc_isa.instructions import Recv, Send, blocks
from pimc_isa.program import Program, Tile

__all__ = ["Instance", "Pending", "instances"]

Place = tuple[str, int]  # buffer, row


@dataclass(frozen=True)
class Instance:
    """One execution: its place in the code, the loop counter, rows read and written, and its channel.

    That is the one it sends to or takes a row from.
    """

    instr: Instr
    position: int
    i: int
    reads: frozenset[Place]
    writes: frozenset[Place]
    channel: str = ""
    takes: bool = False


class Pending:
    """What instructions that still wait will touch."""

    def __init__(self) -> None:
        self._reads: set[Place] = set()
        self._writes: set[Place] = set()
        self._channels: set[tuple[str, bool]] = set()

    def add(self, instance: Instance) -> None:
        """One more waits."""
        self._reads |= instance.reads
        self._writes |= instance.writes
        self._channels.add((instance.channel, instance.takes))

    def blocks(self, instance: Instance) -> bool:
        """Whether a later instruction depends on one that waits."""
        if instance.channel and (instance.channel, instance.takes) in self._channels:
            return True
        touched = instance.reads | instance.writes
        return not self._writes.isdisjoint(touched) or not self._reads.isdisjoint(instance.writes)


def instances(program: Program, tile: Tile) -> Iterator[Instance]:
    """The stream of one image; a ``recv`` becomes one instance for each row it takes."""
    context = Context(program, tile)
    arrived: dict[str, int] = {}
    for position, i in _unrolled(tile.code):
        instr = tile.code[position]
        if isinstance(instr, Recv):
            first, last = arrived.get(instr.channel, 0), instr.rows_until(context, i)
            for row in range(first, last):
                yield Instance(
                    instr, position, i, frozenset(), frozenset({(instr.dst.buffer, row)}), instr.channel, True
                )
            arrived[instr.channel] = max(first, last)
            continue
        channel = instr.channel if isinstance(instr, Send) else ""
        reads, writes = _places(instr.reads(context, i)), _places(instr.writes(context, i))
        yield Instance(instr, position, i, reads, writes, channel)


def _unrolled(code: tuple[Instr, ...]) -> Iterator[tuple[int, int]]:
    for block in blocks(code):
        yield from ((n, i) for i in range(block.times) for n in block.positions)


def _places(touches: list[Touch]) -> frozenset[Place]:
    return frozenset((t.buffer, row) for t in touches for row in range(*t.rows))
