"""The isaac-style target: ISAAC's dataflow with 1-bit cells, as Neural-PIM compares with."""

from __future__ import annotations

from dataclasses import replace

from pimc.analysis.modulo import Dataflow
from pimc.passes.base import Pass
from pimc.passes.target import Target, TargetError
from pimc_backends._shared.emit import emit
from pimc_backends._shared.target import analog_pipeline, encoding_of, make_target, packaged_machine, scheduled_flow
from pimc_isa.flow import Flow
from pimc_isa.machine import Component, Energy, Machine

__all__ = ["DATAFLOW", "FLOW", "emit", "flow", "machine", "pipeline", "target"]

#: The dataflow with the paper's precisions.
DATAFLOW = Dataflow("A")

#: Name of the flow.
FLOW = "isaac8x1"


def machine(*, converter_bits: int = 7) -> Machine:
    """The 8-bit ISAAC-style chip with 1-bit cells and converters of 7 (Table 3) or 8 bits (Figure 13)."""
    base = packaged_machine(__package__)
    if converter_bits == base.array.converter_bits:
        return base
    if converter_bits != 8:
        raise TargetError(f"isaac-style has converters of 7 or 8 bits, not {converter_bits}")
    source = "ISAAC Table I: 8 per IMA, 8 bit, 16 mW, 0.0096 mm2"
    adc = Component("adc", "array", 1, 2.0, 0.0012, source)
    price = Energy("adc_conversion", "adc", 1.667, "Accelergy/CiMLoop library for ISAAC: 8 bits")
    return replace(
        base,
        array=replace(base.array, converter_bits=8),
        components=tuple(adc if c.name == "adc" else c for c in base.components),
        energies=tuple(price if e.action == "adc_conversion" else e for e in base.energies),
    )


def flow() -> Flow:
    """The flow ``isaac8x1``."""
    return scheduled_flow(FLOW, DATAFLOW, machine())


def target(
    *,
    chips: int | None = None,
    replication: str = "balanced",
    ranges: str = "gain",
    converter_bits: int = 7,
    encoder: str = "flipped",
) -> Target:
    """ISAAC's dataflow with 8-bit inputs and weights and 1-bit cells: lossless conversions.

    ``encoder='differential'``: W+ and W- columns, each converted, instead of flipped ones: half the weights per array.
    """
    chip = machine(converter_bits=converter_bits)
    encoding = encoding_of(encoder, "sides")
    flow = replace(DATAFLOW, converter_bits=converter_bits, encoding=encoding)
    return make_target("isaac-style", chip, flow, FLOW, chips=chips, replication=replication, ranges=ranges)


def pipeline() -> tuple[Pass, ...]:
    """The passes, in order."""
    return analog_pipeline()
