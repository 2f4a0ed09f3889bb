"""Cuts a part out of a model as a model of its own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import helper

from pimc.frontend.source import Source

__all__ = ["BATCH", "Typed", "as_constant", "cut", "element_types", "make_model", "nodes_between"]

BATCH = "batch"
Dim = int | str | None


@dataclass(frozen=True)
class Typed:
    """A tensor at the border of a cut: its name, ONNX element type, and shape with batch (None: unknown)."""

    name: str
    elem: int
    shape: tuple[Dim, ...] | None

    def proto(self) -> onnx.ValueInfoProto:
        """The ONNX description."""
        return helper.make_tensor_value_info(self.name, self.elem, self.shape)


def nodes_between(source: Source, outputs: Iterable[str], border: Iterable[str]) -> tuple[list[int], set[str]]:
    """Numbers of the nodes that make ``outputs`` from ``border``, and the border tensors and model inputs they read."""
    stop, found, read = set(border), set(), set()
    pending = list(outputs)
    while pending:
        tensor = pending.pop()
        number = source.producer.get(tensor)
        if tensor in stop or number is None:
            if tensor and tensor not in source.initialisers:
                read.add(tensor)
            continue
        if number not in found:
            found.add(number)
            pending.extend(source.nodes[number].input)
    return sorted(found), read


def cut(
    source: Source, nodes: Sequence[int], inputs: Sequence[Typed], outputs: Sequence[Typed], copies: str = "out"
) -> onnx.ModelProto:
    """Build a model of these nodes with the constants they read.

    A tensor that is both input and output goes through an Identity; the end named by ``copies`` is called NAME.in or
    NAME.out.
    """
    chosen = [source.nodes[n] for n in nodes]
    both = {t.name for t in inputs} & {t.name for t in outputs}
    if copies == "in":
        inputs = [_renamed(t, ".in") if t.name in both else t for t in inputs]
        chosen = [helper.make_node("Identity", [f"{name}.in"], [name]) for name in sorted(both)] + chosen
    else:
        outputs = [_renamed(t, ".out") if t.name in both else t for t in outputs]
        chosen += [helper.make_node("Identity", [name], [f"{name}.out"]) for name in sorted(both)]
    used = {name for node in chosen for name in node.input} | {t.name for t in outputs}
    constants = [source.initialisers[name] for name in sorted(used & source.initialisers.keys())]
    return make_model(source, chosen, inputs, outputs, constants)


def _renamed(typed: Typed, suffix: str) -> Typed:
    return Typed(typed.name + suffix, typed.elem, typed.shape)


def make_model(
    source: Source,
    nodes: Sequence[onnx.NodeProto],
    inputs: Sequence[Typed],
    outputs: Sequence[Typed],
    constants: Sequence[onnx.TensorProto],
) -> onnx.ModelProto:
    """Assemble a model with the operator sets of the source that are needed."""
    graph = helper.make_graph(nodes, "part", [t.proto() for t in inputs], [t.proto() for t in outputs], constants)
    domains = {node.domain for node in nodes} | {""}
    opsets = [o for o in source.model.opset_import if o.domain in domains]
    return helper.make_model(graph, opset_imports=opsets, ir_version=source.model.ir_version)


def as_constant(model: onnx.ModelProto) -> np.ndarray:
    """The bytes of a model as a constant of the graph."""
    return np.frombuffer(model.SerializeToString(deterministic=True), np.uint8)


def element_types(values: Iterable[onnx.ValueInfoProto]) -> Mapping[str, int]:
    """Element types by tensor name."""
    return {v.name: v.type.tensor_type.elem_type for v in values}
