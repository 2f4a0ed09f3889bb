"""The table of operators: how each ONNX op type is lowered, and where it then runs. `pimc check` reports from it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from pimc.frontend.lower import concat, conv, elementwise, pool, relabel, table
from pimc.frontend.lowering import Lowering
from pimc.frontend.ref import Ref
from pimc.frontend.unit import Unit

__all__ = ["ELEMENTWISE", "RULES", "TABLE", "Rule", "add_rule"]


@dataclass(frozen=True)
class Rule:
    """How an op type is lowered.

    ``where``: chip, table (256 entries), relabel (no work), or move (copies). ``form`` is the input list of a QOperator
    node: operands, their scales (``.s``) and zero points (``.z``), y for the result, ``*`` where triples follow to the
    end; '' for an operator that stands between DequantizeLinear and QuantizeLinear. ``integers`` says that it may also
    be applied to 8-bit tensors directly. ``weighted`` operators hold weights on crossbars.
    """

    lower: Callable[[Lowering, Unit], Ref]
    where: str
    form: str = ""
    integers: bool = False
    weighted: bool = False


TABLE = Rule(table.table, "table")
"""For every chain of element-wise operators with one 8-bit input."""

_UNARY = "x x.s x.z y.s y.z"
_BINARY = "a a.s a.z b b.s b.z y.s y.z"

_RULES: dict[str, Rule] = dict(
    {
        "Conv": Rule(conv.convolution, "chip", weighted=True),
        "Gemm": Rule(conv.gemm, "chip", weighted=True),
        "MatMul": Rule(conv.matmul, "chip", weighted=True),
        "Add": Rule(elementwise.add, "chip"),
        "Mul": Rule(elementwise.mul, "chip"),
        "Sub": Rule(elementwise.sub, "chip"),
        "Max": Rule(elementwise.larger, "chip"),
        "Min": Rule(elementwise.smaller, "chip"),
        "Sum": Rule(elementwise.summed, "chip"),
        "MaxPool": Rule(pool.max_pool, "chip", integers=True),
        "AveragePool": Rule(pool.average_pool, "chip"),
        "GlobalAveragePool": Rule(pool.global_average, "chip"),
        "ReduceMean": Rule(pool.mean, "chip"),
        "Concat": Rule(concat.concat, "chip", integers=True),
        "Reshape": Rule(relabel.relabel, "relabel", integers=True),
        "Flatten": Rule(relabel.relabel, "relabel", integers=True),
        "Squeeze": Rule(relabel.relabel, "relabel", integers=True),
        "Unsqueeze": Rule(relabel.relabel, "relabel", integers=True),
        "Transpose": Rule(relabel.relabel, "relabel", integers=True),
        "Identity": Rule(relabel.relabel, "relabel", integers=True),
        "Dropout": Rule(relabel.relabel, "relabel", integers=True),
        "Pad": Rule(relabel.pad, "relabel", integers=True),
        "Slice": Rule(relabel.relabel, "move", integers=True),
        "Gather": Rule(relabel.relabel, "move", integers=True),
        "DepthToSpace": Rule(relabel.relabel, "move", integers=True),
        "SpaceToDepth": Rule(relabel.relabel, "move", integers=True),
        "Resize": Rule(relabel.relabel, "move", integers=True),
        "Upsample": Rule(relabel.relabel, "move", integers=True),
        "Expand": Rule(relabel.relabel, "move", integers=True),
        "Tile": Rule(relabel.relabel, "move", integers=True),
        "Relu": Rule(table.table, "table", integers=True),
        "Clip": Rule(table.table, "table", integers=True),
        "QuantizeLinear": Rule(table.requantise, "table"),
        "QLinearConv": Rule(conv.convolution, "chip", "x x.s x.z w w.s w.z y.s y.z c", weighted=True),
        "QGemm": Rule(conv.gemm, "chip", "a a.s a.z b b.s b.z c y.s y.z", weighted=True),
        "QLinearMatMul": Rule(conv.matmul, "chip", _BINARY, weighted=True),
        "QLinearAdd": Rule(elementwise.add, "chip", _BINARY),
        "QLinearMul": Rule(elementwise.mul, "chip", _BINARY),
        "QLinearAveragePool": Rule(pool.average_pool, "chip", _UNARY),
        "QLinearGlobalAveragePool": Rule(pool.global_average, "chip", _UNARY),
        "QLinearReduceMean": Rule(pool.mean, "chip", _UNARY),
        "QLinearConcat": Rule(concat.concat, "chip", "y.s y.z *"),
        "QLinearLeakyRelu": Rule(table.table, "table", _UNARY),
        "QLinearSigmoid": Rule(table.table, "table", _UNARY),
    }
)

RULES: Mapping[str, Rule] = MappingProxyType(_RULES)
"""Rules by ONNX op type."""


def add_rule(op_type: str, rule: Rule) -> None:
    """Say how an ONNX operator is lowered that had no rule so far. Raises ValueError if it has one."""
    if _RULES.setdefault(op_type, rule) is not rule:
        raise ValueError(f"operator {op_type} has a rule already")


ELEMENTWISE = frozenset(
    [
        *("Abs", "Add", "Cast", "Ceil", "Celu", "Clip", "Cos", "Div", "Dropout", "Elu", "Erf", "Exp", "Floor", "Gelu"),
        *("HardSigmoid", "HardSwish", "Identity", "LeakyRelu", "Log", "Max", "Min", "Mish", "Mul", "Neg", "Pow"),
        *("PRelu", "Reciprocal", "Relu", "Round", "Selu", "Sigmoid", "Sign", "Sin", "Softplus", "Softsign", "Sqrt"),
        *("Sub", "Swish", "Tanh", "ThresholdedRelu", "QuickGelu", "FastGelu", "BiasGelu"),
    ]
)
"""Operators that work on each element by itself when all but one operand are scalar constants: tables."""
