"""The cascade target: column sums kept in analog buffer cells, one conversion per buffer column."""

from __future__ import annotations

from dataclasses import replace

from pimc.analysis.dataflow import Dataflow, on_machine
from pimc.passes.base import Pass
from pimc.passes.target import Target
from pimc_backends.kit.emit import emit
from pimc_backends.kit.target import analog_pipeline, encoding_of, make_target, packaged_machine, scheduled_flow
from pimc_isa.flow import Flow
from pimc_isa.machine import Machine

__all__ = ["DATAFLOW", "FLOW", "emit", "flow", "machine", "passes", "target"]

#: The dataflow with the paper's precisions.
DATAFLOW = Dataflow("B", converter_bits=10, summed_columns=11)

#: Name of the flow.
FLOW = "cascade8"


def machine() -> Machine:
    """The 8-bit CASCADE-style chip."""
    return packaged_machine(__package__)


published = machine


def with_cycle(base: Machine, cycle_ns: int) -> Machine:
    """The chip with so much time for an array read and a buffer write; converters keep theirs."""
    cycles = round(cycle_ns * 1e-9 * base.clock_hz)
    share = cycles / base.array.step_cycles
    array = replace(base.array, step_cycles=cycles, conversions_per_step=base.array.conversions_per_step * share)
    return replace(base, array=array)


def flow() -> Flow:
    """The flow ``cascade8``."""
    return scheduled_flow(FLOW, DATAFLOW, machine())


def target(
    *,
    chips: int | None = None,
    replication: str = "balanced",
    ranges: str = "gain",
    cycle_ns: int | None = None,
    summed_columns: int | None = None,
    encoder: str = "flipped",
    machine: Machine | None = None,
) -> Target:
    """CASCADE with 8-bit inputs and weights.

    ``ranges='wide'``: cells and converters that lose nothing. ``summed_columns=1``: no summing amplifiers, 15
    conversions for each output (equation 6). ``encoder='differential'``: W+ and W- columns instead of flipped ones.
    """
    chip = machine or published()
    if cycle_ns is not None:
        chip = with_cycle(chip, cycle_ns)
    dataflow = on_machine(replace(DATAFLOW, encoding=encoding_of(encoder)), chip)
    if summed_columns is not None:
        dataflow = replace(dataflow, summed_columns=summed_columns)
    return make_target("cascade", chip, dataflow, FLOW, chips=chips, replication=replication, ranges=ranges)


def passes() -> tuple[Pass, ...]:
    """The passes, in order."""
    return analog_pipeline()
