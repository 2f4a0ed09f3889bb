"""The isaac-style target: ISAAC's dataflow with 1-bit cells, as Neural-PIM compares with."""

from __future__ import annotations

from dataclasses import replace

from pimc.analysis.dataflow import Dataflow, on_machine
from pimc.passes.base import Pass
from pimc.passes.target import Target, TargetError
from pimc_backends.kit.emit import emit
from pimc_backends.kit.target import analog_pipeline, encoding_of, make_target, packaged_machine, scheduled_flow
from pimc_isa.flow import Flow
from pimc_isa.machine import Component, Energy, Machine

__all__ = ["DATAFLOW", "FLOW", "emit", "flow", "machine", "passes", "target"]

#: The dataflow with the paper's precisions.
DATAFLOW = Dataflow("A")

#: Name of the flow.
FLOW = "isaac8x1"


def machine() -> Machine:
    """The 8-bit ISAAC-style chip with 1-bit cells and converters of 7 bits (Table 3)."""
    return packaged_machine(__package__)


published = machine


def with_converters(base: Machine, converter_bits: int) -> Machine:
    """The chip with converters of 7 (Table 3) or 8 bits (Figure 13), at their price."""
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
    converter_bits: int | None = None,
    encoder: str = "flipped",
    machine: Machine | None = None,
) -> Target:
    """ISAAC's dataflow with 8-bit inputs and weights and 1-bit cells: lossless conversions.

    ``encoder='differential'``: W+ and W- columns, each converted, instead of flipped ones: half the weights per array.
    """
    chip = machine or published()
    if converter_bits is not None:
        chip = with_converters(chip, converter_bits)
    flow = on_machine(replace(DATAFLOW, encoding=encoding_of(encoder, "sides")), chip)
    return make_target("isaac-style", chip, flow, FLOW, chips=chips, replication=replication, ranges=ranges)


def passes() -> tuple[Pass, ...]:
    """The passes, in order."""
    return analog_pipeline()
