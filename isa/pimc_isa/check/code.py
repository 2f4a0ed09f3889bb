"""Checks of a stream: structure, and each instruction's names, ranges, types and shapes.

The rules follow from the fields' declarations; an instruction's own ``problems`` adds what they cannot say.
"""

from __future__ import annotations

from collections.abc import Iterator

from pimc_isa.binary.words import SPACES
from pimc_isa.check.stream import walk
from pimc_isa.define import Context, Field, Instr, fields_of
from pimc_isa.errors import ProgramError
from pimc_isa.instructions import CallRow, End, Halt, Loop
from pimc_isa.limits import beyond
from pimc_isa.operands import Buffer, Range, RowExpr, RowRange, Slab
from pimc_isa.program import Program, Tile
from pimc_isa.text.operands import show_instr, show_range, show_row

__all__ = ["check_code", "place"]

_INT32 = 2**31


def place(where: str, tile: Tile, position: int) -> str:
    """An instruction's place in messages."""
    return f"{where}, instruction {position} '{' '.join(show_instr(tile.code[position]).split())}'"


def check_code(program: Program, tile: Tile, where: str) -> None:
    """Refuse a stream with a wrong structure or a wrong instruction. Raises ProgramError."""
    if not tile.code or not isinstance(tile.code[-1], Halt):
        raise ProgramError(f"{where}: the stream must end with 'halt'")
    if tile.nodes and len(tile.nodes) != len(tile.code):
        raise ProgramError(f"{where}: {len(tile.nodes)} ONNX nodes are named for {len(tile.code)} instructions")
    checker = _Checker(program, tile)
    for position, instr, times, opened in walk(tile.code):
        problem = _structure(instr, opened, position == len(tile.code) - 1)
        problem = problem or next(checker.problems(instr, times), "")
        if problem:
            raise ProgramError(f"{place(where, tile, position)}: {problem}")


def _structure(instr: Instr, opened: int, last: bool) -> str:
    if isinstance(instr, Loop):
        if opened >= 0:
            return f"loops do not nest, and the loop at instruction {opened} is open"
        return (
            "a loop runs at least once" if instr.times < 1 else beyond("loop", "the number of iterations", instr.times)
        )
    if isinstance(instr, End) and opened < 0:
        return "no loop is open"
    if isinstance(instr, Halt):
        if not last:
            return "'halt' is the last instruction of a stream"
        return f"the loop at instruction {opened} is not closed by 'end'" if opened >= 0 else ""
    return ""


