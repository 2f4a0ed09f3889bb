"""A small writer of float32 ONNX graphs: one method per layer, seeded weights, opset 17.

Values carry only their channel count; onnx's shape inference does the rest. Node, output and weight names follow the
layer's name (`layer1.0.conv1`, `layer1.0.conv1.weight`), so reports read like the framework's.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from pimc_models.builders.calibrate import batch_norm_statistics
from pimc_models.builders.layer import IR_VERSION, OPSET, Signal, edges

if TYPE_CHECKING:
    from collections.abc import Sequence


BRANCH_SCALE = 0.25
"""Scale of the last normalisation in a residual branch: small in trained nets; at 1, deep nets are chaotic."""

HE_GAIN = 2.0
"""1 / E[x^2] for x = max(g, 0), g standard normal (He et al., 2015)."""

CENTRED_GAIN = 1.0 / (0.5 - 0.5 / math.pi)
"""1 / Var[x] for the same x."""


class Net:
    """A graph under construction; methods append one layer and return its output."""

    def __init__(self, name: str, seed: int, size: int, channels: int = 3) -> None:
        """Start a network on one `channels` x `size` x `size` image."""
        self.name = name
        self.seed = seed
        self.size = size
        self.input = Signal("input", channels)
        self._rng = np.random.default_rng(seed)
        self._nodes: list[onnx.NodeProto] = []
        self._weights: dict[str, npt.NDArray[Any]] = {}

    def conv(
        self,
        x: Signal,
        name: str,
        outputs: int,
        kernel: int | tuple[int, int],
        stride: int = 1,
        pad: int | tuple[int, int] | None = None,
        groups: int = 1,
        *,
        bias: bool = False,
    ) -> Signal:
        """Convolve with a square kernel, or height x width; `pad` defaults to "same" at stride 1.

        Of two numbers `pad` takes the first above and left, the second below and right.
        He-normal weights; centred ones with a bias, since then no normalisation follows to remove the common mode.
        """
        height, width = (kernel, kernel) if isinstance(kernel, int) else kernel
        shape = (outputs, x.channels // groups, height, width)
        inputs = [x.name, self._weight(f"{name}.weight", shape, centred=bias)]
        if bias:
            inputs.append(self._constant(f"{name}.bias", self._normal((outputs,), 0.05)))
        return self._node(
            "Conv",
            inputs,
            name,
            outputs,
            kernel_shape=[height, width],
            strides=[stride] * 2,
            pads=edges(height, width, pad),
            group=groups,
        )

    def bn(self, x: Signal, name: str, epsilon: float = 1e-5, scale: float = 1.0) -> Signal:
        """Normalise per channel, scales drawn around `scale`; `finish` calibrates mean and variance."""
        channels = (x.channels,)
        parts = [
            self._constant(f"{name}.weight", self._rng.uniform(0.8 * scale, 1.2 * scale, channels).astype(np.float32)),
            self._constant(f"{name}.bias", self._normal(channels, 0.1)),
            self._constant(f"{name}.running_mean", np.zeros(channels, np.float32)),
            self._constant(f"{name}.running_var", np.ones(channels, np.float32)),
        ]
        return self._node("BatchNormalization", [x.name, *parts], name, x.channels, epsilon=epsilon)

    def relu(self, x: Signal, name: str) -> Signal:
        """Apply max(x, 0)."""
        return self._node("Relu", [x.name], name, x.channels)

    def relu6(self, x: Signal, name: str) -> Signal:
        """Clip to 0..6."""
        bounds = [self._constant(f"relu6.{side}", np.array(v, np.float32)) for side, v in (("min", 0), ("max", 6))]
        return self._node("Clip", [x.name, *bounds], name, x.channels)

    def add(self, x: Signal, y: Signal, name: str) -> Signal:
        """Add two tensors of one shape."""
        return self._node("Add", [x.name, y.name], name, x.channels)

    def concat(self, parts: Sequence[Signal], name: str) -> Signal:
        """Join along the channels."""
        return self._node("Concat", [p.name for p in parts], name, sum(p.channels for p in parts), axis=1)

    def halves(self, x: Signal, name: str) -> tuple[Signal, Signal]:
        """Cut the channels, an even number, into halves."""
        first, second = (Signal(f"{name}.{n}", x.channels // 2) for n in range(2))
        self._nodes.append(helper.make_node("Split", [x.name], [first.name, second.name], name, axis=1))
        return first, second

    def shuffle(self, x: Signal, name: str, groups: int) -> Signal:
        """Deal the channels of the groups out in turn."""
        order = np.arange(x.channels).reshape(groups, -1).T.reshape(-1)
        return self._node("Gather", [x.name, self._indices(f"{name}.order", order)], name, x.channels, axis=1)

    def max_pool(
        self, x: Signal, name: str, kernel: int, stride: int, pad: int = 0, *, ceil_mode: bool = False
    ) -> Signal:
        """Take the maximum over a square window."""
        extra = {"ceil_mode": 1} if ceil_mode else {}
        return self._node(
            "MaxPool",
            [x.name],
            name,
            x.channels,
            kernel_shape=[kernel] * 2,
            strides=[stride] * 2,
            pads=[pad] * 4,
            **extra,
        )

    def average_pool(self, x: Signal, name: str, kernel: int, stride: int, pad: int) -> Signal:
        """Average over a square window; padding counts as zeros."""
        return self._node(
            "AveragePool",
            [x.name],
            name,
            x.channels,
            kernel_shape=[kernel] * 2,
            strides=[stride] * 2,
            pads=[pad] * 4,
            count_include_pad=1,
        )

    def global_average(self, x: Signal, name: str = "avgpool") -> Signal:
        """Average every channel to one position, then flatten to 1 x channels."""
        pooled = self._node("GlobalAveragePool", [x.name], name, x.channels)
        return self.flatten(pooled, positions=1)

    def flatten(self, x: Signal, positions: int, name: str = "flatten") -> Signal:
        """Flatten to 1 x (channels * positions); `positions` is height times width."""
        return self._node("Flatten", [x.name], name, x.channels * positions, axis=1)

    def gemm(self, x: Signal, name: str, outputs: int) -> Signal:
        """Multiply by a dense matrix of centred weights, stored outputs x inputs, and add a bias."""
        weight = self._weight(f"{name}.weight", (outputs, x.channels), centred=True)
        bias = self._constant(f"{name}.bias", self._normal((outputs,), 0.05))
        return self._node("Gemm", [x.name, weight, bias], name, outputs, transB=1)

    def finish(self, y: Signal) -> onnx.ModelProto:
        """Calibrate the normalisations, infer every shape and return the checked model with output `y`."""
        self._weights |= self._statistics()
        model = self._typed(y)
        onnx.checker.check_model(model)
        del model.graph.input[1:]
        model.graph.initializer.extend(numpy_helper.from_array(a, name) for name, a in self._weights.items())
        return model

    def _statistics(self) -> dict[str, npt.NDArray[np.float32]]:
        """Return mean and variance of every normalisation."""
        return batch_norm_statistics(self._nodes, self._weights, self.input, self.seed)

    def _typed(self, y: Signal) -> onnx.ModelProto:
        """Return the graph with inferred shapes, weights as inputs so far: inference need not copy them."""
        image = [1, self.input.channels, self.size, self.size]
        shapes = {self.input.name: image} | {name: list(a.shape) for name, a in self._weights.items()}
        inputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in shapes.items()]
        result = helper.make_tensor_value_info(y.name, TensorProto.FLOAT, None)
        graph = helper.make_graph(self._nodes, self.name, inputs, [result])
        opset = [helper.make_opsetid("", OPSET)]
        model = helper.make_model(graph, opset_imports=opset, ir_version=IR_VERSION, producer_name="pimc_models")
        return onnx.shape_inference.infer_shapes(model, strict_mode=True)

    def _node(self, op: str, inputs: list[str], name: str, channels: int, **attributes: Any) -> Signal:
        self._nodes.append(helper.make_node(op, inputs, [name], name, **attributes))
        return Signal(name, channels)

    def _weight(self, name: str, shape: tuple[int, ...], *, centred: bool) -> str:
        """Store He-normal weights; `centred` ones sum to zero per output and keep the variance of a ReLU's output.

        Without that, the positive mean of ReLU outputs swamps what differs between two images, more with each layer.
        """
        inputs = math.prod(shape[1:])
        weights = self._normal(shape, math.sqrt((CENTRED_GAIN if centred else HE_GAIN) / inputs))
        if centred:
            weights -= weights.mean(axis=tuple(range(1, len(shape))), keepdims=True)
        return self._constant(name, weights)

    def _normal(self, shape: tuple[int, ...], deviation: float) -> npt.NDArray[np.float32]:
        return self._rng.standard_normal(shape, np.float32) * np.float32(deviation)

    def _indices(self, name: str, values: npt.ArrayLike) -> str:
        self._weights[name] = np.asarray(values, np.int64)
        return name

    def _constant(self, name: str, array: npt.NDArray[np.float32]) -> str:
        self._weights[name] = array
        return name
