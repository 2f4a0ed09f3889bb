"""Output channels that a float model wraps behind a layer, with batch normalisation behind them, as wrapped weights.

    Conv -> Concat(y, y) -> BatchNormalization     becomes     Conv of Concat(w, w) -> BatchNormalization

Copies of channels cost a chip nothing by themselves (readers read twice), so they stay where they are; but a
normalisation of the copies, each with factors of its own, would be a layer of its own. In front of the copies it cannot
go; with weights that are copies it is folded into the layer, whose copies are then computed once (EPIM's feature map
reuse; recalled). Concat of a tensor with itself, Tile and Gather along channels do so; the sums are the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import onnx
from onnx import helper, numpy_helper

from pimc.frontend.epitomes.chain import WeightChains
from pimc.frontend.epitomes.structure import Choice, layers_of
from pimc.frontend.source import Array, attributes, input_at

__all__ = ["wrap_weights"]


def wrap_weights(model: onnx.ModelProto, choice: Choice) -> None:
    """Let chosen convolutions make the copies that are made of their channels in front of a normalisation, in place."""
    nodes = model.graph.node
    if not any(node.op_type == "BatchNormalization" for node in nodes):
        return
    chains = WeightChains(model)
    wanted = {layer.node.output[0] for layer in layers_of(model) if choice.wants(layer)}
    before: dict[str, list[onnx.NodeProto]] = {}
    heirs: dict[str, str] = {}
    for conv, copies in _pairs(model):
        channels = _channels(conv, copies, chains) if conv.output[0] in wanted else None
        if channels is not None:
            heirs[conv.output[0]] = copies.output[0]
            before[conv.output[0]] = _wrapped(model, conv, copies.output[0], channels)
    if heirs:
        _put_in(model, before, heirs)


def _pairs(model: onnx.ModelProto) -> Iterator[tuple[onnx.NodeProto, onnx.NodeProto]]:
    """Convolutions whose results one node alone reads, with that node, which a normalisation alone reads."""
    readers: dict[str, list[onnx.NodeProto]] = {}
    for node in model.graph.node:
        for name in set(node.input):
            readers.setdefault(name, []).append(node)
    outputs = {v.name for v in model.graph.output}
    for node in model.graph.node:
        copies = readers.get(node.output[0], [])
        if node.op_type != "Conv" or len(copies) != 1 or {node.output[0], copies[0].output[0]} & outputs:
            continue
        after = readers.get(copies[0].output[0], [])
        if len(after) == 1 and after[0].op_type == "BatchNormalization":
            yield node, copies[0]


def _channels(conv: onnx.NodeProto, copies: onnx.NodeProto, chains: WeightChains) -> Array | None:
    """Which channel of the convolution each of the copies' is; None where that is not all that the node does."""
    weights, bias = chains.value(conv.input[1]), chains.value(input_at(conv, 2)) if input_at(conv, 2) else None
    if weights is None or (input_at(conv, 2) and bias is None) or attributes(conv).get("group", 1) != 1:
        return None
    own, given = np.arange(len(weights)), attributes(copies)
    axis = int(given.get("axis", 0))
    along = axis in (1, 1 - weights.ndim)
    if copies.op_type == "Concat" and along and set(copies.input) == {conv.output[0]}:
        return np.tile(own, len(copies.input))
    if copies.op_type not in ("Gather", "Tile") or copies.input[0] != conv.output[0]:
        return None
    numbers = chains.value(copies.input[1])
    if numbers is None or numbers.ndim != 1:
        return None
    if copies.op_type == "Gather":
        there = along and bool((np.abs(numbers + 0.5) < len(own)).all())
        return own[numbers] if there else None
    return np.tile(own, int(numbers[1])) if numbers[1] > 1 and numbers.prod() == numbers[1] else None


def _wrapped(model: onnx.ModelProto, conv: onnx.NodeProto, stem: str, channels: Array) -> list[onnx.NodeProto]:
    """Let a convolution read copies of its weights and bias; the nodes that make these."""
    order = f"{stem}.channels"
    model.graph.initializer.append(numpy_helper.from_array(channels.astype(np.int64), order))
    made = []
    for place in range(1, len(conv.input)):
        if conv.input[place]:
            name = f"{stem}.{place}.copied"
            made.append(helper.make_node("Gather", [conv.input[place], order], [name], name, axis=0))
            conv.input[place] = name
    return made


def _put_in(model: onnx.ModelProto, before: Mapping[str, list[onnx.NodeProto]], heirs: Mapping[str, str]) -> None:
    """Put nodes in front of those with these results; these get the names of others, whose nodes go."""
    gone = set(heirs.values())
    nodes = []
    for node in model.graph.node:
        made = before.get(node.output[0], [])
        if made:
            node.output[0] = heirs[node.output[0]]
            nodes += [*made, node]
        elif node.output[0] not in gone:
            nodes.append(node)
    del model.graph.node[:]
    model.graph.node.extend(nodes)
