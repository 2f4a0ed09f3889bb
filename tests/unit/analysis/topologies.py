"""Known topologies as quantised graphs with seeded weights, at any input size."""

from __future__ import annotations

from pimc.ir.graph import Graph
from tests.unit.passes.graphs import Net

__all__ = ["resnet18"]


def resnet18(size: int = 224) -> Graph:
    """ResNet-18: 11.7 M weights, eight residual blocks."""
    net = Net((size, size, 3))
    x = net.maxpool(net.conv(net.x, 64, 7, 2, 3))
    for stage, width in enumerate((64, 128, 256, 512)):
        for block in range(2):
            stride = 2 if stage and not block else 1
            y = net.conv(net.conv(x, width, 3, stride, 1), width, 3, 1, 1)
            x = net.add(y, net.conv(x, width, 1, stride, 0) if stride == 2 else x)
    return net.finish(net.conv(net.gap(x), 1000, 1, 1, 0))
