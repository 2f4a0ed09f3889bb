"""Epitomes of float models: held through clean-up and through onnxruntime's quantiser.

Before constants are folded, a layer that has an epitome gets its weights as a constant of its own; batch normalisation
behind it goes into its weights, and its factors into the layer's. Behind the quantiser those weights are quantised
anew: each stored cell once (`pimc.epitomes.scales`), so that integer weights are cells of an integer epitome.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import numpy_helper

from pimc.epitomes.chain import WeightChains
from pimc.epitomes.found import LEAST, Found
from pimc.epitomes.scales import Quantised, quantised_cells
from pimc.frontend.epitomes import Choice, Layer, Structure, found_in, layers_of
from pimc.frontend.epitomes_outputs import wrap_weights
from pimc.frontend.source import Array, attributes, input_at

__all__ = ["Held", "hold", "still_held", "tie"]


@dataclass(frozen=True, eq=False)
class Held:
    """A layer's epitome and its float ``weights``, output channels first: they are axis ``outputs`` in the model."""

    layer: str
    found: Found
    weights: Array
    outputs: int

    @property
    def in_model(self) -> Array:
        """The weights as the model has them."""
        return np.ascontiguousarray(np.moveaxis(self.weights, 0, self.outputs))


def hold(model: onnx.ModelProto, choice: Choice) -> dict[str, Held]:
    """Give every chosen layer that has an epitome its weights as a constant of its own, in place.

    Returns the layers by the names of these constants. Raises FrontendError for a choice that the model does not have.
    """
    if choice.is_off:
        return {}
    wrap_weights(model, choice)
    holder = _Holder(model)
    for layer in list(layers_of(model)):
        made = found_in(layer, holder.chains) if choice.wants(layer) else None
        choice.note(layer, found=made is not None)
        if made is not None and made[1].dtype == np.float32:
            holder.take(layer, *made)
    choice.judge()
    _drop_unread(model, holder.chains)
    return holder.held


def still_held(model: onnx.ModelProto, held: Mapping[str, Held]) -> dict[str, Held]:
    """Those whose weights the clean-up left as they were."""
    stored = {t.name: t for t in model.graph.initializer}
    read = {layer.weights for layer in layers_of(model)} if held else set()
    same = (name for name in held if name in read and name in stored)
    return {n: held[n] for n in same if np.array_equal(numpy_helper.to_array(stored[n]), held[n].in_model)}


class _Holder:
    """Puts weights into a model."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self.model = model
        self.chains = WeightChains(model)
        self.held: dict[str, Held] = {}
        self._taken = {t.name for t in model.graph.initializer} | {n for v in model.graph.node for n in v.output}

    def take(self, layer: Layer, found: Found, weights: Array) -> None:
        """Make the weights a constant, with the normalisation behind the layer, unless that costs the structure."""
        node = layer.node
        normalisation = self._normalisation(node)
        factor, shift = np.ones(len(weights)), None
        if normalisation is not None:
            factor, shift = self._affine(node, normalisation)
        found = found.multiplied(factor)
        if found.ratio < LEAST:
            return
        weights = (weights * factor.reshape(-1, *[1] * (weights.ndim - 1))).astype(np.float32)
        held = Held(layer.name, found, weights, layer.outputs)
        node.input[layer.place] = name = self._constant(f"{layer.name}.epitome", held.in_model)
        self.held[name] = held
        if normalisation is not None and shift is not None:
            del node.input[2:]
            node.input.append(self._constant(f"{layer.name}.epitome_bias", shift.astype(np.float32)))
            node.output[0] = normalisation.output[0]
            self.model.graph.node.remove(normalisation)

    def _normalisation(self, node: onnx.NodeProto) -> onnx.NodeProto | None:
        """A BatchNormalization of constants that alone reads a convolution of constants."""
        result = node.output[0]
        readers = [n for n in self.model.graph.node if result in n.input]
        if node.op_type != "Conv" or len(readers) != 1 or result in {v.name for v in self.model.graph.output}:
            return None
        after = readers[0]
        if after.op_type != "BatchNormalization" or len([o for o in after.output if o]) != 1:
            return None
        constants = [*after.input[1:5], *node.input[2:3]]
        known = all(self.chains.value(name) is not None for name in constants if name)
        return after if known and not attributes(after).get("training_mode", 0) else None

    def _affine(self, node: onnx.NodeProto, normalisation: onnx.NodeProto) -> tuple[Array, Array]:
        """Factors of a normalisation, and the bias that a convolution then has."""
        values = [self.chains.value(name) for name in normalisation.input[1:5]]
        scale, shift, mean, variance = (np.asarray(v, np.float64) for v in values)
        factor = scale / np.sqrt(variance + attributes(normalisation).get("epsilon", 1e-5))
        bias = np.asarray(self.chains.value(input_at(node, 2)) if input_at(node, 2) else 0.0, np.float64)
        return factor, (bias - mean) * factor + shift

    def _constant(self, stem: str, array: Array) -> str:
        name, n = stem, 1
        while name in self._taken:
            n += 1
            name = f"{stem}.{n}"
        self._taken.add(name)
        self.model.graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name


def _drop_unread(model: onnx.ModelProto, chains: WeightChains) -> None:
    """Remove what is left of chains: operators on constants that nobody reads."""
    read = {v.name for v in model.graph.output}
    for node in reversed(list(model.graph.node)):
        if not read & set(node.output) and all(chains.value(name) is not None for name in node.input if name):
            model.graph.node.remove(node)
        else:
            read.update(node.input)


def tie(made: onnx.ModelProto, clean: onnx.ModelProto, held: Mapping[str, Held]) -> dict[str, Structure]:
    """Quantise the weights of held layers anew in the model ``made`` of ``clean``, in place.

    Returns structures by the names of 8-bit weights. A layer that the quantiser left in float, or whose bias would not
    fit 32 bits, stays as it is.
    """
    tied = {}
    for node in made.graph.node if held else ():
        name = input_at(node, 3).removesuffix("_quantized")
        if name not in held or node.op_type not in _BIASES:
            continue
        layer = held[name]
        cells = quantised_cells(layer.found, layer.weights)
        if _Tied(made, clean, node).replace(cells, layer.outputs):
            index = np.ascontiguousarray(np.moveaxis(layer.found.index, 0, layer.outputs))
            lost = cells.per_channel_db - cells.snr_db
            figures = (round(x, 2) + 0.0 if np.isfinite(x) else None for x in (cells.snr_db, lost))
            tied[node.input[3]] = Structure(index, layer.found.shape, *figures)
    return tied


_BIASES = {"QLinearConv": 8, "QGemm": 6, "QLinearMatMul": -1}
"""Places of biases among the inputs of quantised layers."""


class _Tied:
    """A quantised layer whose weights are to be replaced."""

    def __init__(self, made: onnx.ModelProto, clean: onnx.ModelProto, node: onnx.NodeProto) -> None:
        self.made, self.node = made, node
        self.stored = {t.name: t for t in made.graph.initializer}
        self.floats = {t.name: t for t in clean.graph.initializer}

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
