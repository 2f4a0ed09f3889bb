"""The artifact's networks as graphs: topologies of the zoo, random 8-bit weights, the artifact's shapes."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from types import MappingProxyType
from typing import Any

from raella_data import NETWORKS, Layer, layers

from pimc.frontend import load_model
from pimc.ir.graph import Graph
from pimc.ir.ops import Conv
from pimc_models import zoo

__all__ = ["CNNS", "graph_of", "layers_of", "shape_of"]

#: Networks that the zoo has.
CNNS = tuple(name for name, topology in NETWORKS.items() if topology)

#: What the artifact's shapes differ in from the published ones, besides the classifier's 1,024 outputs.
_OPTIONS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {"inceptionv3": {"size": 224, "padded_stem": True}, "shufflenet1_0": {"stages": (120, 240, 480)}}
)


@cache
def graph_of(network: str) -> Graph:
    """The quantised graph; the names of its layers stand in the order of the model's nodes."""
    topology = NETWORKS[network]
    assert topology is not None
    return load_model(zoo.build_int8(topology, classes=1024, **_OPTIONS.get(network, {})))


def shape_of(graph: Graph, op: Conv) -> tuple[int, ...]:
    """C, R, S, M, P, Q and G, as the artifact's table has them."""
    outputs, height, width, depth = graph.constants[op.weights].shape
    return depth, height, width, outputs // op.groups, *op.shape[:2], op.groups


def layers_of(network: str) -> dict[str, Layer]:
    """The artifact's layer of every convolution: by name where both have it, in the order of depth otherwise."""
    recorded = {layer.layer: layer for layer in layers(network)}
    names = [op.name for op in graph_of(network).of(Conv)]
    if set(names) == set(recorded):
        return {name: recorded[name] for name in names}
    return dict(zip(sorted(names, key=_place), recorded.values(), strict=True))


def _place(name: str) -> tuple[tuple[int, str], ...]:
    """Parts of a dotted name, numbers as numbers, and the steps of a block in their order."""
    order = {"conv1": 0, "expand": 1, "depthwise": 2, "project": 3, "conv5": 8, "classifier": 9, "fc": 9}
    return tuple((int(part), "") if part.isdigit() else (order.get(part, 5), part) for part in name.split("."))
