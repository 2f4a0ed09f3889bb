"""Nodes that users name, in the cleaned-up model, where batch normalisation and much else is folded away."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence

import onnx

from pimc.frontend.errors import FrontendError

__all__ = ["heirs_of", "kept", "meant"]


def kept(names: Sequence[str], model: onnx.ModelProto, clean: onnx.ModelProto) -> frozenset[str]:
    """Nodes of the clean model that compute what nodes of the user's do. Raises FrontendError for what is not there."""
    there = {node.name for node in clean.graph.node}
    given = {node.name for node in model.graph.node if node.name}
    found = set()
    for name in names:
        heirs = heirs_of(name, model, clean) & there
        if name not in given:
            raise FrontendError(f"The model has no node {name!r} to be kept in float{meant(name, given)}")
        if not heirs:
            raise FrontendError(f"Node {name!r} cannot be kept in float: it is folded into its neighbours.")
        found |= heirs
    return frozenset(found)


def meant(name: str, known: Iterable[str]) -> str:
    """The end of a sentence on a name that is not known."""
    near = difflib.get_close_matches(name, list(dict.fromkeys(known)), 3, 0.4)
    return f"; did you mean {' or '.join(map(repr, near))}?" if near else "."


def heirs_of(name: str, model: onnx.ModelProto, clean: onnx.ModelProto) -> set[str]:
    """The node of the clean model that does what the user's node of this name did; empty where there is none.

    It has the same name, or the first result that is still there of the nodes behind it (BatchNormalization, mostly).
    """
    given = {node.name: node for node in model.graph.node if node.name}
    if name not in given:
        return set()
    if any(node.name == name for node in clean.graph.node):
        return {name}
    made = {output: node for node in clean.graph.node for output in node.output}
    return _heir(given[name], model, made)


def _heir(node: onnx.NodeProto, model: onnx.ModelProto, made: dict[str, onnx.NodeProto]) -> set[str]:
    kind, seen = node.op_type, set[str]()
    while node.output[0] not in seen:
        seen.add(node.output[0])
        if node.output[0] in made:
            heir = made[node.output[0]]
            return {heir.name} if heir.op_type == kind else set()
        readers = [n for n in model.graph.node if node.output[0] in n.input]
        if len(readers) != 1:
            return set()
        node = readers[0]
    return set()
