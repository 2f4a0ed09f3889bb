"""A model with its 8-bit tensors as further outputs, so that each can be compared."""

from __future__ import annotations

from collections.abc import Iterable

import onnx

from pimc.frontend.match import match
from pimc.frontend.source import QUANTISE, Source
from pimc.frontend.unit import Unit

__all__ = ["with_all_outputs"]


def with_all_outputs(model: bytes | onnx.ModelProto, wanted: Iterable[str] | None = None) -> tuple[bytes, list[str]]:
    """Return the model's bytes with every 8-bit activation as an output, and the names added, in order.

    In QDQ models these are results of QuantizeLinear: floats in between are left alone, as exposing them would break
    onnxruntime's fusions and with them the numbers. ``wanted`` keeps only some names.
    """
    proto = onnx.ModelProto.FromString(model) if isinstance(model, bytes) else _copy(model)
    source = Source(proto)
    made = {name for node in source.nodes for name in node.output}
    found = _activations(source)
    chosen = set(found if wanted is None else wanted) & made
    names = [name for name in dict.fromkeys(found) if name in chosen and name not in source.outputs]
    for name in names:
        proto.graph.output.append(onnx.ValueInfoProto(name=name))
    return proto.SerializeToString(), names


def _activations(source: Source) -> list[str]:
    """8-bit tensors that depend on the inputs, in the order of their nodes."""
    parts = {n: part.output.tensor if isinstance(part, Unit) else part.tensor for n, part in match(source)}
    heads = {n: node.output[0] for n, node in enumerate(source.nodes) if node.op_type == QUANTISE}
    found = heads | parts
    return [found[n] for n in sorted(found) if source.constant(found[n]) is None]


def _copy(model: onnx.ModelProto) -> onnx.ModelProto:
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    return copy
