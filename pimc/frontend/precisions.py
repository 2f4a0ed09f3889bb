"""Which bits and scales the weights of every layer get, from what a user asked for."""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping

import onnx

from pimc.epitomes.codes import FEWEST, MOST
from pimc.epitomes.scales import Precision
from pimc.epitomes.shifts import Blocks
from pimc.frontend.epitomes.structure import Layer, layers_of
from pimc.frontend.errors import FrontendError
from pimc.frontend.names import heirs_of, meant
from pimc.frontend.options import QuantiserOptions, WeightFit, WeightScales

__all__ = ["precisions_of"]


def precisions_of(options: QuantiserOptions, model: onnx.ModelProto, clean: onnx.ModelProto) -> dict[str, Precision]:
    """Precisions by the layer's node in the ``clean`` model; of layers that onnxruntime's quantiser does well, none.

    Raises FrontendError for widths, fits or names of layers that there are not.
    """
    fit = _known(WeightFit, options.weight_fit, "weight_fit")
    scales = _known(WeightScales, options.weight_scales, "weight_scales")
    layers = list(layers_of(clean))
    bits = _bits(options.weight_bits, layers, model, clean)
    if fit != WeightFit.LARGEST:
        bits = {layer.name: bits.get(layer.name, MOST) for layer in layers}
    per_channel, blocks = scales == WeightScales.CHANNEL, _blocks(options.weight_blocks, bits)
    found = {name: Precision(width, str(fit), per_channel, blocks) for name, width in bits.items()}
    _refuse_shared(layers, found)
    return found


def _blocks(given: tuple[int, int] | None, bits: Mapping[str, int]) -> Blocks | None:
    if given is None:
        return None
    if len(given) != 2 or min(given) < 1:
        raise FrontendError(f"weight_blocks={given} are no blocks. Give rows and columns of a crossbar, as 128, 32.")
    if min(bits.values(), default=MOST) == MOST:
        raise FrontendError(f"weight_blocks need weights of fewer than {MOST} bits: give weight_bits, too.")
    return Blocks(*given)


def _known(kind: type[WeightFit | WeightScales], given: str, option: str) -> str:
    if given not in list(kind):
        raise FrontendError(f"{option}={given!r} does not exist. Choose {' or '.join(kind)}.")
    return given


def _bits(
    given: int | Mapping[str, int] | None, layers: list[Layer], model: onnx.ModelProto, clean: onnx.ModelProto
) -> dict[str, int]:
    """Bits by layer, of those that are told to have some."""
    by_name = {} if given is None else dict(given) if isinstance(given, Mapping) else {"*": given}
    known = {layer.name: _aliases(layer) for layer in layers}
    found: dict[str, int] = {}
    for name, bits in by_name.items():
        if isinstance(bits, bool) or not isinstance(bits, int) or not FEWEST <= bits <= MOST:
            raise FrontendError(f"Weights of {bits} bits cannot be. Give {FEWEST} to {MOST}, the sign included.")
        heirs = heirs_of(name, model, clean)
        named = [n for n, aliases in known.items() if n in heirs or fnmatch.filter(aliases, name)]
        if not named and name != "*":
            hint = meant(name, [*known, *(node.name for node in model.graph.node)])
            raise FrontendError(f"The model has no layer {name!r} whose weights could have {bits} bits{hint}")
        for layer in named:
            found.setdefault(layer, bits)
    return found


def _aliases(layer: Layer) -> list[str]:
    """What a layer is called: its node, its result, and its value in the graph."""
    return [layer.name, layer.node.output[0], layer.name.lstrip("/")]


def _refuse_shared(layers: list[Layer], found: Mapping[str, Precision]) -> None:
    """Layers of the same weights have them once."""
    first: dict[str, Layer] = {}
    for layer in layers:
        other = first.setdefault(layer.weights, layer)
        if found.get(other.name) != found.get(layer.name):
            raise FrontendError(
                f"Layers {other.name!r} and {layer.name!r} share their weights. Give both the same number of bits."
            )
