"""The table of seeded topologies: name to builder, imported only when asked for."""

from __future__ import annotations

from importlib import import_module
from types import MappingProxyType
from typing import TYPE_CHECKING

from pimc_isa.errors import PimcError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import onnx

    Builder = Callable[[int, int, int], onnx.ModelProto]

__all__ = ["TOPOLOGIES", "UnknownTopologyError", "build"]

TOPOLOGIES: Mapping[str, str] = MappingProxyType(
    {
        "googlenet": "googlenet:googlenet",
        "mobilenet_v2": "mobilenet:mobilenet_v2",
        "resnet18": "resnet:resnet18",
        "resnet50": "resnet:resnet50",
        "squeezenet1_1": "squeezenet:squeezenet1_1",
        "vgg16": "vgg:vgg16",
    }
)
"""Name to `module:function` below `pimc_models.builders`."""


class UnknownTopologyError(PimcError):
    """A name that is not in the table."""


def build(name: str, seed: int = 0, size: int = 224, classes: int = 1000) -> onnx.ModelProto:
    """Build one topology with random weights: float32, opset 17, input "input" 1 x 3 x size x size, logits 1 x classes.

    The weights depend on `seed` and not on `size` (but for VGG-16, whose dense layers take the whole feature map);
    the same arguments give the same bytes. `size` is at least 32. Raises UnknownTopologyError.
    """
    if name not in TOPOLOGIES:
        raise UnknownTopologyError(f"no topology {name!r}; known: {', '.join(TOPOLOGIES)}")
    module, function = TOPOLOGIES[name].split(":")
    builder: Builder = getattr(import_module(f"pimc_models.builders.{module}"), function)
    return builder(seed, size, classes)
