"""The same writer for 8-bit graphs: seeded s8 weights straight into onnxruntime's QOperator form, no calibration run.

For what does not depend on values (mapping, time, energy) a network of 140 million weights need not exist in float
first. Scales are not measured but computed: weights are uniform, so a layer's sums have a known deviation, and scales
are set to keep activations at a quarter of the 8-bit range. Batch normalisation is taken as folded, ReLU as the
quantiser's: a zero point of 0. Such a network is lively and can be run and verified, but it classifies nothing.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from pimc_models.builders.layer import IR_VERSION, OPSET, Signal, edges
from pimc_models.builders.net import HE_GAIN, Net

if TYPE_CHECKING:
    from collections.abc import Sequence

MICROSOFT = "com.microsoft"

TOP = 127
"""Weights are uniform in -127..127."""

WEIGHT_RMS = math.sqrt(TOP * (TOP + 1) / 3)

STEP = 1 / 32
"""Scale of every activation: 32 steps are one standard deviation of the image."""

CENTRE = 128
"""Zero point of results that no ReLU follows."""


class Int8Net(Net):
    """A quantised graph under construction: the methods of `Net`, 8-bit operators.

    Every value has a scale and a zero point of its own as initialisers (`NAME.scale`, `NAME.zero`); pooling hands on
    those of its input.
    """

    def __init__(self, name: str, seed: int, size: int, channels: int = 3) -> None:
        """Start a network on one `channels` x `size` x `size` float image, which is quantised first."""
        super().__init__(name, seed, size, channels)
        self._grids: dict[str, str] = {}
        self._image = self.input
        self.input = self._quantised("image", channels)
        self._node("QuantizeLinear", [self._image.name, "image.scale", "image.zero"], "image", channels)

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
        """Convolve; there always is a bias, as a folded normalisation leaves one."""
        height, width = (kernel, kernel) if isinstance(kernel, int) else kernel
        weight, constants = self._weighted(name, (outputs, x.channels // groups, height, width))
        y = self._quantised(name, outputs)
        return self._node(
            "QLinearConv",
            [*self._with_grid(x), weight, *constants[:2], *self._grid(y), constants[2]],
            name,
            outputs,
            kernel_shape=[height, width],
            strides=[stride] * 2,
            pads=edges(height, width, pad),
            group=groups,
        )

    def bn(self, x: Signal, name: str, epsilon: float = 1e-5, scale: float = 1.0) -> Signal:
        """Do nothing: folded into the convolution before it."""
        return x

    def relu(self, x: Signal, name: str) -> Signal:
        """Cut at the zero point, which becomes 0; the operator before does it."""
        self._constant(f"{self._grids[x.name]}.zero", np.array(0, np.uint8))
        return x

    def relu6(self, x: Signal, name: str) -> Signal:
        """As `relu`: the upper limit is the end of the 8-bit range."""
        return self.relu(x, name)

    def add(self, x: Signal, y: Signal, name: str) -> Signal:
        """Add two tensors; the sum's scale is larger, so that it fills the range as they do."""
        total = self._quantised(name, x.channels, STEP * math.sqrt(2))
        inputs = [*self._with_grid(x), *self._with_grid(y), *self._grid(total)]
        return self._node("QLinearAdd", inputs, name, x.channels, domain=MICROSOFT)

    def concat(self, parts: Sequence[Signal], name: str) -> Signal:
        """Join along the channels."""
        y = self._quantised(name, sum(p.channels for p in parts))
        self.relu(y, name)
        inputs = [*self._grid(y), *(text for p in parts for text in self._with_grid(p))]
        return self._node("QLinearConcat", inputs, name, y.channels, domain=MICROSOFT, axis=1)

    def halves(self, x: Signal, name: str) -> tuple[Signal, Signal]:
        """Cut the channels, an even number, into halves."""
        parts = super().halves(x, name)
        self._grids |= {part.name: self._grids[x.name] for part in parts}
        return parts

    def shuffle(self, x: Signal, name: str, groups: int) -> Signal:
        """Deal the channels of the groups out in turn."""
        self._grids[name] = self._grids[x.name]
        return super().shuffle(x, name, groups)

    def max_pool(
        self, x: Signal, name: str, kernel: int, stride: int, pad: int = 0, *, ceil_mode: bool = False
    ) -> Signal:
        """Take the maximum of 8-bit values."""
        y = super().max_pool(x, name, kernel, stride, pad, ceil_mode=ceil_mode)
        self._grids[y.name] = self._grids[x.name]
        return y

    def average_pool(self, x: Signal, name: str, kernel: int, stride: int, pad: int) -> Signal:
        """Average over a square window; padding counts as zeros."""
        self._grids[name] = self._grids[x.name]
        return self._node(
            "QLinearAveragePool",
            [*self._with_grid(x), *self._grid(x)],
            name,
            x.channels,
            domain=MICROSOFT,
            kernel_shape=[kernel] * 2,
            strides=[stride] * 2,
            pads=[pad] * 4,
            count_include_pad=1,
        )

    def global_average(self, x: Signal, name: str = "avgpool") -> Signal:
        """Average every channel to one position, then flatten."""
        self._grids[name] = self._grids[x.name]
        inputs = [*self._with_grid(x), *self._grid(x)]
        pooled = self._node("QLinearGlobalAveragePool", inputs, name, x.channels, domain=MICROSOFT, channels_last=0)
        return self.flatten(pooled, positions=1)

    def flatten(self, x: Signal, positions: int, name: str = "flatten") -> Signal:
        """Flatten to 1 x (channels * positions)."""
        self._grids[name] = self._grids[x.name]
        return super().flatten(x, positions, name)

    def gemm(self, x: Signal, name: str, outputs: int) -> Signal:
        """Multiply by a dense matrix, stored outputs x inputs, and add a bias."""
        weight, constants = self._weighted(name, (outputs, x.channels))
        y = self._quantised(name, outputs)
        inputs = [*self._with_grid(x), weight, *constants, *self._grid(y)]
        return self._node("QGemm", inputs, name, outputs, domain=MICROSOFT, transB=1)

    def finish(self, y: Signal) -> onnx.ModelProto:
        """Return the model; its output `logits` is float."""
        self._node("DequantizeLinear", self._with_grid(y), "logits", y.channels)
        image = [1, self._image.channels, self.size, self.size]
        inputs = [helper.make_tensor_value_info(self._image.name, TensorProto.FLOAT, image)]
        result = helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, y.channels])
        stored = [numpy_helper.from_array(array, name) for name, array in self._weights.items()]
        graph = helper.make_graph(self._nodes, self.name, inputs, [result], stored)
        domains = [helper.make_opsetid("", OPSET), helper.make_opsetid(MICROSOFT, 1)]
        return helper.make_model(graph, opset_imports=domains, ir_version=IR_VERSION, producer_name="pimc_models")

    def _weighted(self, name: str, shape: tuple[int, ...]) -> tuple[str, list[str]]:
        """Weights and the names of their scale, zero point and bias."""
        inputs = math.prod(shape[1:])
        scale = np.full(shape[0], math.sqrt(HE_GAIN / inputs) / WEIGHT_RMS, np.float32)
        weight = self._constant(f"{name}.weight", self._rng.integers(-TOP, TOP, shape, np.int8, endpoint=True))
        bias = np.rint(self._normal((shape[0],), 0.05) / (scale * np.float32(STEP))).astype(np.int32)
        return weight, [
            self._constant(f"{name}.weight.scale", scale),
            self._constant(f"{name}.weight.zero", np.zeros(shape[0], np.int8)),
            self._constant(f"{name}.bias", bias),
        ]

    def _quantised(self, name: str, channels: int, scale: float = STEP) -> Signal:
        """Declare a value with a scale and a zero point of its own."""
        self._grids[name] = name
        self._constant(f"{name}.scale", np.array(scale, np.float32))
        self._constant(f"{name}.zero", np.array(CENTRE, np.uint8))
        return Signal(name, channels)

    def _grid(self, x: Signal) -> list[str]:
        return [f"{self._grids[x.name]}.{part}" for part in ("scale", "zero")]

    def _with_grid(self, x: Signal) -> list[str]:
        return [x.name, *self._grid(x)]

    def _constant(self, name: str, array: np.ndarray[Any, Any]) -> str:
        self._weights[name] = array
        return name
