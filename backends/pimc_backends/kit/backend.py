"""A target as a value: a machine, dataflows, passes; all that a third party needs for a chip of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pimc.analysis.dataflow import Dataflow, on_machine
from pimc.ir.graph import Graph
from pimc.machines import read_machine
from pimc.passes.base import Pass
from pimc.passes.target import Offer, Target, every_flow
from pimc.targets import find_target
from pimc_backends.kit.emit import emit
from pimc_backends.kit.target import analog_pipeline, make_target
from pimc_isa.flow import parse_flow
from pimc_isa.machine import Machine
from pimc_isa.program import Program

__all__ = ["ScheduledBackend"]


@dataclass(frozen=True)
class ScheduledBackend:
    """A target whose flows are scheduled from dataflows with its machine's precisions. An entry point may name it.

    ``published`` is the machine or a file with one; ``flow`` names the flow. ``steps`` are the passes, ``write`` turns
    the last graph into a program. ``more`` are further dataflows by the names of their flows, ``written`` texts of
    flows, and ``offer`` says which flows a layer may have (see `Target`).
    """

    name: str
    published: Machine | Path
    dataflow: Dataflow
    flow: str
    steps: tuple[Pass, ...] = field(default_factory=analog_pipeline)
    write: Callable[[Graph, Target], Program] = emit
    more: Mapping[str, Dataflow] = field(default_factory=dict)
    offer: Offer = every_flow
    written: tuple[str, ...] = ()

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
        more = {name: on_machine(dataflow, chip) for name, dataflow in self.more.items()}
        options: dict[str, Any] = {"chips": chips, "replication": replication, "ranges": ranges, "offer": self.offer}
        options["written"] = tuple(map(parse_flow, self.written))
        return make_target(self.name, chip, on_machine(self.dataflow, chip), self.flow, more=more, **options)

    def passes(self) -> tuple[Pass, ...]:
        """The passes, in order."""
        return self.steps

    def emit(self, graph: Graph, target: Target) -> Program:
        """Turn the last graph into a program."""
        return self.write(graph, target)
