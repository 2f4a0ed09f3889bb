"""Epitomes of models that are 8-bit already: chains become constants that keep their structure.

A chain may stand before the DequantizeLinear of a layer's weights, behind it, or before a QLinearConv. Integers are
moved as the chain moves them, so the layer reads one constant. Behind a DequantizeLinear, onnxruntime would compute the
layer in floating point; with a constant it sums integers, and that is the reference (at ties they differ by one step).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx

from pimc.epitomes.found import Found
from pimc.epitomes.values import recognise
from pimc.frontend.epitomes.chain import WeightChains
from pimc.frontend.epitomes.constants import Constants
from pimc.frontend.epitomes.structure import Choice, Layer, Structure, found_in, layers_of
from pimc.frontend.source import DEQUANTISE, Array, Source

__all__ = ["fold_chains", "structures"]


def fold_chains(model: onnx.ModelProto, choice: Choice) -> dict[str, Structure]:
    """Make constants of chains that are epitomes, in place; structures by the names of 8-bit weights."""
    folder = _Folder(model)
    made: dict[str, Structure] = {}
    for layer in list(layers_of(model)) if not choice.is_off else []:
        wanted = choice.wants(layer) and folder.chains.has_moves(layer.weights)
        found = found_in(layer, folder.chains) if wanted else None
        name = None if found is None else folder.fold(layer)
        choice.note(layer, found=name is not None)
        if found is not None and name is not None:
            made[name] = _structure(found[0], layer)
    folder.finish()
    return made


def structures(model: onnx.ModelProto, choice: Choice, known: Mapping[str, Structure]) -> dict[str, Structure]:
    """The ``known`` structures and those that 8-bit weights have by their values, by the weights' names.

    Raises FrontendError for a choice that the model does not have.
    """
    source = Source(model)
    found = dict(known)
    for layer in layers_of(model) if not choice.is_off else ():
        name, zero = _integers_of(layer, source)
        if name not in found:
            made = _by_value(source.constant(name), zero, layer) if choice.wants(layer) else None
            choice.note(layer, found=made is not None)
            if made is not None:
                found[name] = _structure(made, layer)
    choice.judge()
    return found


def _structure(found: Found, layer: Layer) -> Structure:
    return Structure(np.ascontiguousarray(np.moveaxis(found.index, 0, layer.outputs)), found.shape)


def _integers_of(layer: Layer, source: Source) -> tuple[str, Array | None]:
    """The tensor of a layer's 8-bit weights, and its zero points."""
    if layer.place == 3:
        return layer.weights, source.constant(layer.node.input[5])
    node = source.maker(layer.weights)
    if node is None or node.op_type != DEQUANTISE:
        return layer.weights, None
    return node.input[0], source.parameters(node)[1]


def _by_value(weights: Array | None, zero: Array | None, layer: Layer) -> Found | None:
    """An epitome in 8-bit weights; 0 is where their zero point is."""
    if weights is None or zero is None or weights.dtype not in (np.int8, np.uint8) or not 2 <= weights.ndim <= 4:
        return None
    turned = np.moveaxis(weights, layer.outputs, 0)
    if zero.size not in (1, len(turned)):
        return None
    if not zero.any():
        return recognise(turned)
    return recognise(turned.astype(np.int16) - zero.astype(np.int16).reshape(-1, *[1] * (turned.ndim - 1)))


class _Folder:
    """Replaces chains by constants."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self.model = model
        self.chains = WeightChains(model)
        self._before: dict[str, onnx.NodeProto] = {}
        self.constants = Constants(model)

    def fold(self, layer: Layer) -> str | None:
        """Give a layer its 8-bit weights as a constant; returns its name, None where they are not 8-bit."""
        name = self.constants.name(f"{layer.name}.epitome")
        if layer.place == 3:
            return self._stored(name, self.chains.value(layer.weights), layer, name)
        last = self.chains.maker(layer.weights)
        quantised = self.chains.dequantiser(layer.weights)
        scale = None if quantised is None else self.chains.value(quantised.input[1])
        if quantised is None or scale is None or (last is not quantised and scale.size > 1):
            return None  # scales along an axis that is moved
        own = onnx.NodeProto()
        own.CopyFrom(quantised)
        own.name = own.output[0] = f"{name}.real"
        own.input[0] = name
        self._before[layer.node.output[0]] = own
        return self._stored(name, self.chains.integers(layer.weights), layer, own.output[0])

    def finish(self) -> None:
        """Put the new nodes in front of their layers."""
        if not self._before:
            return
        nodes = []
        for node in self.model.graph.node:
            own = self._before.get(node.output[0])
            nodes += [node] if own is None else [own, node]
        del self.model.graph.node[:]
        self.model.graph.node.extend(nodes)

    def _stored(self, name: str, weights: Array | None, layer: Layer, read: str) -> str | None:
        if weights is None or weights.dtype not in (np.int8, np.uint8):
            self._before.pop(layer.node.output[0], None)
            return None
        self.constants.store(name, weights)
        layer.node.input[layer.place] = read
        return name
