"""VGG-16 and VGG-19, configurations D and E without normalisation (Simonyan and Zisserman, 2015)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnx

    from pimc_models.builders.net import Net

CHANNELS = (64, 128, 256, 512, 512)
"""Channels of each stage; a 2x2 max pool ends every stage."""


def vgg16(net: Net, classes: int) -> onnx.ModelProto:
    """Return VGG-16. The first dense layer takes the whole last feature map, (size / 32) squared positions."""
    return _vgg(net, classes, (2, 2, 3, 3, 3))


def vgg19(net: Net, classes: int) -> onnx.ModelProto:
    """Return VGG-19: a further 3x3 convolution in each of the last three stages."""
    return _vgg(net, classes, (2, 2, 4, 4, 4))


def _vgg(net: Net, classes: int, depths: tuple[int, ...]) -> onnx.ModelProto:
    x, layer = net.input, 0
    for channels, depth in zip(CHANNELS, depths, strict=True):
        for _ in range(depth):
            x = net.conv(x, f"features.{layer}", channels, 3, bias=True)
            x = net.relu(x, f"features.{layer + 1}")
            layer += 2
        x = net.max_pool(x, f"features.{layer}", kernel=2, stride=2)
        layer += 1
    x = net.flatten(x, positions=(net.size // 32) ** 2)
    for index in (0, 3):
        x = net.relu(net.gemm(x, f"classifier.{index}", 4096), f"classifier.{index + 1}")
    return net.finish(net.gemm(x, "classifier.6", classes))
