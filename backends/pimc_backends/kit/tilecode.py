"""Writes one tile's descriptors and stream, op by op."""

from __future__ import annotations

from dataclasses import dataclass, field

from pimc.analysis.wires import Wire
from pimc.ir.ops import Part
from pimc_isa.define import Instr
from pimc_isa.instructions import End, Halt, Loop, Recv, Send
from pimc_isa.operands import (
    Buffer,
    Call,
    Elementwise,
    Group,
    Range,
    Requant,
    RowExpr,
    Slab,
    Table,
    View,
    Window,
)
from pimc_isa.program import Tile

__all__ = ["EACH", "TileCode", "all_rows", "up_to"]

EACH = RowExpr(1, 0)


def all_rows(rows: int) -> RowExpr:
    """A constant number of rows."""
    return RowExpr(0, rows)


def up_to(stride: int, first: int) -> RowExpr:
    """Rows needed by output row i: stride*i + first."""
    return RowExpr(stride, first)


@dataclass
class TileCode:
    """A tile under construction: ``body`` runs once for each of ``rows`` output rows, ``tail`` afterwards."""

    number: int
    name: str
    place: tuple[int, int, int]
    rows: int = 1
    kind: str = "tile"
    node: str = ""
    buffers: list[Buffer] = field(default_factory=list)
    windows: list[Window] = field(default_factory=list)
    groups: list[Group] = field(default_factory=list)
    requants: list[Requant] = field(default_factory=list)
    elementwises: list[Elementwise] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    body: list[tuple[Instr, str]] = field(default_factory=list)
    tail: list[tuple[Instr, str]] = field(default_factory=list)

    @classmethod
    def at(cls, part: Part, name: str, rows: int, node: str) -> TileCode:
        """An empty tile for a part of an op."""
        return cls(part.tile, name, (part.chip, part.x, part.y), rows, node=node)

    def buffer(
        self,
        name: str,
        dtype: str,
        shape: tuple[int, int, int],
        cols: Range,
        chans: Range,
        slots: int,
        views: tuple[View, ...] = (),
    ) -> str:
        """Declare a ring that holds some columns and channels of a tensor."""
        self.buffers.append(Buffer(name, dtype, *shape, cols, chans, min(slots, shape[0]), views))
        return name

    def row(self, name: str, row: RowExpr | None = None) -> Slab:
        """The row of a buffer that this step of the loop works on."""
        return Slab(name, row if row is not None else (EACH if self.rows > 1 else RowExpr()))

    def do(self, instr: Instr) -> None:
        """Append to the loop body."""
        self.body.append((instr, self.node))

    def receive(self, name: str, wires: list[Wire], until: RowExpr, height: int, drained: bool) -> None:
        """Receive from all wires of an input; after the loop take rows that no window needed."""
        step = until if self.rows > 1 else RowExpr(0, until.at(0))
        for wire in wires:
            dst = self.part_of(name, RowExpr(), wire.cols, wire.chans_at_reader)
            self.do(Recv(dst=dst, channel=wire.name, until=step))
            if not drained:
                self.tail.append((Recv(dst=dst, channel=wire.name, until=all_rows(height)), self.node))

    def send(self, name: str, wires: list[Wire]) -> None:
        """Send this step's row to every wire."""
        row = self.row(name).row
        for wire in wires:
            self.do(Send(channel=wire.name, src=self.part_of(name, row, wire.cols, wire.chans)))

    def part_of(self, name: str, row: RowExpr, cols: Range, chans: Range) -> Slab:
        """A slab; ranges that are all the buffer holds are left out."""
        held = next(b for b in self.buffers if b.name == name)
        return Slab(name, row, None if cols == held.cols else cols, None if chans == held.chans else chans)

    def tile(self) -> Tile:
        """The finished tile."""
        code = list(self.body)
        if self.rows > 1:
            code = [(Loop(times=self.rows), ""), *code, (End(), "")]
        code += [*self.tail, (Halt(), "")]
        return Tile(
            self.number,
            self.name,
            self.kind,
            *self.place,
            buffers=tuple(self.buffers),
            windows=tuple(self.windows),
            groups=tuple(self.groups),
            requants=tuple(self.requants),
            elementwises=tuple(self.elementwises),
            tables=tuple(self.tables),
            calls=tuple(self.calls),
            code=tuple(instr for instr, _ in code),
            nodes=tuple(node for _, node in code),
        )
