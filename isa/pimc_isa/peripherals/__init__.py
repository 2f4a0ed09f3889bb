"""Trained analog peripherals as the interpreter runs them: the NNS+A, the NNADC, and chains of both.

Everything is arrays and explicit seeds; training lives with the target that uses them.
"""

from pimc_isa.peripherals.chain import Chain, ErrorModel, Kind, dot_chain, dot_chain_reference, exact_sums
from pimc_isa.peripherals.design import Peripherals, from_tensors, ideal_chain, to_tensors
from pimc_isa.peripherals.devices import Columns, Inverters
from pimc_isa.peripherals.nnadc import ConverterTable, NnadcDesign, ideal_codes, nnadc
from pimc_isa.peripherals.nnsa import NnsaDesign, NnsaInstance, nnsa, nnsa_ideal

__all__ = [
    "Chain",
    "Columns",
    "ConverterTable",
    "ErrorModel",
    "Inverters",
    "Kind",
    "NnadcDesign",
    "NnsaDesign",
    "NnsaInstance",
    "Peripherals",
    "dot_chain",
    "dot_chain_reference",
    "exact_sums",
    "from_tensors",
    "ideal_chain",
    "ideal_codes",
    "nnadc",
    "nnsa",
    "nnsa_ideal",
    "to_tensors",
]
