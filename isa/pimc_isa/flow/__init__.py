"""Flows: analog micro-programs as data, their structural check, and the normal form that says what they compute."""

from pimc_isa.flow.check import check_flow
from pimc_isa.flow.flow import Flow, flow_actions
from pimc_isa.flow.forms import Block, Conversion, NormalForm
from pimc_isa.flow.microops import OPS, MicroOp, micro_op, parse_flow_lines, print_flow_lines
from pimc_isa.flow.reduce import MAX_BITS, normal_form
from pimc_isa.flow.text import load_flow, parse_flow, print_flow

__all__ = [
    "MAX_BITS",
    "OPS",
    "Block",
    "Conversion",
    "Flow",
    "MicroOp",
    "NormalForm",
    "check_flow",
    "flow_actions",
    "load_flow",
    "micro_op",
    "normal_form",
    "parse_flow",
    "parse_flow_lines",
    "print_flow",
    "print_flow_lines",
]
