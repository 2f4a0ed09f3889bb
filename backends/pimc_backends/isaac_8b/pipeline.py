"""The isaac-8b target: ISAAC's dataflow with 8-bit inputs and weights on the chip that RAELLA compares with."""

from __future__ import annotations

from pimc.analysis.dataflow import Dataflow, on_machine
from pimc.passes.base import Pass
from pimc.passes.target import Target
from pimc_backends.kit.emit import emit
from pimc_backends.kit.target import analog_pipeline, make_target, packaged_machine, scheduled_flow
from pimc_isa.flow import Flow
from pimc_isa.machine import Machine

__all__ = ["DATAFLOW", "FLOW", "emit", "flow", "machine", "passes", "target"]

#: The dataflow with the paper's precisions.
DATAFLOW = Dataflow("A", cell_bits=2, converter_bits=8)

#: Name of the flow.
FLOW = "isaac8x2"


def machine() -> Machine:
    """The 8-bit ISAAC of RAELLA's comparison: 1,024 tiles."""
    return packaged_machine(__package__)


published = machine


def flow() -> Flow:
    """The flow ``isaac8x2``."""
    return scheduled_flow(FLOW, DATAFLOW, machine())


def target(
    *,
    chips: int | None = None,
    replication: str = "balanced",
    ranges: str = "gain",
    machine: Machine | None = None,
) -> Target:
    """ISAAC with 8-bit inputs and weights as RAELLA has it for its baseline: lossless conversions."""
    chip = machine or published()
    dataflow = on_machine(DATAFLOW, chip)
    return make_target("isaac-8b", chip, dataflow, FLOW, chips=chips, replication=replication, ranges=ranges)


def passes() -> tuple[Pass, ...]:
    """The passes, in order."""
    return analog_pipeline()
