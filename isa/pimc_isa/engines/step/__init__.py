"""The step engine: the slow referee, one clock at a time, values and cycles together.

It restates every rule from the manual and takes none from the engines it judges. ``restate`` adds an instruction.
"""

from pimc_isa.engines.step import rules as _rules  # fills the table of restatements
from pimc_isa.engines.step.actions import book_micro_op
from pimc_isa.engines.step.clock import StepResult, run
from pimc_isa.engines.step.flows import StepConverter, restate_micro_op
from pimc_isa.engines.step.geometry import InTile, Row, elements, nbytes, slab_row
from pimc_isa.engines.step.referee import Restatement, restate, unrefereed
from pimc_isa.engines.step.values import Values

__all__ = [
    "InTile",
    "Restatement",
    "Row",
    "StepConverter",
    "StepResult",
    "Values",
    "book_micro_op",
    "elements",
    "nbytes",
    "over",
    "restate",
    "restate_micro_op",
    "run",
    "slab_row",
    "unrefereed",
]

over = _rules.over

del _rules
