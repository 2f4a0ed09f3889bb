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
from dataclasses import dataclass, replace
from typing import Any

import numpy.typing as npt

from pimc.analysis.calibrate import watched
from pimc.analysis.driving import can_try, least_energy, outcomes
from pimc.analysis.facts import facts_of
from pimc.analysis.slicing import BUDGET
from pimc.ir.graph import Graph
from pimc.ir.ops import Conv
from pimc.passes.base import Pass, PassError
from pimc.passes.choose_flows import flow_of
from pimc.passes.choose_slices import sampled_layer
from pimc.passes.target import Target
from pimc.progress import tell
from pimc_isa.flow import Flow

__all__ = ["ChooseInputs"]

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class ChooseInputs(Pass):
    """Choose how the inputs of every layer are driven by the error and the energy that it takes."""

    name = "choose-inputs"
    from_stage = "flowed"
    to_stage = "flowed"
    decides = ("flow",)

    budget: float = BUDGET

    def apply(self, graph: Graph, target: Target) -> Graph:
        """Name the chosen flows on the convolutions."""
        graph = graph.copy()
        layers = [(op, _ways(graph, op, target)) for op in graph.of(Conv)]
        if target.signed != "best" or not any(len(ways) > 1 for _, ways in layers):
            return graph
        seen = _watched(graph, target)
        for n, (op, ways) in enumerate(layers, 1):
            tell(f"inputs of layer {n} of {len(layers)}")
            if len(ways) > 1:
                layer = sampled_layer(graph, op, seen[op.name], flow_of(graph, op, target), target)
                made = outcomes(layer, list(ways.values()), op.x_zero, target.machine)
                chosen = least_energy(dict(zip(ways, made, strict=True)), self.budget)
                graph.update(replace(op, flow=chosen))
        return graph


def _watched(graph: Graph, target: Target) -> dict[str, Array]:
    """A sample of every layer's windows. Raises PassError without calibration data."""
    missing = [port.name for port in graph.inputs if port.name not in graph.calibration]
    if missing:
        raise PassError(
            f"target {target.name} chooses from data how inputs are driven, and there is none for {', '.join(missing)}\n"
            "give typical inputs with --calibration X.npz, or drive all alike: signed=off, or signed=on"
        )
    return watched(graph, graph.calibration, target.machine.array.rows)


def _ways(graph: Graph, op: Conv, target: Target) -> Mapping[str, Flow]:
    """The flows that read the same columns as the layer's own, as far as they can be tried."""
    own = flow_of(graph, op, target)
    offered = [target.flow[name] for name in target.offers(facts_of(graph, replace(op, flow=None)))]
    alike = [flow for flow in offered if (flow.slices, flow.bipolar) == (own.slices, own.bipolar)]
    return {flow.name: flow for flow in alike if can_try(flow)}