class _Checker:
    """Checks instructions of one tile."""

    def __init__(self, program: Program, tile: Tile) -> None:
        self.program, self.tile = program, tile
        self.ctx = Context(program, tile)
        self.known = {space: {d.name for d in getattr(tile, attr)} for space, attr in SPACES.items()}
        self.known["channel"] = set(program.channel)
        self.done: set[tuple[Instr, int]] = set()

    def problems(self, instr: Instr, times: int) -> Iterator[str]:
        """All that is wrong, what later checks rely on first; equal instructions are checked once."""
        if (instr, times) in self.done:
            return
        self.done.add((instr, times))
        if instr.unit == "matrix" and self.tile.kind == "host":
            yield "the host has no crossbars"
        if instr.unit == "host" and self.tile.kind != "host":
            yield "only the host runs ONNX subgraphs"
        yield from self.names(instr)
        for name, spec in fields_of(type(instr)):
            if spec.kind == "slab":
                yield from self.slab(name, spec, getattr(instr, name), times)
            elif spec.kind == "until":
                yield from _row_expr(name, getattr(instr, name))
                if isinstance(instr, CallRow):
                    yield from self.row(name, instr, times)
            elif spec.kind == "rows":
                yield from self.rows(name, getattr(instr, name), getattr(instr, spec.of))
            elif spec.kind == "byte" and not 0 <= getattr(instr, name) <= 255:
                yield f"{name} is {getattr(instr, name)}, outside 0..255"
        yield from self.types(instr)
        yield from self.shapes(instr)
        yield from instr.problems(self.ctx)

    def names(self, instr: Instr) -> Iterator[str]:
        for name, spec in fields_of(type(instr)):
            space = "buffer" if spec.kind == "slab" else spec.space
            value = getattr(instr, name)
            word = value.buffer if spec.kind == "slab" else value
            if space and word not in self.known[space]:
                owner = "program" if space == "channel" else "tile"
                yield f"{name}: the {owner} has no {space} '{word}'"

    def slab(self, name: str, spec: Field, slab: Slab, times: int) -> Iterator[str]:
        held = self.tile.buffer[slab.buffer]
        for what, part, whole in (
            ("columns", self.ctx.cols(slab), held.cols),
            ("channels", self.ctx.chans(slab), held.chans),
        ):
            if not whole[0] <= part[0] < part[1] <= whole[1]:
                yield f"{name}: {what} {_span(part)} are not within {_span(whole)}, which buffer '{held.name}' holds"
        yield from _row_expr(name, slab.row)
        if not spec.access:
            return
        for i in (0, times - 1):
            if not 0 <= slab.row.at(i) < held.rows:
                row = f"row {show_row(slab.row)} is {slab.row.at(i)}" + (f" for i={i}" if slab.row.a else "")
                yield f"{name}: {row}, buffer '{held.name}' has rows 0:{held.rows}"

    def rows(self, name: str, rows: RowRange, slab: Slab) -> Iterator[str]:
        """A range has rows, and its buffer has them."""
        held = self.tile.buffer[slab.buffer]
        if not 1 <= rows.step < _INT32:
            yield f"{name}: rows are {rows.step} apart; a step is at least 1 and has at most 31 bits"
        if not 0 <= rows.first < (held.rows if rows.stop is None else rows.stop) <= held.rows:
            yield f"{name}: {show_range(rows)} names no rows, or others than 0:{held.rows} of buffer '{held.name}'"

    def row(self, name: str, instr: CallRow, times: int) -> Iterator[str]:
        """A row that every buffer of the call must have."""
        row, call = instr.row, self.tile.call[instr.call]
        for _, held in call.inputs + call.outputs:
            rows = self.tile.buffer[held].rows if held in self.known["buffer"] else _INT32
            for i in (0, times - 1):
                if not 0 <= row.at(i) < rows:
                    at = f" for i={i}" if row.a else ""
                    yield f"{name}: row {show_row(row)} is {row.at(i)}{at}, buffer '{held}' has rows 0:{rows}"

    def types(self, instr: Instr) -> Iterator[str]:
        """Declared element types; operands without one have the same."""
        free: list[Buffer] = []
        for name, spec in fields_of(type(instr)):
            if spec.kind != "slab" and spec.space != "buffer":
                continue
            value = getattr(instr, name)
            buffer = self.tile.buffer[value.buffer if spec.kind == "slab" else value]
            if spec.dtype and buffer.dtype != spec.dtype:
                yield f"{name}: buffer '{buffer.name}' holds {buffer.dtype}, this operand must be {spec.dtype}"
            if not spec.dtype:
                free.append(buffer)
        if len({b.dtype for b in free}) > 1:
            yield f"operands differ in type: {', '.join(f'{b.name} {b.dtype}' for b in free)}"

    def shapes(self, instr: Instr) -> Iterator[str]:
        """Slabs have the destination's size (or 1 where they may be broadcast); windows lie in their buffer."""
        specs = fields_of(type(instr))
        slabs = [(name, spec) for name, spec in specs if spec.kind == "slab"]
        if len(slabs) > 1:
            size = self.size(instr.destination)
            for name, spec in slabs:
                yield from self.same_size(name, spec, getattr(instr, name), size)
        for name, spec in specs:
            if spec.window:
                yield from self.window(instr, getattr(instr, name), getattr(instr, spec.window))

    def size(self, slab: Slab) -> tuple[int, int]:
        chans = self.ctx.chans(slab)
        return self.ctx.width(slab), chans[1] - chans[0]

    def same_size(self, name: str, spec: Field, slab: Slab, size: tuple[int, int]) -> Iterator[str]:
        for what, have, need in zip(("columns", "channels"), self.size(slab), size, strict=True):
            if have != need and not (spec.broadcast and have == 1):
                yield f"{name}: {have} {what}, the destination has {need}"

    def window(self, instr: Instr, src: str, window: str) -> Iterator[str]:
        held = self.tile.buffer[src]
        cols = self.ctx.window(window).cols(self.ctx.cols(instr.destination), held.width)
        if cols[0] < cols[1] and not (held.cols[0] <= cols[0] and cols[1] <= held.cols[1]):
            yield f"the window sees columns {_span(cols)}, buffer '{src}' holds {_span(held.cols)}"
        chans = instr.window_chans(self.ctx)
        if not held.chans[0] <= chans[0] < chans[1] <= held.chans[1]:
            yield f"the window sees channels {_span(chans)}, buffer '{src}' holds {_span(held.chans)}"


def _row_expr(name: str, row: RowExpr) -> Iterator[str]:
    if row.d < 1:
        yield f"{name}: a row is divided by {row.d}; divisors are at least 1"
    if max(abs(row.a), abs(row.b), row.d) >= _INT32:
        yield f"{name}: the numbers of a row expression have at most 31 bits"


def _span(span: Range) -> str:
    return f"{span[0]}:{span[1]}"
