"""Micro-operations of flows, declared once each: what it occupies, takes and makes, its limits, its actions."""

from pimc_isa.flow.define import OPS, MicroOp, micro_op, parse_flow_lines, print_flow_lines
from pimc_isa.flow.microops.inputs import Drive, Load  # isort: split

from pimc_isa.flow.microops.analog import Buffer, Fold, Read  # isort: split

from pimc_isa.flow.microops.convert import Convert  # isort: split

from pimc_isa.flow.microops.digital import (
    Accumulate,
    Activate,
    Correct,
    CountInputs,
    Merge,
    Scale,
    Store,
    SumInputs,
)

__all__ = [
    "OPS",
    "Accumulate",
    "Activate",
    "Buffer",
    "Convert",
    "Correct",
    "CountInputs",
    "Drive",
    "Fold",
    "Load",
    "Merge",
    "MicroOp",
    "Read",
    "Scale",
    "Store",
    "SumInputs",
    "micro_op",
    "parse_flow_lines",
    "print_flow_lines",
]
