"""ShuffleNetV2, width 1.0 (Ma et al., 2018), as torchvision has it: units that halve the channels and shuffle them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnx

    from pimc_models.builders.layer import Signal
    from pimc_models.builders.net import Net

REPEATS = (4, 8, 4)
"""Units of each stage: table 5 of the paper."""


def shufflenet_v2(
    net: Net, classes: int, *, stages: tuple[int, ...] = (116, 232, 464), last: int = 1024
) -> onnx.ModelProto:
    """Return ShuffleNetV2; ``stages`` are the channels behind each, two branches of half of them."""
    x = net.max_pool(_conv_relu(net, net.input, "conv1", 24, 3, stride=2), "maxpool", kernel=3, stride=2, pad=1)
    for stage, (channels, repeats) in enumerate(zip(stages, REPEATS, strict=True), 2):
        x = _first(net, x, f"stage{stage}.0", channels // 2)
        for repeat in range(1, repeats):
            x = _unit(net, x, f"stage{stage}.{repeat}")
    return net.finish(net.gemm(net.global_average(_conv_relu(net, x, "conv5", last, 1)), "fc", classes))


def _first(net: Net, x: Signal, name: str, width: int) -> Signal:
    y = _depthwise(net, x, f"{name}.branch1.0", stride=2)
    left = _conv_relu(net, y, f"{name}.branch1.2", width, 1)
    return _joined(net, left, _branch(net, x, name, width, stride=2), name)


def _unit(net: Net, x: Signal, name: str) -> Signal:
    left, right = net.halves(x, f"{name}.split")
    return _joined(net, left, _branch(net, right, name, right.channels, stride=1), name)


def _branch(net: Net, x: Signal, name: str, width: int, stride: int) -> Signal:
    y = _depthwise(net, _conv_relu(net, x, f"{name}.branch2.0", width, 1), f"{name}.branch2.3", stride)
    return _conv_relu(net, y, f"{name}.branch2.5", width, 1)


def _joined(net: Net, left: Signal, right: Signal, name: str) -> Signal:
    return net.shuffle(net.concat([left, right], f"{name}.concat"), f"{name}.shuffle", groups=2)


def _depthwise(net: Net, x: Signal, name: str, stride: int) -> Signal:
    return net.bn(net.conv(x, name, x.channels, 3, stride, groups=x.channels), f"{name}.bn")


def _conv_relu(net: Net, x: Signal, name: str, outputs: int, kernel: int, stride: int = 1) -> Signal:
    return net.relu(net.bn(net.conv(x, name, outputs, kernel, stride), f"{name}.bn"), f"{name}.relu")
