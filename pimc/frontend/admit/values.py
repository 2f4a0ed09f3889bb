"""Scales and weights: numbers that arithmetic can work with."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx

from pimc.frontend.admit.graphs import label
from pimc.frontend.errors import FrontendError
from pimc.frontend.rules import RULES
from pimc.frontend.source import DEQUANTISE, QUANTISE, Source

__all__ = ["admit_scales", "admit_weights"]

_WEIGHTED = ("Conv", "ConvTranspose", "Gemm", "MatMul", "BatchNormalization")
SMALLEST, LARGEST = np.finfo(np.float32).tiny, np.finfo(np.float32).max / 1024
"""Scales that are normal numbers, and whose 8-bit values are finite."""


def admit_scales(model: onnx.ModelProto, where: str) -> None:
    """Raise FrontendError for a constant scale that is not a positive, finite, normal number."""
    source = Source(model)
    for node in source.nodes:
        for name in _scales(node):
            value = source.constant(name)
            if value is None or value.dtype.kind != "f":
                continue
            real = value.astype(np.float64)
            wrong = real[~((real >= SMALLEST) & (real <= LARGEST))]
            if wrong.size:
                raise FrontendError(
                    f"{where}: {label(node)}: scale {name!r} is {wrong[0]:g}; scales are above 0 and finite."
                )


def _scales(node: onnx.NodeProto) -> Iterator[str]:
    """Names of a node's scales."""
    if node.op_type in (QUANTISE, DEQUANTISE):
        yield from node.input[1:2]
        return
    rule = RULES.get(node.op_type)
    if rule is None or not rule.form:
        return
    names = rule.form.split()
    yield from (given for name, given in zip(names, node.input, strict=False) if name.endswith(".s") and given)
    if "*" in names:
        yield from list(node.input)[names.index("*") :][1::3]


def admit_weights(model: onnx.ModelProto, where: str) -> None:
    """Raise FrontendError for weights of a float model that are NaN or infinite."""
    constants = {t.name: t for t in model.graph.initializer}
    for node in model.graph.node:
        for name in node.input if node.op_type in _WEIGHTED else ():
            tensor = constants.get(name)
            if tensor is None or tensor.data_type != onnx.TensorProto.FLOAT:
                continue
            if not np.isfinite(onnx.numpy_helper.to_array(tensor)).all():
                raise FrontendError(
                    f"{where}: {label(node)}: {name!r} holds values that are not finite (NaN or infinity)."
                )
