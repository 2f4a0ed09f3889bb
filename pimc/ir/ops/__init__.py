"""The graph IR's operations, one class each: everything that the compiler knows of an op is in its class.

Activations are u8 rows x columns x channels; weights are s8. Decisions of passes are fields that are ``None`` until a
pass has made them, so the text form of a graph shows all that was decided.
"""

from __future__ import annotations

from pimc.ir.ops.base import OPS, Evaluation, Geometry, InferError, Op, TensorOp, TensorType
from pimc.ir.ops.conv import Conv
from pimc.ir.ops.decided import CellPlan, Mapping, Part, RoundPlan, Schedule
from pimc.ir.ops.elementwise import Add, Max, Min, Mul, Sub, Sum, TwoInputs
from pimc.ir.ops.host import HostCall
from pimc.ir.ops.moves import Concat, Lut, Move, Pick, Relay
from pimc.ir.ops.pools import AvgPool, Gap, MaxPool
from pimc.ir.ops.reach import Piece, Reach, Segment

__all__ = [
    "OPS",
    "Add",
    "AvgPool",
    "CellPlan",
    "Concat",
    "Conv",
    "Evaluation",
    "Gap",
    "Geometry",
    "HostCall",
    "InferError",
    "Lut",
    "Mapping",
    "Max",
    "MaxPool",
    "Min",
    "Move",
    "Mul",
    "Op",
    "Part",
    "Pick",
    "Piece",
    "Reach",
    "Relay",
    "RoundPlan",
    "Schedule",
    "Segment",
    "Sub",
    "Sum",
    "TensorOp",
    "TensorType",
    "TwoInputs",
]
