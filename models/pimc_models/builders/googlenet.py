"""GoogLeNet (Szegedy et al., 2015) as torchvision has it: normalised convolutions, a 3x3 in place of the 5x5, no LRN.

The auxiliary classifiers exist only in training and are left out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnx

    from pimc_models.builders.layer import Signal
    from pimc_models.builders.net import Net

INCEPTIONS = {
    "inception3a": (64, 96, 128, 16, 32, 32),
    "inception3b": (128, 128, 192, 32, 96, 64),
    "inception4a": (192, 96, 208, 16, 48, 64),
    "inception4b": (160, 112, 224, 24, 64, 64),
    "inception4c": (128, 128, 256, 24, 64, 64),
    "inception4d": (112, 144, 288, 32, 64, 64),
    "inception4e": (256, 160, 320, 32, 128, 128),
    "inception5a": (256, 160, 320, 32, 128, 128),
    "inception5b": (384, 192, 384, 48, 128, 128),
}
"""Table 1 of the paper: 1x1; 3x3 reduce, 3x3; 5x5 reduce, 5x5; pool projection."""


def googlenet(net: Net, classes: int) -> onnx.ModelProto:
    """Return GoogLeNet."""
    x = _conv(net, net.input, "conv1", 64, 7, stride=2)
    x = net.max_pool(x, "maxpool1", kernel=3, stride=2, ceil_mode=True)
    x = _conv(net, _conv(net, x, "conv2", 64, 1), "conv3", 192, 3)
    x = net.max_pool(x, "maxpool2", kernel=3, stride=2, ceil_mode=True)
    for name, widths in INCEPTIONS.items():
        if name == "inception4a":
            x = net.max_pool(x, "maxpool3", kernel=3, stride=2, ceil_mode=True)
        if name == "inception5a":
            x = net.max_pool(x, "maxpool4", kernel=2, stride=2, ceil_mode=True)
        x = _inception(net, x, name, *widths)
    return net.finish(net.gemm(net.global_average(x), "fc", classes))


def _inception(net: Net, x: Signal, name: str, one: int, r3: int, c3: int, r5: int, c5: int, pool: int) -> Signal:
    parts = [
        _conv(net, x, f"{name}.branch1", one, 1),
        _conv(net, _conv(net, x, f"{name}.branch2.0", r3, 1), f"{name}.branch2.1", c3, 3),
        _conv(net, _conv(net, x, f"{name}.branch3.0", r5, 1), f"{name}.branch3.1", c5, 3),
        _conv(net, net.max_pool(x, f"{name}.branch4.0", kernel=3, stride=1, pad=1), f"{name}.branch4.1", pool, 1),
    ]
    return net.concat(parts, f"{name}.concat")


def _conv(net: Net, x: Signal, name: str, outputs: int, kernel: int, stride: int = 1) -> Signal:
    y = net.bn(net.conv(x, f"{name}.conv", outputs, kernel, stride), f"{name}.bn", epsilon=1e-3)
    return net.relu(y, f"{name}.relu")
