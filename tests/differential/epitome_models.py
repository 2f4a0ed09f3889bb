"""ONNX models whose layers' weights are made by chains of operators from smaller tensors: epitomes as models have them.

Chains take the place of stored weights under the same name, so any model can be given them; nothing of ours is used.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper

from tests.differential.frontend_models import Net

__all__ = ["FORMS", "chained", "five_layers", "layers_in"]

Array = npt.NDArray[Any]
Step = tuple[str, list[Any], dict[str, Any]]


class _Chain:
    """Nodes and constants of one chain; names begin with the tensor's that it makes."""

    def __init__(self, tensor: str, rng: np.random.Generator, like: Array) -> None:
        self.tensor, self.rng, self.like = tensor, rng, like
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def stored(self, *shape: int) -> str:
        """An epitome of values as the tensor has them."""
        return self.const(self.rng.choice(self.like.reshape(-1), shape))

    def const(self, array: Any) -> str:
        """A constant."""
        name = f"{self.tensor}.c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def numbers(self, *numbers: int) -> str:
        """A constant of 64-bit integers."""
        return self.const(np.array(numbers, np.int64))

    def node(self, kind: str, *inputs: str, last: bool = False, **attributes: Any) -> str:
        """An operator's result; the ``last`` one's is the tensor."""
        name = self.tensor if last else f"{self.tensor}.n{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [name], f"{name}.{kind}", **attributes))
        return name


def _slices(chain: _Chain) -> None:
    """Blocks of half the channels, windows of an epitome that is a quarter wider than they are."""
    shape = chain.like.shape
    block = [-(-n // 2) for n in shape[:2]]
    room = [max(1, n // 4) for n in block]
    held = chain.stored(*(b + r for b, r in zip(block, room, strict=True)), *shape[2:])
    rows = []
    for m in range(0, shape[0], block[0]):
        parts = []
        for n in range(0, shape[1], block[1]):
            first = [int(chain.rng.integers(0, r + 1)) for r in room]
            size = min(block[0], shape[0] - m), min(block[1], shape[1] - n)
            ends = [f + s for f, s in zip(first, size, strict=True)]
            parts.append(chain.node("Slice", held, *map(lambda at: chain.numbers(*at), (first, ends, (0, 1)))))
        rows.append(chain.node("Concat", *parts, axis=1))
    chain.node("Concat", *rows, axis=0, last=True)


def _tile(chain: _Chain) -> None:
    """Output channels wrapped: copies of an epitome that has as few as divide theirs, two or more times."""
    outputs = chain.like.shape[0]
    times = next(n for n in range(2, outputs + 1) if outputs % n == 0)
    held = chain.stored(outputs // times, *chain.like.shape[1:])
    chain.node("Tile", held, chain.numbers(times, *[1] * (chain.like.ndim - 1)), last=True)


def _gather(chain: _Chain) -> None:
    """Output and input channels drawn from an epitome's, some more than once."""
    outputs, inputs, *kernel = chain.like.shape
    few = -(-outputs // 2), -(-inputs // 2)
    held = chain.stored(*few, *kernel)
    drawn = [np.sort(chain.rng.integers(0, n, size)) for n, size in zip(few, (outputs, inputs), strict=True)]
    picked = chain.node("Gather", held, chain.numbers(*drawn[1]), axis=1)
    chain.node("Gather", picked, chain.numbers(*drawn[0]), axis=0, last=True)


def _wrapped(chain: _Chain) -> None:
    """A tensor beside itself, behind a Transpose and a Reshape."""
    outputs, *rest = chain.like.shape
    half = chain.stored(*rest, -(-outputs // 2))
    turned = chain.node("Transpose", half, perm=[len(rest), *range(len(rest))])
    both = chain.node("Concat", turned, turned, axis=0)
    cut = chain.node("Slice", both, chain.numbers(0), chain.numbers(outputs), chain.numbers(0))
    chain.node("Reshape", cut, chain.numbers(*chain.like.shape), last=True)


FORMS: dict[str, Callable[[_Chain], None]] = {"slices": _slices, "tile": _tile, "gather": _gather, "wrapped": _wrapped}


def layers_in(model: onnx.ModelProto) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the stored weights of convolutions, in the order of the graph."""
    sizes = {tensor.name: tuple(tensor.dims) for tensor in model.graph.initializer}
    quantised = {n.output[0]: n.input[0] for n in model.graph.node if n.op_type == "DequantizeLinear"}
    place = {"Conv": 1, "QLinearConv": 3}
    read = (node.input[place[node.op_type]] for node in model.graph.node if node.op_type in place)
    names = (quantised.get(name, name) for name in read)
    return {name: sizes[name] for name in names if name in sizes}


def chained(model: onnx.ModelProto, forms: Mapping[str, str], seed: int = 0) -> onnx.ModelProto:
    """The model with the chain of a form (`FORMS`) in place of each of these stored weights."""
    made = onnx.ModelProto()
    made.CopyFrom(model)
    stored = {tensor.name: tensor for tensor in made.graph.initializer}
    nodes: list[onnx.NodeProto] = []
    for number, (name, form) in enumerate(forms.items()):
        chain = _Chain(name, np.random.default_rng((seed, number)), numpy_helper.to_array(stored[name]))
        FORMS[form](chain)
        made.graph.initializer.remove(stored[name])
        made.graph.initializer.extend(chain.constants)
        nodes += chain.nodes
    nodes += list(made.graph.node)
    del made.graph.node[:]
    made.graph.node.extend(nodes)
    return made


def five_layers(net: Net) -> None:
    """Strides, pads, groups, a residual sum, a concatenation, a pool."""
    x = net.input(6, 5, 4)
    y = net.conv(x, 12, (3, 3), pads=[1, 1, 1, 1])
    y = net.binary("Add", y, net.conv(y, 12, (3, 3), pads=[1, 1, 1, 1]))
    y = net.concat(net.conv(y, 16, (1, 1)), net.conv(y, 24, (3, 3), pads=[1, 1, 1, 1], groups=2), same=True)
    y = net.conv(y, 30, (3, 3), strides=[2, 2], pads=[0, 1, 1, 0])
    net.output(net.global_average(y))
    net.output(y)
