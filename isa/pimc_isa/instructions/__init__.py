"""All instructions, one file per unit. Importing this package fills the registry."""

from pimc_isa.instructions.control import End, Halt, Loop, Stretch, blocks, executed_instructions
from pimc_isa.instructions.host import CallHost, CallRow, HostWork
from pimc_isa.instructions.matrix import Mvm, Mvma
from pimc_isa.instructions.move import Copy, Fill
from pimc_isa.instructions.network import Recv, Send
from pimc_isa.instructions.vector import (
    Add,
    Lut,
    Max,
    Min,
    Mul,
    PerElement,
    PerPair,
    PoolAvg,
    PoolMax,
    PoolSum,
    Quant,
    Sub,
    Sum,
)

__all__ = [
    "Add",
    "CallHost",
    "CallRow",
    "Copy",
    "End",
    "Fill",
    "Halt",
    "HostWork",
    "Loop",
    "Lut",
    "Max",
    "Min",
    "Mul",
    "Mvm",
    "Mvma",
    "PerElement",
    "PerPair",
    "PoolAvg",
    "PoolMax",
    "PoolSum",
    "Quant",
    "Recv",
    "Send",
    "Stretch",
    "Sub",
    "Sum",
    "blocks",
    "executed_instructions",
]
