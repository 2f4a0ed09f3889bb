"""MobileNetV2, width 1.0 (Sandler et al., 2018): inverted residuals, depthwise 3x3, ReLU6 as Clip."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pimc_models.builders.net import BRANCH_SCALE

if TYPE_CHECKING:
    import onnx

    from pimc_models.builders.layer import Signal
    from pimc_models.builders.net import Net

BLOCKS = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
"""(expansion, channels, repeats, stride of the first) of each stage: table 2 of the paper."""


def mobilenet_v2(net: Net, classes: int) -> onnx.ModelProto:
    """Return MobileNetV2."""
    x = _conv_relu6(net, net.input, "features.0", 32, 3, stride=2)
    index = 1
    for expansion, channels, repeats, stride in BLOCKS:
        for repeat in range(repeats):
            x = _inverted_residual(net, x, f"features.{index}", expansion, channels, 1 if repeat else stride)
            index += 1
    x = _conv_relu6(net, x, f"features.{index}", 1280, 1)
    return net.finish(net.gemm(net.global_average(x), "classifier.1", classes))


def _inverted_residual(net: Net, x: Signal, name: str, expansion: int, channels: int, stride: int) -> Signal:
    hidden = x.channels * expansion
    y = x if expansion == 1 else _conv_relu6(net, x, f"{name}.expand", hidden, 1)
    y = _conv_relu6(net, y, f"{name}.depthwise", hidden, 3, stride, groups=hidden)
    y = net.conv(y, f"{name}.project", channels, 1)
    if stride > 1 or x.channels != channels:
        return net.bn(y, f"{name}.project.bn")
    return net.add(x, net.bn(y, f"{name}.project.bn", scale=BRANCH_SCALE), f"{name}.add")


def _conv_relu6(net: Net, x: Signal, name: str, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> Signal:
    y = net.conv(x, name, outputs, kernel, stride, groups=groups)
    return net.relu6(net.bn(y, f"{name}.bn"), f"{name}.relu6")
