"""Choose the analog micro-program (flow) that reads each convolution's crossbars.

    %y: u8[28x28x128] = q.conv(%x) {...}
    ->                                 {..., flow = "isaac8"}

A target's flows are made by the modulo scheduler (`pimc.analysis.modulo`) from its dataflow, its precisions and its
machine when the target is made, because the cut of a network needs their intervals, or are published texts (ISAAC's).
The flow must read weights in the slices and columns the layer is stored in. Its structural hazards and its interval are
checked against the machine when it is scheduled or read, and again when the program is loaded.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from pimc.ir.graph import Graph
from pimc.ir.ops import Conv
from pimc.passes.base import Pass, PassError
from pimc.passes.target import Target

__all__ = ["ScheduleAnalog"]


@dataclass(frozen=True)
class ScheduleAnalog(Pass):
    """Choose the analog flow of every convolution."""

    name = "schedule-analog"
    from_stage = "placed"
    to_stage = "programmed"
    decides = ("flow",)

    flow: str = ""  # empty: the target's own flow for convolutions

    def apply(self, graph: Graph, target: Target) -> Graph:
        """Name the flow on every convolution."""
        name = self.flow or target.conv_flow
        if name not in target.flow:
            raise PassError(f"target {target.name} has no flow {name!r}; it has {', '.join(target.flow)}")
        graph = graph.copy()
        for op in list(graph.of(Conv)):
            if op.cells is None or op.cells.slices != target.flow[name].slices:
                raise PassError(f"{op.name} is not stored in the slices {target.flow[name].slices} that {name} reads")
            if op.cells.bipolar != target.flow[name].bipolar:
                raise PassError(f"{op.name} is not stored in the columns (single ones or pairs) that {name} reads")
            graph.update(replace(op, flow=name))
        return graph
