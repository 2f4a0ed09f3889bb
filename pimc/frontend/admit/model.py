"""Admission of a whole model, in the order in which the checks may rely on each other."""

from __future__ import annotations

import onnx

from pimc.frontend.admit.graphs import label
from pimc.frontend.admit.limits import MAX_FLOAT_NODES
from pimc.frontend.admit.operators import admit_operators
from pimc.frontend.admit.sizes import admit_sizes, skeleton
from pimc.frontend.admit.values import admit_scales, admit_weights
from pimc.frontend.errors import FrontendError
from pimc.frontend.session import open_session

__all__ = ["admit_model", "admit_quantised"]

_UNKNOWN = ("No Op registered", "not a registered function/op", "Could not find an implementation")


def admit_model(model: onnx.ModelProto, inputs: list[str], *, is_float: bool, where: str = "the model") -> None:
    """Raise FrontendError unless shapes fit together and are of sizes that work, and onnxruntime takes the model.

    ``inputs`` are the names of inputs that are fed; all their sizes but the batch must be known.
    """
    heavy = sum(node.op_type != "Constant" for node in model.graph.node)
    if is_float and heavy > MAX_FLOAT_NODES:
        raise FrontendError(
            f"{where}: {heavy:,} nodes; a float model may have {MAX_FLOAT_NODES:,}. Quantise it before."
        )
    for node in model.graph.node:
        if not node.output:
            raise FrontendError(f"{where}: {label(node)} has no result.")
    bare = skeleton(model)
    admit_operators(bare.graph, {}, where)
    shapes = admit_sizes(bare, inputs, where)
    admit_operators(bare.graph, shapes, where)
    (admit_weights if is_float else admit_scales)(model, where)
    _admit_by_onnxruntime(bare, where)


def admit_quantised(model: onnx.ModelProto) -> None:
    """Judge what the quantiser made: a tensor that overflows in floating point has no scale."""
    admit_scales(model, "after quantisation")


def _admit_by_onnxruntime(bare: onnx.ModelProto, where: str) -> None:
    """Let onnxruntime build the model without running or optimising it; operators it lacks are reported later."""
    try:
        open_session(bare.SerializeToString(), {}, optimise=False)
    except Exception as error:  # onnxruntime raises classes of its own, without a common base
        text = str(error)
        if not any(part in text for part in _UNKNOWN):
            lines = [line for line in text.splitlines() if line.strip()]
            raise FrontendError(f"{where}: onnxruntime refuses it: {lines[0][:300] if lines else text}") from None
