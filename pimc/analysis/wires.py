"""Which part of which tile's rows goes to which tiles: the channels of a program, derived from placement.

A reader's tile needs some columns and channels of a value; each tile that holds a piece of the value sends the
intersection. Tiles of one reader that need the same intersection share one multicast channel.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from pimc.analysis.facts import Facts, needed_columns
from pimc.ir.graph import Graph
from pimc.ir.ops import Op, Part
from pimc_isa.element import I32, U8, Element
from pimc_isa.operands import Channel, Range

__all__ = ["HOST", "Piece", "Wire", "Wires", "final_parts", "host_tile_of", "islands_of", "pieces"]

HOST = 0
"""The host's process that begins and ends every image."""


def islands_of(graph: Graph) -> dict[str, int]:
    """Host calls between layers, each a process of its own on the host, with the numbers of their tiles.

    Those come last: of messages that could start together the lower number is first, so that the burst in which an
    island sends an image holds up nobody.
    """
    ops = list(graph.ops())
    last = max((part.tile for op in ops for part in op.placement or ()), default=HOST)
    found = [op.name for op in ops if op.is_host and op.inputs and op.type is not None]
    return {name: number for number, name in enumerate(found, last + 1)}


def host_tile_of(graph: Graph, op: Op) -> int:
    """The number of the host's process that runs a call."""
    return islands_of(graph).get(op.name, HOST)


@dataclass(frozen=True)
class Piece:
    """A part of a value where it is made; ``shift`` is added to its channels in the reader's tensor (concatenation)."""

    value: str
    tile: int
    cols: Range
    chans: Range
    shift: int
    element: Element = U8


@dataclass
class Wire:
    """One channel: rows of ``value`` from ``source``, columns and channels as numbered where they are made."""

    name: str
    value: str
    source: int
    cols: Range
    chans: Range
    shift: int
    depth: int
    element: Element = U8
    dests: list[int] = field(default_factory=list)

    @property
    def channel(self) -> Channel:
        """As the program declares it."""
        return Channel(self.name, self.source, tuple(self.dests), self.depth)

    @property
    def row_bytes(self) -> int:
        """Bytes of one message."""
        return self.element.nbytes((self.cols[1] - self.cols[0]) * (self.chans[1] - self.chans[0]))

    @property
    def chans_at_reader(self) -> Range:
        """Channels as the reader numbers them."""
        return self.chans[0] + self.shift, self.chans[1] + self.shift


def final_parts(op: Op) -> tuple[Part, ...]:
    """The parts that hold the finished result: of a chain, the last link."""
    parts = op.placement or ()
    last = max((p.rows_k for p in parts), default=(0, 0))
    return tuple(p for p in parts if p.rows_k == last)


def pieces(graph: Graph, value: str, shift: int = 0) -> list[Piece]:
    """Where the parts of a value are made."""
    op = graph[value]
    if op.is_virtual:
        found, first = [], 0
        for n, lo, hi in op.parts([graph[v].shape[2] for v in op.inputs]):
            for piece in pieces(graph, op.inputs[n]):
                chans = _meet((piece.chans[0] + piece.shift, piece.chans[1] + piece.shift), (lo, hi))
                if chans is not None:
                    own = chans[0] - piece.shift, chans[1] - piece.shift
                    found.append(replace(piece, chans=own, shift=piece.shift + shift + first - lo))
            first += hi - lo
        return found
    if op.is_host:
        return [Piece(value, host_tile_of(graph, op), (0, op.shape[1]), (0, op.shape[2]), shift, op.element)]
    return [Piece(value, p.tile, p.cols, p.chans, shift, op.element) for p in final_parts(op)]


@dataclass
class Wires:
    """All channels of a program. ``sends[tile, value]`` and ``recvs[tile, op, input]`` list them in a fixed order."""

    all: list[Wire] = field(default_factory=list)
    sends: dict[tuple[int, str], list[Wire]] = field(default_factory=dict)
    recvs: dict[tuple[int, str, int], list[Wire]] = field(default_factory=dict)

    def connect(self, graph: Graph, op: Op, index: int, need: list[tuple[int, Range, Range]], depth: int) -> None:
        """Wire input ``index`` of ``op``: ``need`` lists (tile, columns, channels) of its readers.

        What a process of the host has made itself it need not send to itself.
        """
        made: dict[tuple[int, str, int, Range, Range], Wire] = {}
        for piece in pieces(graph, op.inputs[index]):
            for tile, cols, chans in need:
                c = _meet(piece.cols, cols)
                h = _meet(piece.chans, (chans[0] - piece.shift, chans[1] - piece.shift))
                if c is None or h is None or piece.tile == tile:
                    continue
                key = (piece.tile, piece.value, piece.shift, c, h)
                if key not in made:
                    made[key] = self._new(piece, c, h, depth)
                made[key].dests.append(tile)
                self.recvs.setdefault((tile, op.name, index), []).append(made[key])

    def partial_sums(self, source: int, dest: int, op: Op, part: Part) -> Wire:
        """A channel of i32 rows along a chain."""
        piece = Piece(f"{op.name}#sums", source, part.cols, part.chans, 0, I32)
        wire = self._new(piece, part.cols, part.chans, 1)
        wire.dests.append(dest)
        return wire

    def _new(self, piece: Piece, cols: Range, chans: Range, depth: int) -> Wire:
        wire = Wire(f"c{len(self.all)}", piece.value, piece.tile, cols, chans, piece.shift, depth, piece.element)
        self.all.append(wire)
        self.sends.setdefault((piece.tile, piece.value), []).append(wire)
        return wire


def need_of(facts: Facts, part: Part, index: int) -> tuple[int, Range, Range]:
    """What one part of an op needs of one input."""
    return part.tile, needed_columns(facts, index, part.cols), facts.input_channels(part.chans, index)


def _meet(a: Range, b: Range) -> Range | None:
    lo, hi = max(a[0], b[0]), min(a[1], b[1])
    return (lo, hi) if lo < hi else None
