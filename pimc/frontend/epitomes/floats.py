"""Epitomes of float models: held through clean-up and through onnxruntime's quantiser.

Before constants are folded, a layer that has an epitome gets its weights as a constant of its own; batch normalisation
behind it goes into its weights, and its factors into the layer's. Behind the quantiser those weights are quantised
anew (`pimc.frontend.requantise`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import numpy_helper

from pimc.epitomes.found import LEAST, Found
from pimc.frontend.epitomes.chain import WeightChains
from pimc.frontend.epitomes.constants import Constants
from pimc.frontend.epitomes.outputs import wrap_weights
from pimc.frontend.epitomes.structure import Choice, Layer, found_in, layers_of
from pimc.frontend.source import Array, attributes, input_at

__all__ = ["Held", "hold", "still_held"]


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
        self.constants = Constants(model)

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
        name = self.constants.name(stem)
        self.constants.store(name, array)
        return name


def _drop_unread(model: onnx.ModelProto, chains: WeightChains) -> None:
    """Remove what is left of chains: operators on constants that nobody reads."""
    read = {v.name for v in model.graph.output}
    for node in reversed(list(model.graph.node)):
        if not read & set(node.output) and all(chains.value(name) is not None for name in node.input if name):
            model.graph.node.remove(node)
        else:
            read.update(node.input)
