"""A target as a value: a machine, a dataflow, passes; all that a third party needs for a chip of its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from pimc.analysis.dataflow import Dataflow, on_machine
from pimc.ir.graph import Graph
from pimc.machines import read_machine
from pimc.passes.base import Pass
from pimc.passes.target import Target
from pimc.targets import find_target
from pimc_backends.kit.emit import emit
from pimc_backends.kit.target import analog_pipeline, make_target
from pimc_isa.machine import Machine
from pimc_isa.program import Program

__all__ = ["ScheduledBackend"]


@dataclass(frozen=True)
class ScheduledBackend:
    """A target whose flow is scheduled from a dataflow with its machine's precisions. An entry point may name it.

    ``published`` is the machine or a file with one; ``flow`` names the flow. ``steps`` are the passes, ``write`` turns
    the last graph into a program.
    """

    name: str
    published: Machine | Path
    dataflow: Dataflow
    flow: str
    steps: tuple[Pass, ...] = field(default_factory=analog_pipeline)
    write: Callable[[Graph, Target], Program] = emit

    def machine(self) -> Machine:
        """The machine; a file may extend another target's. Raises MachineError for one that cannot be read."""
        if isinstance(self.published, Machine):
            return self.published
        return read_machine(self.published, lambda name: find_target(name).machine())

    def target(
        self,
        *,
        chips: int | None = None,
        replication: str = "balanced",
        ranges: str = "gain",
        machine: Machine | None = None,
    ) -> Target:
        """The chip with a user's choices; see `Target`."""
        chip = machine or self.machine()
        dataflow = on_machine(self.dataflow, chip)
        return make_target(self.name, chip, dataflow, self.flow, chips=chips, replication=replication, ranges=ranges)

    def passes(self) -> tuple[Pass, ...]:
        """The passes, in order."""
        return self.steps

    def emit(self, graph: Graph, target: Target) -> Program:
        """Turn the last graph into a program."""
        return self.write(graph, target)
