"""Choose the analog micro-program (flow) that reads each convolution's crossbars.

    %y: u8[28x28x128] = q.conv(%x) {...}
    ->                                 {..., flow = "isaac8"}

What a layer may have is the target's offer, a function of the layer's facts and the target's options; the first of the
offered is taken. All that follows asks the op: cuts want the flow's columns and interval, cells its slices, ranges its
conversions, and layers of one network may differ in all of them. A plan file can force any that is offered.

A target's flows are made by the modulo scheduler (`pimc.analysis.modulo`) from its dataflow, its precisions and its
machine when the target is made, or are published texts (ISAAC's). Their structural hazards and intervals are checked
against the machine then, and again when the program is loaded.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from pimc.analysis.facts import facts_of
from pimc.ir.graph import Graph
from pimc.ir.ops import Conv
from pimc.passes.base import Pass, PassError
from pimc.passes.target import Target, few
from pimc_isa.flow import Flow

__all__ = ["ChooseFlows", "flow_of"]


@dataclass(frozen=True)
class ChooseFlows(Pass):
    """Choose the analog flow of every convolution."""

    name = "choose-flows"
    from_stage = "quantised"
    to_stage = "flowed"
    decides = ("flow",)

    flow: str = ""  # empty: the flow that the target offers each layer first

    def apply(self, graph: Graph, target: Target) -> Graph:
        """Name the flow on every convolution."""
        graph = graph.copy()
        for op in list(graph.of(Conv)):
            offered = _offered(graph, op, target)
            graph.update(replace(op, flow=_judged(op, self.flow or offered[0], offered, target)))
        return graph


def flow_of(graph: Graph, op: Conv, target: Target) -> Flow:
    """The flow that a convolution has. Raises PassError for one not offered to it, or one that reads other cells."""
    flow = target.flow[_judged(op, op.flow or "", _offered(graph, op, target), target)]
    if op.cells is not None and op.cells.slices != flow.slices:
        raise PassError(f"{op.name} is stored in the slices {op.cells.slices}, flow {flow.name} reads {flow.slices}")
    if op.cells is not None and op.cells.bipolar != flow.bipolar:
        raise PassError(f"{op.name} is not stored in the columns (single ones or pairs) that flow {flow.name} reads")
    return flow


def _offered(graph: Graph, op: Conv, target: Target) -> tuple[str, ...]:
    return target.offers(facts_of(graph, replace(op, flow=None)))


def _judged(op: Conv, name: str, offered: tuple[str, ...], target: Target) -> str:
    if name not in offered:
        kind = "offers it" if name in target.flow else "has"
        known = few(offered if name in target.flow else target.flow)
        raise PassError(f"layer {op.name} cannot have flow {name!r}: target {target.name} {kind} {known}")
    return name
