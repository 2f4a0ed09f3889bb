"""AlexNet as torchvision has it: one column of the network (Krizhevsky, 2014), no local response normalisation."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnx

    from pimc_models.builders.net import Net

CONVOLUTIONS = ((0, 64, 11, 4, 2), (3, 192, 5, 1, 2), (6, 384, 3, 1, 1), (8, 256, 3, 1, 1), (10, 256, 3, 1, 1))
"""(index in the feature list, channels, kernel, stride, padding)."""

POOLS = {0: 2, 3: 5, 10: 12}
"""A 3x3 max pool of stride 2 behind convolution i: its index in the feature list."""


def alexnet(net: Net, classes: int) -> onnx.ModelProto:
    """Return AlexNet. The first dense layer takes the whole last feature map (6 x 6 of a 224 x 224 image)."""
    x, edge = net.input, net.size
    for index, channels, kernel, stride, pad in CONVOLUTIONS:
        x = net.conv(x, f"features.{index}", channels, kernel, stride, pad, bias=True)
        x = net.relu(x, f"features.{index + 1}")
        edge = (edge + 2 * pad - kernel) // stride + 1
        if index in POOLS:
            x = net.max_pool(x, f"features.{POOLS[index]}", kernel=3, stride=2)
            edge = (edge - 3) // 2 + 1
    x = net.flatten(x, positions=edge**2)
    for index in (1, 4):
        x = net.relu(net.gemm(x, f"classifier.{index}", 4096), f"classifier.{index + 1}")
    return net.finish(net.gemm(x, "classifier.6", classes))
