"""VGG-16, configuration D without normalisation (Simonyan and Zisserman, 2015)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pimc_models.builders.net import Net

if TYPE_CHECKING:
    import onnx

STAGES = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))
"""(channels, 3x3 convolutions) of each stage; a 2x2 max pool ends every stage."""


def vgg16(seed: int, size: int, classes: int) -> onnx.ModelProto:
    """Return VGG-16. The first dense layer takes the whole last feature map, (size / 32) squared positions."""
    net = Net("vgg16", seed, size)
    x, layer = net.input, 0
    for channels, depth in STAGES:
        for _ in range(depth):
            x = net.conv(x, f"features.{layer}", channels, 3, bias=True)
            x = net.relu(x, f"features.{layer + 1}")
            layer += 2
        x = net.max_pool(x, f"features.{layer}", kernel=2, stride=2)
        layer += 1
    x = net.flatten(x, positions=(size // 32) ** 2)
    for index in (0, 3):
        x = net.relu(net.gemm(x, f"classifier.{index}", 4096), f"classifier.{index + 1}")
    return net.finish(net.gemm(x, "classifier.6", classes))
