"""Computes every value of a graph on given inputs: slow, plain numpy, and what passes must not change.

Each op says what it makes; arithmetic comes from `pimc_isa.numerics`, host calls run in onnxruntime. Images are
[batch, rows, columns, channels].
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy.typing as npt

from pimc.ir.graph import Graph
from pimc.ir.layout import from_onnx, to_onnx
from pimc.ir.ops import Conv, Evaluation
from pimc.ir.ops.conv import convolve

__all__ = ["Sums", "evaluate", "from_onnx", "to_onnx"]

Array = npt.NDArray[Any]
#: i32 sums of (x - zero point) * w of a convolution: images x rows x columns x outputs, from its input and weights.
Sums = Callable[[Conv, Array, Array], Array]


def evaluate(
    graph: Graph, inputs: Mapping[str, Array], keep: bool = True, sums: Sums | None = None
) -> dict[str, Array]:
    """Return values by name (u8, images x rows x columns x channels) and model outputs by ``$NAME``.

    ``inputs`` are the model's inputs with a batch axis. With ``keep=False`` values are dropped after their last use and
    only outputs are returned. ``sums`` computes convolutions in another way, or watches them.
    """
    run = Evaluation(graph, inputs, sums or convolve)
    values: dict[str, Array] = {}
    left = {op.name: len(graph.users(op.name)) for op in graph.ops()}
    for op in graph.ops():
        values |= op.results([values[v] for v in op.inputs], run)
        for used in dict.fromkeys(op.inputs):
            left[used] -= 1
            if not keep and not left[used]:
                del values[used]
    return values
