"""SqueezeNet 1.1 (Iandola et al., 2016; the authors' later revision). No normalisation, no dense layer."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnx

    from pimc_models.builders.layer import Signal
    from pimc_models.builders.net import Net

FIRES = (
    (3, 16, 64),
    (4, 16, 64),
    (6, 32, 128),
    (7, 32, 128),
    (9, 48, 192),
    (10, 48, 192),
    (11, 64, 256),
    (12, 64, 256),
)
"""(index in the feature list, squeeze channels, channels of each expansion); a max pool precedes 3, 6 and 9."""


def squeezenet1_1(net: Net, classes: int) -> onnx.ModelProto:
    """Return SqueezeNet 1.1; its classifier is a 1x1 convolution."""
    x = _conv_relu(net, net.input, "features.0", 64, 3, stride=2, pad=0)
    for index, squeeze, expand in FIRES:
        if index in (3, 6, 9):
            x = net.max_pool(x, f"features.{index - 1}", kernel=3, stride=2, ceil_mode=True)
        x = _fire(net, x, f"features.{index}", squeeze, expand)
    x = _conv_relu(net, x, "classifier.1", classes, 1)
    return net.finish(net.global_average(x))


def _fire(net: Net, x: Signal, name: str, squeeze: int, expand: int) -> Signal:
    x = _conv_relu(net, x, f"{name}.squeeze", squeeze, 1)
    parts = [_conv_relu(net, x, f"{name}.expand{kernel}x{kernel}", expand, kernel) for kernel in (1, 3)]
    return net.concat(parts, f"{name}.concat")


def _conv_relu(
    net: Net, x: Signal, name: str, outputs: int, kernel: int, stride: int = 1, pad: int | None = None
) -> Signal:
    return net.relu(net.conv(x, name, outputs, kernel, stride, pad, bias=True), f"{name}.relu")
