"""The cascade target: column sums kept in analog buffer cells, one conversion per buffer column."""

from __future__ import annotations

from dataclasses import replace

from pimc.analysis.modulo import Dataflow
from pimc.passes.base import Pass
from pimc.passes.target import Target
from pimc_backends._shared.emit import emit
from pimc_backends._shared.target import analog_pipeline, encoding_of, make_target, packaged_machine, scheduled_flow
from pimc_isa.flow import Flow
from pimc_isa.machine import Machine

__all__ = ["DATAFLOW", "FLOW", "emit", "flow", "machine", "pipeline", "target"]

#: The dataflow with the paper's precisions.
DATAFLOW = Dataflow("B", converter_bits=10, summed_columns=11)

#: Name of the flow.
FLOW = "cascade8"


def machine(*, cycle_ns: int = 100) -> Machine:
    """The 8-bit CASCADE-style chip. ``cycle_ns``: time of an array read and a buffer write; converters keep theirs."""
    base = packaged_machine(__package__)
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
    cycle_ns: int = 100,
    summed_columns: int = DATAFLOW.summed_columns,
    encoder: str = "flipped",
) -> Target:
    """CASCADE with 8-bit inputs and weights.

    ``ranges='wide'``: cells and converters that lose nothing. ``summed_columns=1``: no summing amplifiers, 15
    conversions for each output (equation 6). ``encoder='differential'``: W+ and W- columns instead of flipped ones.
    """
    encoding = encoding_of(encoder)
    dataflow = replace(DATAFLOW, summed_columns=summed_columns, encoding=encoding)
    chip = machine(cycle_ns=cycle_ns)
    return make_target("cascade", chip, dataflow, FLOW, chips=chips, replication=replication, ranges=ranges)


def pipeline() -> tuple[Pass, ...]:
    """The passes, in order."""
    return analog_pipeline()
