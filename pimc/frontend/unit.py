"""A quantised operator in one form, whichever of ONNX's two formats it came from.

QOperator nodes carry scales as inputs; in QDQ form an operator stands between DequantizeLinear and QuantizeLinear. Both
become a `Unit`: an operator with 8-bit operands, its attributes, and limits from a Relu or Clip behind it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx

from pimc.frontend.errors import NotOnChipError
from pimc.frontend.source import Array
from pimc_isa.numerics import F32

__all__ = ["Operand", "Unit", "storage_offset"]


@dataclass(frozen=True)
class Operand:
    """An 8-bit tensor as one operator sees it.

    ``scale`` and ``zero`` are None where an operator works on the integers themselves; ``value`` is a constant's array;
    ``axis`` is the channel axis of per-channel parameters (None: the operator's own). ``through`` are relabelling float
    nodes between the DequantizeLinear and the operator.
    """

    tensor: str
    scale: Array | None = None
    zero: Array | None = None
    value: Array | None = None
    axis: int | None = None
    through: tuple[onnx.NodeProto, ...] = ()

    @property
    def is_constant(self) -> bool:
        """Whether the operand is known now."""
        return self.value is not None

    @property
    def one_scale(self) -> np.float32:
        """The scale of an activation (per tensor)."""
        if self.scale is None or self.scale.size != 1:
            raise NotOnChipError(f"{self.tensor} has no single scale")
        return F32(self.scale.reshape(())[()])

    @property
    def one_zero(self) -> int:
        """The zero point of an activation (per tensor), as ONNX has it."""
        if self.zero is None or self.zero.size != 1:
            raise NotOnChipError(f"{self.tensor} has no single zero point")
        return int(self.zero.reshape(())[()])

    @property
    def offset(self) -> int | None:
        """What is added for storage: 0 for uint8, 128 for int8; None where the operator does not say."""
        return None if self.zero is None else storage_offset(self.zero.dtype, self.tensor)


def storage_offset(dtype: Any, tensor: str) -> int:
    """0 for uint8 and 128 for int8; other types have no place in an 8-bit buffer."""
    if dtype == np.uint8:
        return 0
    if dtype == np.int8:
        return 128
    raise NotOnChipError(f"{tensor} is {np.dtype(dtype).name}; the chip stores 8-bit activations")


@dataclass(frozen=True)
class Unit:
    """One quantised operator: ``op`` is its key in the table of rules, ``node`` the ONNX node it is named after.

    ``nodes`` are the numbers of all nodes it covers, ``inputs`` its operands in ONNX order (None: left out), ``lo`` and
    ``hi`` real limits of a Relu or Clip between operator and quantisation, ``after`` relabelling float nodes there.
    ``inexact`` is '' or why onnxruntime may compute this one in floating point, which can differ by one step.
    """

    op: str
    node: onnx.NodeProto
    nodes: tuple[int, ...]
    inputs: tuple[Operand | None, ...]
    output: Operand
    attributes: dict[str, Any] = field(default_factory=dict)
    lo: float = -math.inf
    hi: float = math.inf
    after: tuple[onnx.NodeProto, ...] = ()
    inexact: str = ""

    def operand(self, index: int) -> Operand:
        """An input that must be there."""
        found = self.maybe(index)
        if found is None:
            raise NotOnChipError(f"input {index} is missing")
        return found

    def maybe(self, index: int) -> Operand | None:
        """An input that may be left out."""
        return self.inputs[index] if index < len(self.inputs) else None

    @property
    def activations(self) -> list[Operand]:
        """Operands that are not constants, in order."""
        return [o for o in self.inputs if o is not None and not o.is_constant]
