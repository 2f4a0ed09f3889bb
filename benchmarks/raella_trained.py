"""Counts of runs on networks with trained weights: RAELLA and its baseline, on images, every conversion as it came."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

from raella_networks import NETWORKS

from pimc import driver
from pimc.ir.graph import Graph
from pimc.ir.ops import Conv
from pimc.passes.choose_flows import flow_of
from pimc.passes.manager import run_passes
from pimc.passes.target import Target
from pimc.targets import find_target

__all__ = ["TRAINED", "measure"]

#: Networks of the page.
TRAINED = ("lite0", "opennsfw")

#: Designs as the page has them: the target and its options.
_CHIPS = {
    "isaac": ("isaac-8b", {}),
    "center_offset_aws": ("raella", {"speculation": "off", "signed": "off"}),
    "raella": ("raella", {"speculation": "on", "signed": "off"}),
}


def measure(name: str, images: int) -> dict[str, Any]:
    """Actions of the mean of the first images, by design; slices are those that the speculating chip chose."""
    network, flows, found = NETWORKS[name](), {}, {}
    for design in reversed(_CHIPS):
        target, graph = _lowered(network, design, flows)
        program = driver.CompiledProgram(find_target(target.name).emit(graph, target))
        ran = program.run({program.program.inputs[0].name: network.x[:images]}, batch=1)
        macs = {op.name: math.prod(op.shape[:2]) * graph.constants[op.weights].size for op in graph.of(Conv)}
        slices = sum(n * len(flow_of(graph, graph[op], target).slices) for op, n in macs.items()) / sum(macs.values())
        found[design] = {"actions": dict(ran.energy.actions), "slices": slices}
        print(f"{name}: {design}: {ran.energy.actions['adc_conversion'] / sum(macs.values()):.4f}", flush=True)
    return {"images": len(network.x[:images]), "macs": sum(macs.values()), "designs": {d: found[d] for d in _CHIPS}}


def _lowered(network: Any, design: str, flows: dict[str, str]) -> tuple[Target, Graph]:
    """The mapped graph; ``flows`` are written down for the first chip with slices to choose, kept for the next."""
    kind, options = _CHIPS[design]
    target, steps = driver.choose(kind, **options)
    if kind != "raella":
        return target, driver.lower(network.model, target, steps)
    flowed, others = steps[:2], steps[2:]
    if not flows:
        graph = driver.lower(network.model, target, flowed, calibration=network.calibration)
        flows.update({op.name: flow_of(graph, op, target).name for op in graph.of(Conv)})
    else:
        graph = driver.lower(network.model, target, flowed[:1])
        for op in list(graph.of(Conv)):
            graph.update(replace(op, flow=f"{flows[op.name]}-bits"))
    return target, run_passes(graph, others, target)
