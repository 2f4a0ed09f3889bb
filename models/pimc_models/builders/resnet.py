"""ResNet-18, -50 and -101 (He et al., 2016), a bottleneck's stride in its 3x3 convolution as torchvision has it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pimc_models.builders.net import BRANCH_SCALE

if TYPE_CHECKING:
    from collections.abc import Callable

    import onnx

    from pimc_models.builders.layer import Signal
    from pimc_models.builders.net import Net


def resnet18(net: Net, classes: int) -> onnx.ModelProto:
    """Return ResNet-18: basic blocks, (2, 2, 2, 2)."""
    return _resnet(net, classes, (2, 2, 2, 2), _basic, expansion=1)


def resnet50(net: Net, classes: int) -> onnx.ModelProto:
    """Return ResNet-50: bottlenecks, (3, 4, 6, 3)."""
    return _resnet(net, classes, (3, 4, 6, 3), _bottleneck, expansion=4)


def resnet101(net: Net, classes: int) -> onnx.ModelProto:
    """Return ResNet-101: bottlenecks, (3, 4, 23, 3)."""
    return _resnet(net, classes, (3, 4, 23, 3), _bottleneck, expansion=4)


def _resnet(
    net: Net,
    classes: int,
    depths: tuple[int, ...],
    body: Callable[[Net, Signal, str, int, int], Signal],
    expansion: int,
) -> onnx.ModelProto:
    x = net.relu(_conv_bn(net, net.input, "conv1", "bn1", 64, 7, 2), "relu")
    x = net.max_pool(x, "maxpool", kernel=3, stride=2, pad=1)
    for stage, depth in enumerate(depths):
        width = 64 << stage
        for block in range(depth):
            stride = 2 if stage and not block else 1
            name = f"layer{stage + 1}.{block}"
            skip = x
            if stride > 1 or x.channels != width * expansion:
                skip = _conv_bn(net, x, f"{name}.downsample.0", f"{name}.downsample.1", width * expansion, 1, stride)
            x = net.relu(net.add(body(net, x, name, width, stride), skip, f"{name}.add"), f"{name}.relu")
    return net.finish(net.gemm(net.global_average(x), "fc", classes))


def _basic(net: Net, x: Signal, name: str, width: int, stride: int) -> Signal:
    x = net.relu(_conv_bn(net, x, f"{name}.conv1", f"{name}.bn1", width, 3, stride), f"{name}.relu1")
    return net.bn(net.conv(x, f"{name}.conv2", width, 3), f"{name}.bn2", scale=BRANCH_SCALE)


def _bottleneck(net: Net, x: Signal, name: str, width: int, stride: int) -> Signal:
    x = net.relu(_conv_bn(net, x, f"{name}.conv1", f"{name}.bn1", width, 1), f"{name}.relu1")
    x = net.relu(_conv_bn(net, x, f"{name}.conv2", f"{name}.bn2", width, 3, stride), f"{name}.relu2")
    return net.bn(net.conv(x, f"{name}.conv3", width * 4, 1), f"{name}.bn3", scale=BRANCH_SCALE)


def _conv_bn(net: Net, x: Signal, conv: str, bn: str, outputs: int, kernel: int, stride: int = 1) -> Signal:
    return net.bn(net.conv(x, conv, outputs, kernel, stride), bn)
