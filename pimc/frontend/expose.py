"""A model with its 8-bit tensors as further outputs, so that each can be compared."""

from __future__ import annotations

from collections.abc import Iterable

import onnx

from pimc.frontend.match import match
from pimc.frontend.source import Source

__all__ = ["with_all_outputs"]


def with_all_outputs(model: bytes | onnx.ModelProto, wanted: Iterable[str] | None = None) -> tuple[bytes, list[str]]:
    """Return the model's bytes with every 8-bit activation as an output, and the names added, in order.

    In QDQ models these are results of QuantizeLinear: floats in between are left alone, as exposing them would break
    onnxruntime's fusions and with them the numbers. ``wanted`` keeps only some names.
    """
    proto = onnx.ModelProto.FromString(model) if isinstance(model, bytes) else _copy(model)
    source = Source(proto)
    made = {name for node in source.nodes for name in node.output}
    found = [part.output.tensor if hasattr(part, "output") else part.tensor for _, part in match(source)]
    chosen = set(found if wanted is None else wanted) & made
    names = [name for name in dict.fromkeys(found) if name in chosen and name not in source.outputs]
    for name in names:
        proto.graph.output.append(onnx.ValueInfoProto(name=name))
    return proto.SerializeToString(), names


def _copy(model: onnx.ModelProto) -> onnx.ModelProto:
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    return copy
