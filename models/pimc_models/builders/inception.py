"""Inception v3 (Szegedy et al., "Rethinking the Inception Architecture", 2016) as torchvision has it.

The paper's 42-layer network: 5x5 kernels as pairs of 3x3 (block A), 7x7 as 1x7 and 7x1 (C), fanned-out 1x3 and 3x1 (E),
and reductions that convolve and pool side by side (B, D). The auxiliary classifier exists only in training.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnx

    from pimc_models.builders.layer import Signal
    from pimc_models.builders.net import Net


def inception_v3(net: Net, classes: int, *, padded_stem: bool = False) -> onnx.ModelProto:
    """Return Inception v3; its own image size is 299.

    ``padded_stem``: the stem's convolutions are padded, its poolings lose what these then have more (at 224 x 224 the
    last gives the 26 x 26 of the network as published).
    """
    pad, first, second = (1, (3, 1), (5, 0)) if padded_stem else (0, (3, 0), (3, 0))
    x = _conv(net, net.input, "Conv2d_1a_3x3", 32, 3, stride=2, pad=pad)
    x = _conv(net, _conv(net, x, "Conv2d_2a_3x3", 32, 3, pad=pad), "Conv2d_2b_3x3", 64, 3)
    x = net.max_pool(x, "maxpool1", kernel=first[0], stride=2, pad=first[1])
    x = _conv(net, _conv(net, x, "Conv2d_3b_1x1", 80, 1), "Conv2d_4a_3x3", 192, 3, pad=pad)
    x = net.max_pool(x, "maxpool2", kernel=second[0], stride=2, pad=second[1])
    for name, pool in (("Mixed_5b", 32), ("Mixed_5c", 64), ("Mixed_5d", 64)):
        x = _block_a(net, x, name, pool)
    x = _block_b(net, x, "Mixed_6a")
    for name, width in (("Mixed_6b", 128), ("Mixed_6c", 160), ("Mixed_6d", 160), ("Mixed_6e", 192)):
        x = _block_c(net, x, name, width)
    x = _block_d(net, x, "Mixed_7a")
    for name in ("Mixed_7b", "Mixed_7c"):
        x = _block_e(net, x, name)
    return net.finish(net.gemm(net.global_average(x), "fc", classes))


def _block_a(net: Net, x: Signal, name: str, pool: int) -> Signal:
    five = _conv(net, _conv(net, x, f"{name}.branch5x5_1", 48, 1), f"{name}.branch5x5_2", 64, 5)
    double = _conv(net, _conv(net, x, f"{name}.branch3x3dbl_1", 64, 1), f"{name}.branch3x3dbl_2", 96, 3)
    parts = [_conv(net, x, f"{name}.branch1x1", 64, 1), five, _conv(net, double, f"{name}.branch3x3dbl_3", 96, 3)]
    return net.concat([*parts, _pooled(net, x, name, pool)], f"{name}.concat")


def _block_b(net: Net, x: Signal, name: str) -> Signal:
    double = _conv(net, _conv(net, x, f"{name}.branch3x3dbl_1", 64, 1), f"{name}.branch3x3dbl_2", 96, 3)
    parts = [
        _conv(net, x, f"{name}.branch3x3", 384, 3, stride=2, pad=0),
        _conv(net, double, f"{name}.branch3x3dbl_3", 96, 3, stride=2, pad=0),
        net.max_pool(x, f"{name}.pool", kernel=3, stride=2),
    ]
    return net.concat(parts, f"{name}.concat")


def _block_c(net: Net, x: Signal, name: str, width: int) -> Signal:
    wide, tall = (1, 7), (7, 1)
    seven = _chain(net, x, f"{name}.branch7x7", (width, 1), (width, wide), (192, tall))
    double = _chain(
        net, x, f"{name}.branch7x7dbl", (width, 1), (width, tall), (width, wide), (width, tall), (192, wide)
    )
    parts = [_conv(net, x, f"{name}.branch1x1", 192, 1), seven, double, _pooled(net, x, name, 192)]
    return net.concat(parts, f"{name}.concat")


def _block_d(net: Net, x: Signal, name: str) -> Signal:
    three = _conv(net, x, f"{name}.branch3x3_1", 192, 1)
    seven = _chain(net, x, f"{name}.branch7x7x3", (192, 1), (192, (1, 7)), (192, (7, 1)))
    parts = [
        _conv(net, three, f"{name}.branch3x3_2", 320, 3, stride=2, pad=0),
        _conv(net, seven, f"{name}.branch7x7x3_4", 192, 3, stride=2, pad=0),
        net.max_pool(x, f"{name}.pool", kernel=3, stride=2),
    ]
    return net.concat(parts, f"{name}.concat")


def _block_e(net: Net, x: Signal, name: str) -> Signal:
    three = _conv(net, x, f"{name}.branch3x3_1", 384, 1)
    double = _chain(net, x, f"{name}.branch3x3dbl", (448, 1), (384, 3))
    fans = [
        net.concat([_conv(net, y, f"{stem}a", 384, (1, 3)), _conv(net, y, f"{stem}b", 384, (3, 1))], f"{stem}.concat")
        for y, stem in ((three, f"{name}.branch3x3_2"), (double, f"{name}.branch3x3dbl_3"))
    ]
    return net.concat([_conv(net, x, f"{name}.branch1x1", 320, 1), *fans, _pooled(net, x, name, 192)], f"{name}.concat")


def _chain(net: Net, x: Signal, name: str, *layers: tuple[int, int | tuple[int, int]]) -> Signal:
    for number, (outputs, kernel) in enumerate(layers, 1):
        x = _conv(net, x, f"{name}_{number}", outputs, kernel)
    return x


def _pooled(net: Net, x: Signal, name: str, outputs: int) -> Signal:
    return _conv(net, net.average_pool(x, f"{name}.pool", kernel=3, stride=1, pad=1), f"{name}.branch_pool", outputs, 1)


def _conv(
    net: Net,
    x: Signal,
    name: str,
    outputs: int,
    kernel: int | tuple[int, int],
    stride: int = 1,
    pad: int | None = None,
) -> Signal:
    y = net.bn(net.conv(x, f"{name}.conv", outputs, kernel, stride, pad), f"{name}.bn", epsilon=1e-3)
    return net.relu(y, f"{name}.relu")
