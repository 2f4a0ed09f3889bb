"""The cascade target: column sums kept in analog buffer cells, one conversion per buffer column."""

from __future__ import annotations

from dataclasses import replace

from pimc.analysis.modulo import Dataflow
from pimc.passes.base import Pass
from pimc.passes.target import Target
from pimc_backends._shared.emit import emit
from pimc_backends._shared.target import analog_pipeline, make_target, packaged_machine, scheduled_flow
from pimc_isa.flow import Flow
from pimc_isa.machine import Machine

__all__ = ["DATAFLOW", "FLOW", "emit", "flow", "machine", "pipeline", "target"]

#: The dataflow with the paper's precisions.
DATAFLOW = Dataflow("B")

#: Name of the flow.
FLOW = "cascade8"


def machine(*, cycle_ns: int = 100) -> Machine:
    """The 8-bit CASCADE-style chip. ``cycle_ns``: time of an array read and a buffer write; converters keep theirs."""
    base = packaged_machine(__package__)
    cycles = round(cycle_ns * 1e-9 * base.clock_hz)
    share = cycles / base.array.step_cycles
    array = replace(
        base.array, step_cycles=cycles, conversions_per_step=base.array.conversions_per_step * share
    )
    return replace(base, array=array)


def flow() -> Flow:
    """The flow ``cascade8``."""
    return scheduled_flow(FLOW, DATAFLOW, machine())


def target(
    *, chips: int | None = None, replication: str = "balanced", ranges: str = "gain", cycle_ns: int = 100
) -> Target:
    """CASCADE with 8-bit inputs and weights. ``ranges='wide'``: cells and converters that lose nothing."""
    return make_target(
        "cascade", machine(cycle_ns=cycle_ns), DATAFLOW, FLOW, chips=chips, replication=replication, ranges=ranges
    )



def pipeline() -> tuple[Pass, ...]:
    """The passes, in order."""
    return analog_pipeline()
