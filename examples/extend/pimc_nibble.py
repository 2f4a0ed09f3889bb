"""4-bit activations between layers: an element type, two instructions, two ops, a rule, a pass, a machine, two flows.

ONNX's BitShift by 4 to the right leaves the upper half of a byte, to the left brings it back. Between the two, rows
take half the memory and half the links.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from pimc.frontend.errors import NotOnChipError
from pimc.frontend.lowering import Lowering
from pimc.frontend.ref import Ref
from pimc.frontend.rules import Rule, add_rule
from pimc.frontend.unit import Unit
from pimc.ir.graph import Graph
from pimc.ir.ops import Geometry, TensorOp
from pimc.passes.base import Pass
from pimc.passes.target import Target
from pimc_backends.kit import next_row, writes
from pimc_isa.define import slab
from pimc_isa.element import U8, Element
from pimc_isa.engines.step import Restatement, elements, nbytes, over, restate, slab_row
from pimc_isa.instructions import PerElement
from pimc_isa.operands import Slab

U4 = Element("u4", 4, np.uint8, 0, 15)


class Narrow(PerElement, op=0xE0, name="narrow", unit="vector"):
    """The upper four bits of every element."""

    dst: Slab = slab("w", "upper halves", dtype=U4)
    src: Slab = slab("r", "bytes", dtype=U8)

    def execute(self, m: Any) -> None:
        """Shift right."""
        m.write(self.dst, m.read(self.src) >> 4)


class Widen(PerElement, op=0xE1, name="widen", unit="vector"):
    """Bytes whose upper four bits are given."""

    dst: Slab = slab("w", "bytes", dtype=U8)
    src: Slab = slab("r", "upper halves", dtype=U4)

    def execute(self, m: Any) -> None:
        """Shift left."""
        m.write(self.dst, m.read(self.src) << 4)


def _booked(p: Any, instr: Any, ledger: Any) -> dict[str, float]:
    size = sum(nbytes(p.tile, part) for part in (instr.dst, instr.src))
    return {"vector_element": elements(p.tile, instr.dst), "memory_byte": size}


def _restated(value: Any) -> Restatement:
    """Once more, from the prose above: the referee never asks the classes."""
    return Restatement(
        unit=lambda instr: "vector",
        cycles=lambda p, instr: over(elements(p.tile, instr.dst), p.program.machine.tile.vector_lanes),
        reads=lambda p, instr, i: [slab_row(instr.src, i)],
        writes=lambda p, instr, i: [slab_row(instr.dst, i)],
        meaning=lambda instr, v: v.write(instr.dst, value(v.read(instr.src))),
        actions=_booked,
    )


restate(Narrow, _restated(lambda x: x // 16))
restate(Widen, _restated(lambda x: x * 16))


class _Shift(TensorOp):
    """A row for a row, the same shape."""

    def infer(self, shapes: Any, constants: Any) -> Any:
        """As the input."""
        return shapes[0]

    def geometry(self, shapes: Any, constants: Any) -> Geometry:
        """A row for a row."""
        return Geometry()


class Upper(_Shift, op="nibble.upper"):
    """Upper halves of bytes."""

    makes: ClassVar[str] = U4.name

    def evaluate(self, x: Any, run: Any) -> Any:
        """Shift right."""
        return x[0] >> 4


class Whole(_Shift, op="nibble.whole"):
    """Bytes of upper halves."""

    reads: ClassVar[tuple[str, ...]] = (U4.name,)

    def evaluate(self, x: Any, run: Any) -> Any:
        """Shift left."""
        return x[0] << 4


def bit_shift(lw: Lowering, unit: Unit) -> Ref:
    """BitShift by 4 of an 8-bit tensor."""
    by, x = lw.source.constant(unit.node.input[1]), lw.ref(unit.operand(0))
    if by is None or by.size != 1 or by.item() != 4:
        raise NotOnChipError("a shift by another number than 4")
    kind = Upper if unit.attributes["direction"] == "RIGHT" else Whole
    if lw.graph[x.value].element.name not in kind.reads:
        raise NotOnChipError(f"{kind.kind} does not read {lw.graph[x.value].element.name}")
    return lw.emit(kind, unit, (x,), Ref("", x.shape, x.order, x.dims, 0))


add_rule("BitShift", Rule(bit_shift, "chip", integers=True))


@writes(Upper, Whole)
def shift_tile(emitter: Any, op: Any, part: Any, code: Any) -> None:
    """Receive a row, shift it, send it."""
    emitter.inputs(op, part, code, ("x",), (next_row(code),))
    emitter.result(op, part, code)
    code.do((Narrow if isinstance(op, Upper) else Widen)(dst=code.row("y"), src=code.row("x")))
    emitter.send(op, part, code, "y")


@dataclass(frozen=True)
class CountNibbles(Pass):
    """Note how many tensors travel in four bits."""

    name = "count-nibbles"
    from_stage = "quantised"
    to_stage = "quantised"

    def apply(self, graph: Graph, target: Target) -> Graph:
        """Count them."""
        made = graph.copy()
        made.meta["nibbles"] = str(sum(op.type is not None and op.element is U4 for op in graph.ops()))
        return made
