"""The neural-pim target: sums added in analog over weight slices and input slices, one conversion per output."""

from __future__ import annotations

from dataclasses import replace

from pimc.analysis.dataflow import Dataflow, on_machine
from pimc.ir.graph import Graph
from pimc.passes.base import Pass
from pimc.passes.choose_ranges import WIDE
from pimc.passes.target import Target, TargetError
from pimc_backends.kit.emit import emit as emit_program
from pimc_backends.kit.target import analog_pipeline, make_target, packaged_machine, scheduled_flow
from pimc_isa.engines.dots.model import PREFIX
from pimc_isa.flow import Flow
from pimc_isa.machine import Machine
from pimc_isa.peripherals import to_tensors
from pimc_isa.program import Program

__all__ = [
    "CENTRED",
    "CENTRED_FLOW",
    "DATAFLOW",
    "FLOW",
    "dataflow_of",
    "emit",
    "flow",
    "machine",
    "passes",
    "target",
]

#: The dataflow with the paper's precisions.
DATAFLOW = Dataflow("C", dac_bits=4, encoding="pairs", ranged=True)

#: The same with the sums of inputs counted, so that codes are weights less the mean of their column. Not the paper's.
CENTRED = replace(DATAFLOW, centred=True)

#: Names of the flows.
FLOW, CENTRED_FLOW = "npim8", "npim8c"


def machine() -> Machine:
    """Neural-PIM at N128-D4-A4-S64."""
    return packaged_machine(__package__)


published = machine


def with_held_copies(base: Machine, held_copies: int) -> Machine:
    """The chip with so many sets of held sums, see the file's notes."""
    return replace(base, array=replace(base.array, held_copies=held_copies))


def flow() -> Flow:
    """The flow ``npim8``."""
    return scheduled_flow(FLOW, DATAFLOW, machine())


def dataflow_of(ranges: str, centre: str = "auto") -> tuple[Dataflow, str]:
    """The dataflow and the name of its flow for a choice of ranges; ``centre`` as for `target`. Raises TargetError."""
    if centre not in ("auto", "on", "off"):
        raise TargetError(f"centre {centre!r} does not exist; choose auto, on or off")
    centred = centre == "on" or (centre == "auto" and ranges in ("gain", "power2"))
    return (CENTRED, CENTRED_FLOW) if centred else (DATAFLOW, FLOW)


def target(
    *,
    chips: int | None = None,
    replication: str = "balanced",
    ranges: str = "gain",
    peripherals: str = "ideal",
    held_copies: int | None = None,
    centre: str = "auto",
    machine: Machine | None = None,
) -> Target:
    """Neural-PIM with 8-bit inputs, weights and outputs. ``ranges``: see `Target`; 'wide' loses nothing.

    ``centre``: 'on' stores weights less the mean of their column, and adds it times the sum of inputs in digital; 'off'
    is the paper's hardware; 'auto' is on where ranges are chosen freely ('gain', 'power2').
    """
    dataflow, name = dataflow_of(ranges, centre)
    chip = machine or published()
    if held_copies is not None:
        chip = with_held_copies(chip, held_copies)
    return make_target(
        "neural-pim",
        chip,
        on_machine(dataflow, chip),
        name,
        chips=chips,
        replication=replication,
        ranges=ranges,
        peripherals=peripherals,
    )


def emit(graph: Graph, target: Target) -> Program:
    """Lower a graph at stage 'scheduled'; programs with peripherals that are not ideal hold their parameters."""
    program = emit_program(graph, target)
    if target.peripherals == "ideal":
        return program
    if target.ranges == WIDE:
        raise TargetError("wide converters lose nothing, trained ones have 8 bits: use peripherals 'ideal' with 'wide'")
    from pimc_backends.neural_pim.peripherals.store import load

    parameters = to_tensors(load(), PREFIX)
    meta = {**program.meta, "peripherals": target.peripherals}
    return replace(program, tensors={**program.tensors, **parameters}, meta=meta)


def passes() -> tuple[Pass, ...]:
    """The passes, in order."""
    return analog_pipeline()
