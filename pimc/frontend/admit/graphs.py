"""Walks over all graphs of a model: the main one, and those in attributes of nodes (If)."""

from __future__ import annotations

from collections.abc import Iterator

import onnx

from pimc.frontend.admit.limits import MAX_NESTING
from pimc.frontend.errors import FrontendError

__all__ = ["all_graphs", "all_nodes", "label"]


def all_graphs(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    """The graph and those inside it. Raises FrontendError where they are too deep."""
    pending = [(graph, 1)]
    while pending:
        found, depth = pending.pop()
        if depth > MAX_NESTING:
            raise FrontendError(f"Graphs are nested more than {MAX_NESTING} deep.")
        yield found
        pending.extend((inner, depth + 1) for node in found.node for inner in _inside(node))


def all_nodes(model: onnx.ModelProto) -> Iterator[onnx.NodeProto]:
    """Nodes of all graphs and functions."""
    for graph in all_graphs(model.graph):
        yield from graph.node
    for function in model.functions:
        yield from function.node


def _inside(node: onnx.NodeProto) -> Iterator[onnx.GraphProto]:
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs


def label(node: onnx.NodeProto) -> str:
    """How messages name a node."""
    name = node.name or next(iter(node.output), "") or "a node"
    return f"{name} ({node.op_type})"
