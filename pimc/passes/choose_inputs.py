"""Choose how the inputs of every layer are driven, among the flows that read its slices.

    %y: u8[28x28x128] = q.conv(%x) {..., flow = "raella-4-2-2"}
    ->                                 {..., flow = "raella-4-2-2-signed"}

Inputs go in wide slices that are converted again where they clip, or bit by bit; as they are, in one pass, or less
their zero point in two, the positive part and the negative one: then the high bits of inputs around the zero point are
rare, but everything takes twice as long. Each way is tried on calibration images (`pimc.analysis.driving`), whose
inputs to a layer are those of an ideal chip, with all its conversions. Of those whose error stays below the budget (of
all, if none does) the one that takes the least energy is chosen. Targets choose where their ``signed`` is 'best'.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from pimc.analysis.driving import can_try, least_energy, outcomes
from pimc.analysis.facts import facts_of
from pimc.analysis.slicing import BUDGET
from pimc.ir.graph import Graph
from pimc.ir.ops import Conv
from pimc.passes.base import NOT_AN_OPTION, Decisions, Pass, PassError
from pimc.passes.choose_flows import ChooseFlows, flow_of
from pimc.passes.choose_slices import ChooseSlices, refuse_inputs, sampled_layers
from pimc.passes.target import Target
from pimc.progress import tell
from pimc_isa.flow import Flow

__all__ = ["ChooseInputs"]


@dataclass(frozen=True)
class ChooseInputs(Pass):
    """Choose how the inputs of every layer are driven by the error and the energy that it takes."""

    name = "choose-inputs"
    from_stage = "flowed"
    to_stage = "flowed"
    decides = ("flow",)

    budget: float = BUDGET
    inputs: str = "images"  # or "gaussian": no calibration is needed
    forced: frozenset[str] = field(default=frozenset(), metadata=NOT_AN_OPTION)  # layers whose flow a plan names

    def told(self, forced: Mapping[str, Decisions]) -> ChooseInputs:
        """Leave alone the layers whose flow a plan names."""
        steps = (ChooseFlows.name, ChooseSlices.name, self.name)
        return replace(self, forced=frozenset(op for step in steps for op in forced.get(step, {})))

    def apply(self, graph: Graph, target: Target) -> Graph:
        """Name the chosen flows on the convolutions."""
        graph = graph.copy()
        refuse_inputs(self.name, self.inputs)
        if not self.budget > 0:
            raise PassError(f"choose-inputs has budget={self.budget}\nit is a positive number of codes")
        if target.signed != "best":
            return graph
        ways = {op.name: _ways(graph, op, target) for op in graph.of(Conv) if op.name not in self.forced}
        open_ = {name: flows for name, flows in ways.items() if len(flows) > 1}
        otherwise = "drive all alike: signed=off or signed=on"
        sampled = sampled_layers(graph, target, list(open_), self.inputs, ("how inputs are driven", otherwise))
        for n, (op, layer) in enumerate(sampled, 1):
            tell(f"inputs of layer {n} of {len(open_)}")
            flows = open_[op.name]
            made = outcomes(layer, list(flows.values()), op.x_zero, target.machine)
            chosen = least_energy(dict(zip(flows, made, strict=True)), self.budget)
            graph.update(replace(op, flow=chosen))
        return graph


def _ways(graph: Graph, op: Conv, target: Target) -> Mapping[str, Flow]:
    """The flows that read the same columns as the layer's own, as far as they can be tried."""
    own = flow_of(graph, op, target)
    offered = [target.named(name) for name in target.offers(facts_of(graph, replace(op, flow=None)))]
    alike = [flow for flow in offered if (flow.slices, flow.bipolar) == (own.slices, own.bipolar)]
    return {flow.name: flow for flow in alike if can_try(flow)}
