"""Values of small tensors that depend on constants and shapes only, as exporters compute sizes from them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

__all__ = ["small_values"]

MAX_SMALL = 256

_EVALUATED = frozenset(
    [
        *("Abs", "Add", "And", "Cast", "Ceil", "Concat", "Constant", "Div", "Equal", "Exp", "Floor", "Gather"),
        *("Greater", "Identity", "Less", "Log", "Max", "Min", "Mod", "Mul", "Neg", "Not", "Or", "Pow", "ReduceMax"),
        *("ReduceMin", "ReduceProd", "ReduceSum", "Reshape", "Round", "Slice", "Sqrt", "Squeeze", "Sub", "Transpose"),
        *("Unsqueeze", "Where"),
    ]
)


def small_values(model: onnx.ModelProto, shapes: Mapping[str, Sequence[int]]) -> dict[str, Any]:
    """Values by tensor name, each of at most `MAX_SMALL` elements; what cannot be evaluated is left out."""
    values: dict[str, Any] = {
        str(t.name): numpy_helper.to_array(t) for t in model.graph.initializer if math.prod(t.dims) <= MAX_SMALL
    }
    version = max((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), default=17)
    for node in model.graph.node:
        found = _value(node, values, shapes, version)
        if found is not None and found.size <= MAX_SMALL:
            values[str(node.output[0])] = found
    return values


def _value(node: onnx.NodeProto, values: Mapping[str, Any], shapes: Mapping[str, Sequence[int]], version: int) -> Any:
    from onnx.reference import ReferenceEvaluator

    if node.op_type == "Shape" and not node.attribute and node.input[0] in shapes:
        return np.array(shapes[str(node.input[0])], np.int64)
    if node.op_type not in _EVALUATED or len(node.output) != 1:
        return None
    if any(name and name not in values for name in node.input):
        return None
    feeds = {str(name): values[name] for name in node.input if name}
    opsets: dict[str, int] = {"": min(version, 22)}
    try:
        with np.errstate(all="ignore"):
            results: Any = ReferenceEvaluator(node, opsets=opsets).run(None, feeds)
            return np.asarray(results[0])
    except Exception:  # the evaluator raises what numpy raises; the size then stays unknown
        return None
