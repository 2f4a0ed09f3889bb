"""The stream of a tile that moves data: for each row of the result, wait for rows, copy pieces, send."""

from __future__ import annotations

from pimc.analysis.wires import need_of
from pimc.ir.ops import Move, Part, Piece, Segment
from pimc_backends.kit.emit import Emitter, writes
from pimc_backends.kit.tilecode import TileCode, all_rows
from pimc_isa import instructions as isa
from pimc_isa.define import Instr
from pimc_isa.operands import RowExpr, Slab

__all__ = ["move"]


@writes(Move)
def move(emitter: Emitter, op: Move, part: Part, code: TileCode) -> None:
    """Declare the rings, then write straight stretches and loops as the rows of the index repeat."""
    facts, schedule = emitter.facts[op.name], op.schedule
    assert schedule is not None
    for index, value in enumerate(op.inputs):
        _, cols, chans = need_of(facts, part, index)
        dtype = emitter.dtypes[value]
        code.buffer(f"x{index}", dtype, facts.in_shapes[index], cols, chans, schedule.slots[index])
    emitter.result(op, part, code)
    writer = _Writer(emitter, op, part, code)
    reach = facts.reach
    assert reach is not None
    for segment in reach.segments:
        writer.segment(segment)
    writer.drain()
    code.rows = 1


class _Writer:
    def __init__(self, emitter: Emitter, op: Move, part: Part, code: TileCode) -> None:
        self.op, self.part, self.code = op, part, code
        self.facts = emitter.facts[op.name]
        self.wires = [emitter.wires.recvs.get((part.tile, op.name, n), []) for n in range(len(op.inputs))]
        self.sends = emitter.wires.sends.get((part.tile, op.name), [])
        self.had = [0] * len(op.inputs)

    def segment(self, segment: Segment) -> None:
        """Write the rows of a stretch, in a loop where it repeats."""
        body = [instr for p in range(segment.period) for instr in self._row(segment, p)]
        if segment.times > 1:
            body = [isa.Loop(times=segment.times), *body, isa.End()]
        for instr in body:
            self.code.do(instr)

    def drain(self) -> None:
        """Take the rows that nothing needed."""
        for n, (height, _, _) in enumerate(self.facts.in_shapes):
            if self.had[n] < height:
                for instr in self._receive(n, all_rows(height)):
                    self.code.do(instr)

    def _row(self, segment: Segment, p: int) -> list[Instr]:
        code, reach = self.code, self.facts.reach
        assert reach is not None
        row = RowExpr(segment.period if segment.times > 1 else 0, segment.first + p)
        made: list[Instr] = []
        for n, until in enumerate(segment.until[p]):
            steps = segment.steps[n]
            last = min(self.facts.in_shapes[n][0], until + steps * (segment.times - 1))
            if last > self.had[n] or (steps and segment.times > 1):
                made += self._receive(n, RowExpr(steps if segment.times > 1 else 0, until))
            self.had[n] = max(self.had[n], last)
        for piece in reach.pieces(segment.first + p, self.part.cols, self.part.chans):
            dst = code.part_of("y", row, piece.cols, piece.chans)
            made.append(self._piece(piece, dst, segment))
        made += [isa.Send(channel=w.name, src=code.part_of("y", row, w.cols, w.chans)) for w in self.sends]
        return made

    def _receive(self, n: int, until: RowExpr) -> list[Instr]:
        return [
            isa.Recv(
                dst=self.code.part_of(f"x{n}", RowExpr(), wire.cols, wire.chans_at_reader),
                channel=wire.name,
                until=until,
            )
            for wire in self.wires[n]
        ]

    def _piece(self, piece: Piece, dst: Slab, segment: Segment) -> Instr:
        if piece.source < 0:
            return isa.Fill(dst=dst, value=self.op.fill)
        row = RowExpr(segment.steps[piece.source] if segment.times > 1 else 0, piece.row)
        cols = piece.col, piece.col + piece.cols[1] - piece.cols[0]
        chans = piece.chan, piece.chan + piece.chans[1] - piece.chans[0]
        return isa.Copy(dst=dst, src=self.code.part_of(f"x{piece.source}", row, cols, chans))
