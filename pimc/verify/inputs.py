"""Seeded inputs for verification where a user brings none: the whole range of every quantised input, uniformly."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
from onnx import numpy_helper

from pimc_isa.program import Port

__all__ = ["synthetic"]

Array = np.ndarray


def synthetic(model: onnx.ModelProto, ports: Sequence[Port], images: int, seed: int) -> dict[str, Array]:
    """Return inputs for ``images`` images; the same seed gives the same values.

    A float input that the model quantises is drawn from the range of its quantiser and a little beyond, so that every
    code and both limits occur; other float inputs are standard normal, integers use their type's range.
    """
    rng = np.random.default_rng(seed)
    return {port.name: _draw(rng, model, port, (images, *port.shape)) for port in ports}


def _draw(rng: np.random.Generator, model: onnx.ModelProto, port: Port, shape: tuple[int, ...]) -> Array:
    dtype = np.dtype(port.dtype)
    if dtype == np.bool_:
        return rng.integers(0, 2, shape).astype(np.bool_)
    if np.issubdtype(dtype, np.integer):
        limits = np.iinfo(dtype)
        return rng.integers(limits.min, limits.max, shape, dtype=dtype, endpoint=True)
    limits_of = _quantiser_range(model, port.name)
    if limits_of is None:
        return rng.standard_normal(shape).astype(dtype)
    low, high = limits_of
    margin = (high - low) / 32
    return rng.uniform(low - margin, high + margin, shape).astype(dtype)


def _quantiser_range(model: onnx.ModelProto, name: str) -> tuple[float, float] | None:
    """The range of values that the QuantizeLinear node behind an input can hold."""
    constants = {t.name: t for t in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type != "QuantizeLinear" or node.input[0] != name or any(p not in constants for p in node.input[1:]):
            continue
        scale = float(numpy_helper.to_array(constants[node.input[1]]).flat[0])
        zero = numpy_helper.to_array(constants[node.input[2]]).flat[0] if len(node.input) > 2 else np.uint8(0)
        if not np.issubdtype(zero.dtype, np.integer):
            return None
        limits = np.iinfo(zero.dtype)
        return (limits.min - int(zero)) * scale, (limits.max - int(zero)) * scale
    return None
