"""The table of seeded topologies: name to builder, imported only when asked for."""

from __future__ import annotations

from importlib import import_module
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from pimc_isa.errors import PimcError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import onnx

    Builder = Callable[..., onnx.ModelProto]

__all__ = ["LEAST", "SIZES", "TOPOLOGIES", "UnknownTopologyError", "build", "build_int8"]

TOPOLOGIES: Mapping[str, str] = MappingProxyType(
    {
        "alexnet": "alexnet:alexnet",
        "efficientnet_lite0": "efficientnet_lite:efficientnet_lite0",
        "googlenet": "googlenet:googlenet",
        "inception_v3": "inception:inception_v3",
        "mobilenet_v2": "mobilenet:mobilenet_v2",
        "resnet18": "resnet:resnet18",
        "resnet50": "resnet:resnet50",
        "resnet101": "resnet:resnet101",
        "shufflenet_v2": "shufflenet:shufflenet_v2",
        "squeezenet1_1": "squeezenet:squeezenet1_1",
        "vgg16": "vgg:vgg16",
        "vgg19": "vgg:vgg19",
    }
)
"""Name to `module:function` below `pimc_models.builders`."""


class UnknownTopologyError(PimcError):
    """A name that is not in the table."""


SIZES: Mapping[str, int] = MappingProxyType(dict.fromkeys(TOPOLOGIES, 224) | {"inception_v3": 299})
"""Height and width of the image each network was published with."""

LEAST: Mapping[str, int] = MappingProxyType(dict.fromkeys(TOPOLOGIES, 32) | {"alexnet": 63, "inception_v3": 75})
"""The smallest image from which something is left behind the last layer."""


def build(name: str, seed: int = 0, size: int | None = None, classes: int = 1000, **options: Any) -> onnx.ModelProto:
    """Build one topology with random weights: float32, opset 17, input "input" 1 x 3 x size x size, logits 1 x classes.

    The weights depend on `seed` and not on `size` (but for AlexNet and VGG, whose dense layers take the whole feature
    map); the same arguments give the same bytes. `size` is that of `SIZES` unless given, and at least that of `LEAST`.
    `options` are the builder's own, such as the channels of ShuffleNetV2's `stages`.
    Raises UnknownTopologyError.
    """
    from pimc_models.builders.net import Net

    builder = _builder(name)
    return builder(Net(name, seed, size or SIZES[name]), classes, **options)


def build_int8(
    name: str, seed: int = 0, size: int | None = None, classes: int = 1000, **options: Any
) -> onnx.ModelProto:
    """Build one topology with random 8-bit weights and computed scales; see `pimc_models.builders.int8`."""
    from pimc_models.builders.int8 import Int8Net

    builder = _builder(name)
    return builder(Int8Net(name, seed, size or SIZES[name]), classes, **options)


def _builder(name: str) -> Builder:
    if name not in TOPOLOGIES:
        raise UnknownTopologyError(f"no topology {name!r}; known: {', '.join(TOPOLOGIES)}")
    module, function = TOPOLOGIES[name].split(":")
    builder: Builder = getattr(import_module(f"pimc_models.builders.{module}"), function)
    return builder
