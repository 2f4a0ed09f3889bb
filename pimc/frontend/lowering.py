"""What lowering rules work with: the graph under construction and where each ONNX tensor is."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
import onnx

from pimc.frontend.epitomes.structure import Structure
from pimc.frontend.errors import NotOnChipError
from pimc.frontend.integers import known_integers
from pimc.frontend.moving import is_movement
from pimc.frontend.ref import Ref, image_like
from pimc.frontend.relabels import relabelled
from pimc.frontend.source import Array, Source, quantise_linear
from pimc.frontend.unit import Operand, Unit
from pimc.ir.graph import Graph
from pimc.ir.ops import TensorType
from pimc_isa.numerics import F32
from pimc_isa.operands import View

__all__ = ["HostSide", "Lowering", "cuts_range", "demand_no_overflow", "output_offset", "stem_of", "stored_limits"]


class HostSide(Protocol):
    """What the host does for the chip."""

    def head(self, lw: Lowering, tensor: str, order: str) -> Ref:
        """Make a value of a tensor that depends on the model's inputs only."""
        ...

    def island(self, lw: Lowering, tensor: str, order: str) -> Ref:
        """Make a value of a tensor that depends on values of the chip, by a call between layers."""
        ...

    def fixed(self, lw: Lowering, operand: Operand) -> Ref:
        """Make a value of a constant 8-bit tensor."""
        ...

    def table(self, unit: Unit, x: Ref, offset: int) -> Array:
        """Compute the 256 entries of a unit with one 8-bit input."""
        ...


class Lowering:
    """The graph being built, and the tensors on the chip so far.

    ``inexact`` says of tensors why onnxruntime may differ by one step; ``from_chip`` are the tensors that the host
    makes from values of the chip; ``order`` is how the operator being lowered reads a tensor of other than two or four
    axes that the host makes for it; ``moved`` names the ONNX tensors that movements make, by value. ``epitomes`` are
    those of layers by the tensors of their weights, ``recognised`` those that ops got, by op; ``bits`` are
    those of weights' codes, by their tensor, where they are known.
    """

    def __init__(
        self,
        source: Source,
        graph: Graph,
        host: HostSide,
        epitomes: Mapping[str, Structure] | None = None,
        bits: Mapping[str, int] | None = None,
    ) -> None:
        self.source = source
        self.epitomes = epitomes or {}
        self.bits = bits or {}
        self.recognised: dict[str, Structure] = {}
        self.graph = graph
        self.host = host
        self.refs: dict[str, Ref] = {}
        self.inexact: dict[str, str] = {}
        self.from_chip: set[str] = set()
        self.order = "CHW"
        self.moved: dict[str, str] = {}
        self.converted: dict[tuple[str, str], str] = {}  # (value, table): tensors brought to a scale, made once
        self._tables: dict[bytes, str] = {}

    def ref(self, operand: Operand) -> Ref:
        """Where an activation is; makes the host's head on first use. The host sends constant operands."""
        if operand.is_constant:
            return self.host.fixed(self, operand)
        if operand.tensor not in self.refs:
            make = self.host.island if operand.tensor in self.from_chip else self.host.head
            self.refs[operand.tensor] = make(self, operand.tensor, self.order)
        found = self.refs[operand.tensor]
        for node in operand.through:
            found = self.renamed(node, found)
        if operand.offset is not None and operand.offset != found.offset:
            raise NotOnChipError(f"{operand.tensor} is read as another 8-bit type than it is")
        return found

    def renamed(self, node: onnx.NodeProto, x: Ref, *, result: str = "") -> Ref:
        """The result of an operator that names or moves the elements of ``x``: the same value, or a movement."""
        from pimc.frontend.lower.move import movement

        try:
            return relabelled(node, x, self.integers)
        except NotOnChipError:
            if x.is_padded or not is_movement(node):
                raise
        return movement(self, node, [x], result=result)

    def integers(self, tensor: str) -> Array | None:
        """The value of an integer tensor that depends on constants and shapes only."""

        def dims(name: str) -> tuple[int, ...] | None:
            return self.refs[name].dims if name in self.refs else None

        return known_integers(self.source, dims, tensor)

    def image(self, operand: Operand, *, padded: bool = False) -> Ref:
        """As `ref`, for operators on N x C x H x W; ``padded`` allows one that adds the zeros of a Pad itself."""
        found = self.ref(operand)
        if found.is_padded and not padded:
            raise NotOnChipError(f"{operand.tensor} is padded; only a convolution can add that")
        return self.as_image(found, operand.tensor)

    def as_image(self, found: Ref, tensor: str) -> Ref:
        """The same tensor, held as N x C x H x W."""
        from pimc.frontend.lower.move import laid_out

        if found.is_image:
            return found
        if len(found.dims) != 3 or found.is_padded:
            raise NotOnChipError(f"{tensor} is {list(found.dims)}, not a channels x rows x columns map")
        channels, rows, columns = found.dims
        node = onnx.helper.make_node("Identity", [tensor], [f"{tensor}.image"], f"{tensor}.image")
        return laid_out(self, found, image_like((rows, columns, channels), found.offset), node)

    def unique(self, stem: str) -> str:
        """A value name that is not taken."""
        name, n = stem, 1
        while name in self.graph:
            n += 1
            name = f"{stem}.{n}"
        return name

    def constant(self, name: str, array: Array) -> str:
        """Store a constant; a name that is taken gets a number."""
        stem, n = name, 1
        while name in self.graph.constants:
            n += 1
            name = f"{stem}.{n}"
        self.graph.constants[name] = np.ascontiguousarray(array)
        return name

    def table_constant(self, unit: Unit, table: Array) -> str:
        """Store a table; equal tables are stored once."""
        key = table.tobytes()
        if key not in self._tables:
            self._tables[key] = self.constant(f"{stem_of(unit)}.table", table)
        return self._tables[key]

    def emit(
        self,
        kind: type[Any],
        unit: Unit,
        inputs: tuple[Ref, ...],
        like: Ref,
        *,
        hidden: str = "",
        **fields: Any,
    ) -> Ref:
        """Add an op. ``like`` gives shape, order, ONNX shape and storage of the result (its value is ignored).

        A ``hidden`` result is an intermediate that no ONNX tensor equals; the word ends its name.
        """
        name = self.unique(stem_of(unit) + hidden)
        views = () if hidden or unit.after else (View(unit.output.tensor, like.order, like.dims, like.offset),)
        named = {f: self.constant(f"{name}.{f}", a) if isinstance(a, np.ndarray) else a for f, a in fields.items()}
        self.graph.add(
            kind(
                name=name,
                inputs=tuple(r.value for r in inputs),
                type=TensorType(kind.makes, like.shape),
                node=unit.node.name,
                views=views,
                **named,
            )
        )
        return Ref(name, like.shape, like.order, like.dims, like.offset)


