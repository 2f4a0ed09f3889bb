"""Weights quantised anew behind onnxruntime's quantiser: cells of epitomes once each, and weights of few bits.

Only integers, scales and biases are replaced, so onnxruntime computes the result with the same kernels; a code of few
bits is an int8 number that is not large.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import onnx
from onnx import numpy_helper

from pimc.epitomes.codes import MOST
from pimc.epitomes.scales import Precision, Quantised, quantised_cells, quantised_weights
from pimc.frontend.epitomes.floats import Held
from pimc.frontend.epitomes.structure import Layer, Structure, layers_of
from pimc.frontend.errors import FrontendError
from pimc.frontend.source import Array, input_at

__all__ = ["Known", "quantised_layers", "requantise"]


@dataclass(frozen=True)
class Known:
    """What is known of layers by their results: structures, and bits of the int8 codes.

    ``widths`` are those that were asked for, by the layer's name: without the powers of two of blocks.
    """

    structures: Mapping[str, Structure] = field(default_factory=dict)
    bits: Mapping[str, int] = field(default_factory=dict)
    widths: Mapping[str, int] = field(default_factory=dict)

    def by_weights(self, model: onnx.ModelProto) -> tuple[dict[str, Structure], dict[str, int]]:
        """Both by the tensors of the layers' weights, whose names are final in this model."""
        weights = {node.output[0]: node.input[3] for node in model.graph.node if node.op_type in _BIASES}
        structures = {weights[result]: structure for result, structure in self.structures.items()}
        return structures, {weights[result]: bits for result, bits in self.bits.items()}


def requantise(
    made: onnx.ModelProto, clean: onnx.ModelProto, held: Mapping[str, Held], precisions: Mapping[str, Precision]
) -> Known:
    """Quantise the weights of held layers and of those with ``precisions`` anew in the model ``made`` of ``clean``.

    A layer that the quantiser left in float stays as it is, and so does a held one whose bias would not fit 32 bits.
    Raises FrontendError for a layer with a precision whose bias would not.
    """
    structures: dict[str, Structure] = {}
    bits: dict[str, int] = {}
    widths: dict[str, int] = {}
    layers = {layer.name: layer for layer in layers_of(clean)} if precisions else {}
    for node in made.graph.node if held or precisions else ():
        if node.op_type not in _BIASES:
            continue
        layer, how = held.get(input_at(node, 3).removesuffix("_quantized")), precisions.get(_name(node))
        new = _Replaced(made, clean, node)
        if layer is not None and (structure := new.tied(layer, how)) is not None:
            structures[node.output[0]] = structure
        elif how is not None and not new.dense(layers[_name(node)], how):
            raise FrontendError(f"Layer {_name(node)!r} cannot have weights of {how.bits} bits: its bias is too large.")
        if how is not None:
            bits[node.output[0]] = how.bits if how.blocks is None else MOST
            widths[_name(node).lstrip("/")] = how.bits
    return Known(structures, bits, widths)


def quantised_layers(made: onnx.ModelProto) -> set[str]:
    """Names of the layers that the quantiser made 8-bit ones of."""
    return {_name(node) for node in made.graph.node if node.op_type in _BIASES}


def _name(node: onnx.NodeProto) -> str:
    """What the node was called before it was quantised."""
    return str(node.name.removesuffix("_quant"))


_BIASES = {"QLinearConv": 8, "QGemm": 6, "QLinearMatMul": -1}
"""Places of biases among the inputs of quantised layers."""


class _Replaced:
    """A quantised layer whose weights are to be replaced."""

    def __init__(self, made: onnx.ModelProto, clean: onnx.ModelProto, node: onnx.NodeProto) -> None:
        self.made, self.node = made, node
        self.stored = {t.name: t for t in made.graph.initializer}
        self.floats = {t.name: t for t in clean.graph.initializer}

    def tied(self, layer: Held, how: Precision | None) -> Structure | None:
        """Put in the cells of an epitome; what is then known of the weights, None where they stay as they are."""
        cells = quantised_cells(layer.found, layer.weights, self._scaled(how or Precision()))
        if not self.replace(cells, layer.outputs):
            return None
        index = np.ascontiguousarray(np.moveaxis(layer.found.index, 0, layer.outputs))
        lost = cells.per_channel_db - cells.snr_db
        figures = (round(x, 2) + 0.0 if np.isfinite(x) else None for x in (cells.snr_db, lost))
        return Structure(index, layer.found.shape, *figures)

    def dense(self, layer: Layer, how: Precision) -> bool:
        """Put in weights that are all quantised on their own; whether that can be."""
        weights = np.moveaxis(numpy_helper.to_array(self.floats[layer.weights]), layer.outputs, 0)
        return self.replace(quantised_weights(weights, self._scaled(how)), layer.outputs)

    def _scaled(self, how: Precision) -> Precision:
        """With one scale where the layer has room for one."""
        return replace(how, per_channel=how.per_channel and bool(self.stored[self.node.input[4]].dims))

    def replace(self, cells: Quantised, outputs: int) -> bool:
        """Put in cells for weights, with their scales and the bias at these; whether that can be."""
        weights, scale, zero = self.node.input[3:6]
        single = not self.stored[scale].dims
        real = cells.scale[0] if single else cells.scale
        if single and (cells.scale != real).any():
            return False
        place = _BIASES[self.node.op_type]
        name = input_at(self.node, place) if place > 0 else ""
        bias = self._bias(name, cells.scale) if name else None
        if name and (bias is None or not (np.abs(bias) < 2**31).all()):
            return False
        self._store(weights, np.moveaxis(cells.weights, 0, outputs))
        self._store(scale, np.asarray(real, np.float32))
        self._store(zero, np.zeros(np.shape(real), np.int8))
        if bias is not None:
            self.node.input[place] = f"{weights}.bias"
            tensor = numpy_helper.from_array(bias.astype(np.int32), self.node.input[place])
            self.made.graph.initializer.append(tensor)
        return True

    def _store(self, name: str, array: Array) -> None:
        self.stored[name].CopyFrom(numpy_helper.from_array(array, name))

    def _bias(self, name: str, scale: Array) -> Array | None:
        """The integers of a bias, as onnxruntime's quantiser makes them: at input scale times weight scale."""
        given = self.floats.get(name.removesuffix("_quantized"))
        if given is None:
            return None
        entry = numpy_helper.to_array(self.stored[self.node.input[1]]).astype(np.float32)
        with np.errstate(all="ignore"):
            return np.asarray(np.rint(numpy_helper.to_array(given) / (entry * scale).astype(np.float32)))