def stem_of(unit: Unit) -> str:
    """A value's name: the ONNX node's without the decoration of quantisers, or the tensor's."""
    name = unit.node.name or unit.output.tensor
    return name.lstrip("/").removesuffix("_quant") or unit.output.tensor


def stored_limits(unit: Unit, offset: int) -> tuple[int, int]:
    """Stored limits of the result: those of a Relu or Clip behind the operator, quantised."""
    if math.isinf(unit.lo) and math.isinf(unit.hi):
        return 0, 255
    scale, zero = unit.output.scale, unit.output.zero
    assert scale is not None
    assert zero is not None
    if _is_redundant(unit, scale, zero):
        return 0, 255
    bounds = np.clip(np.array([unit.lo, unit.hi], F32), np.finfo(F32).min / 2, np.finfo(F32).max / 2)
    with np.errstate(over="ignore"):
        lo, hi = quantise_linear(bounds, scale, zero).astype(int) + offset
    return int(lo), int(hi)


def _is_redundant(unit: Unit, scale: Array, zero: Array) -> bool:
    """Whether onnxruntime leaves a Clip out: the 8-bit range goes beyond its limits by next to nothing, absolutely.

    Ranges of very small scales lie within that altogether. A Relu is left out only by its zero point.
    """
    if unit.lo == 0 and math.isinf(unit.hi):
        return False
    ends = np.iinfo(zero.dtype)
    lower, upper = (
        float(F32(scale.reshape(-1)[0]) * F32(end - int(zero.reshape(-1)[0]))) for end in (ends.min, ends.max)
    )
    nothing = float(np.finfo(F32).eps)
    return unit.lo - lower <= nothing and upper - unit.hi <= nothing


def demand_no_overflow(largest: float) -> None:
    """Refuse results (in steps of the output) that overflow in onnxruntime, which clips behind its 32-bit integers."""
    if not largest < 2**31:
        raise NotOnChipError("its scales are too far apart: onnxruntime's result overflows 32 bits")


def cuts_range(unit: Unit, lo: int, hi: int) -> bool:
    """Whether a Relu or Clip behind the operator has stored limits within the 8-bit range.

    onnxruntime fuses one only where quantisation already has its limits; here it computes in floating point.
    """
    return (math.isfinite(unit.lo) or math.isfinite(unit.hi)) and (lo > 0 or hi < 255)


def output_offset(unit: Unit, default: int) -> int:
    """Storage offset of the result; ``default`` where the operator works on integers and keeps their type."""
    offset = unit.output.offset
    return default if offset is None else offset
