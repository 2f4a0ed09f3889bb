"""Epitomes recognised in the chain of operators that makes a layer's weights.

Every element of the constants that a chain starts from gets a number, and the chain's own operators move the numbers as
they move the weights: which weight is which element is then known, whatever the operators are, without a pattern for
any of them (EPIM notes, 8.2). Operators that compute are taken for constants to start from, but for factors that end up
as one for each output channel, and for quantisation with one scale.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from pimc.epitomes.axes import Origin, cells_of
from pimc.epitomes.found import LEAST, Found
from pimc.epitomes.numbers import distinct
from pimc.epitomes.values import recognise

__all__ = ["WeightChains"]

Array = npt.NDArray[Any]

_MOVES = frozenset(
    {
        *("Slice", "Gather", "GatherElements", "GatherND", "Concat", "Split", "Tile", "Expand", "Reshape", "Flatten"),
        *("Transpose", "Squeeze", "Unsqueeze", "Identity", "Pad", "DepthToSpace", "SpaceToDepth"),
    }
)
"""Operators whose results are elements of their first input (of all inputs: Concat), or a fixed value (Pad)."""

_TRACED = _MOVES | {"Cast", "QuantizeLinear", "DequantizeLinear", "Mul", "Div"}

_NEAR = 2.0**-20
"""How near, relatively, products of factors must come to the weights."""

_WASTE = 1.3
"""Cells of a matrix over those used, from which on blocks are looked for in place of axes."""


@dataclass(frozen=True, eq=False)
class _Traced:
    """What a tensor's elements are: numbers of cells (-1: 0), and what those were multiplied with (None: 1)."""

    numbers: Array
    factor: Array | None = None

    @property
    def factors(self) -> Array:
        """What every element was multiplied with."""
        return np.broadcast_to(np.ones(()), self.numbers.shape) if self.factor is None else self.factor


class WeightChains:
    """Constant tensors of a model, and how they come about. Models must be valid; opset 7 and newer."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self._opsets = {o.domain: o.version for o in model.opset_import}
        self._stored = {t.name: t for t in model.graph.initializer}
        self._makers = {name: node for node in model.graph.node for name in node.output if name}
        self._values: dict[str, Array | None] = {"": None}

    def value(self, tensor: str) -> Array | None:
        """The value of a tensor that depends on constants only, by ONNX's reference implementation; else None."""
        pending = [tensor]
        while pending:
            name = pending[-1]
            node = self._makers.get(name)
            missing = [i for i in node.input if i not in self._values] if node and name not in self._values else []
            if missing:
                pending += missing
                continue
            if name not in self._values:
                self._evaluate(name, node)
            pending.pop()
        return self._values[tensor]

    def dequantiser(self, tensor: str) -> onnx.NodeProto | None:
        """The one DequantizeLinear that all of a tensor's elements come through, by moves alone; else None."""
        pending, seen, found = [tensor], {tensor}, list[onnx.NodeProto]()
        while pending:
            node = self._makers.get(pending.pop())
            if node is not None and node.op_type == "DequantizeLinear":
                found.append(node)
            elif node is not None and node.op_type in _MOVES:
                pending += [name for name in _data(node) if name not in seen]
                seen.update(_data(node))
            else:
                return None
        return found[0] if len(found) == 1 else None

    def integers(self, tensor: str) -> Array | None:
        """The integers of a tensor that is dequantised, in its order; 0 of a Pad is the zero point. None: cannot be."""
        quantised = self.dequantiser(tensor)
        traced = None if quantised is None else _Trace(self, peel=True, stop=quantised.output[0]).of(tensor)
        if traced is None or quantised is None:
            return None
        held = self.value(quantised.input[0])
        zero = self.value(quantised.input[2]) if len(quantised.input) > 2 else np.zeros((), np.int8)
        if held is None or zero is None or (zero.size > 1 and (traced.numbers < 0).any()):
            return None
        fill = held.dtype.type(zero.reshape(-1)[0])
        return np.where(traced.numbers < 0, fill, held.reshape(-1)[np.maximum(traced.numbers, 0)])

    def maker(self, tensor: str) -> onnx.NodeProto | None:
        """The node that makes a tensor; None for constants that are stored."""
        return self._makers.get(tensor)

    def is_chain(self, tensor: str) -> bool:
        """Whether operators make the tensor."""
        return tensor in self._makers and self._makers[tensor].op_type != "Constant"

    def has_moves(self, tensor: str) -> bool:
        """Whether the chain that makes a tensor moves elements, and does not only compute."""
        pending, seen = [tensor], {tensor}
        while pending:
            node = self._makers.get(pending.pop())
            if node is not None and node.op_type in _MOVES:
                return True
            pending += [name for name in _data(node) if name not in seen] if node and node.op_type in _TRACED else []
            seen.update(pending)
        return False

    def found(self, tensor: str, outputs: int = 0) -> Found | None:
        """The epitome that the chain of constant weights has; None: there is none.

        ``outputs`` is the axis of the output channels; they come first in the result, which is of `value` so turned.
        """
        weights = self.value(tensor) if self.has_moves(tensor) else None
        if weights is None or not 2 <= weights.ndim <= 5 or not weights.size:
            return None
        weights = np.moveaxis(weights, outputs, 0)
        for peel in (True, False):
            trace = _Trace(self, peel=peel)
            traced = trace.of(tensor)
            if traced is None:
                return None
            numbers = np.moveaxis(traced.numbers, outputs, 0)
            each = _each(None if traced.factor is None else np.moveaxis(traced.factor, outputs, 0), numbers)
            if each is not None:
                return _settled(weights, numbers, each, trace.origins)
        return None

    def _evaluate(self, name: str, node: onnx.NodeProto | None) -> None:
        if name in self._stored:
            self._values[name] = numpy_helper.to_array(self._stored[name])
            return
        inputs = [] if node is None else [self._values[i] for i in node.input]
        if node is None or any(v is None for i, v in zip(node.input, inputs, strict=True) if i):
            self._values |= dict.fromkeys([name] if node is None else node.output)
            return
        self._values |= dict(zip(node.output, self.applied(node, inputs) or [None] * len(node.output), strict=False))

    def applied(self, node: onnx.NodeProto, inputs: list[Any]) -> list[Any] | None:
        """Results of a node; None where the reference implementation has none."""
        given = {name: value for name, value in zip(node.input, inputs, strict=False) if name}
        try:
            return list(ReferenceEvaluator(node, opsets=self._opsets).run(None, given))
        except Exception:  # whatever operators without an implementation, and their own code, raise
            return None


def _data(node: onnx.NodeProto) -> list[str]:
    """Inputs whose elements an operator moves."""
    count = {"Concat": len(node.input), "Mul": 2}.get(node.op_type, 1)
    return list(node.input[:count])


class _Trace:
    """Numbers moved through a chain; ``peel``: factors are taken off. ``stop`` names a tensor to start from."""

    def __init__(self, chains: WeightChains, *, peel: bool, stop: str = "") -> None:
        self.chains, self.peel, self.stop = chains, peel, stop
        self.origins: list[Origin] = []
        self._done: dict[str, _Traced | None] = {}
        self._next = 0

    def of(self, tensor: str) -> _Traced | None:
        """What a tensor's elements are; None where that cannot be told."""
        pending = [tensor]
        while pending:  # not by recursion: chains may be long
            node = None if pending[-1] == self.stop else self.chains.maker(pending[-1])
            missing = [] if node is None or node.op_type not in _TRACED else _data(node)
            missing = [name for name in missing if name not in self._done] if pending[-1] not in self._done else []
            if missing:
                pending += missing
                continue
            name = pending.pop()
            if name not in self._done:
                self._done[name] = self._found(name)
        return self._done[tensor]

    def _found(self, tensor: str) -> _Traced | None:
        node = self.chains.maker(tensor)
        if node is None or tensor == self.stop:
            return self._origin(tensor)
        if node.op_type in _MOVES:
            return self._moved(node, list(node.output).index(tensor)) or self._origin(tensor)
        if node.op_type in ("Cast", "QuantizeLinear"):
            return self._rounded(node) or self._origin(tensor)
        if node.op_type in ("Mul", "Div", "DequantizeLinear") and self.peel:
            return self._multiplied(node) or self._origin(tensor)
        return self._origin(tensor)

    def _origin(self, tensor: str) -> _Traced | None:
        value = self.chains.value(tensor)
        if value is None:
            return None
        if not value.any() and tensor != self.stop:
            return _Traced(np.full(value.shape, -1, np.int32))
        if self._next + value.size > np.iinfo(np.int32).max:
            return None
        numbers = np.arange(self._next, self._next + value.size, dtype=np.int32).reshape(value.shape)
        self.origins.append(Origin(self._next, value.shape))
        self._next += value.size
        return _Traced(numbers)

    def _moved(self, node: onnx.NodeProto, output: int) -> _Traced | None:
        data = [self.of(name) for name in _data(node)]
        rest = [self.chains.value(name) for name in node.input[len(data) :]]
        if any(d is None for d in data) or not self._is_filled_with_zero(node, rest):
            return None
        made = []
        plain = all(d.factor is None for d in data if d)
        factors = [] if plain else [(1, [d.factors for d in data if d])]
        for fill, parts in ((-1, [d.numbers for d in data if d]), *factors):
            inputs, changed = [*parts, *rest], onnx.NodeProto()
            changed.CopyFrom(node)
            if node.op_type == "Pad":
                inputs = [*parts, *_filling(changed, rest, np.array(fill, parts[0].dtype))]
            results = self.chains.applied(changed, inputs)
            if results is None:
                return None
            made.append(np.asarray(results[output]))
        return _Traced(*made)

    def _is_filled_with_zero(self, node: onnx.NodeProto, rest: list[Array | None]) -> bool:
        """Whether a Pad adds zeros, or what is there."""
        if node.op_type != "Pad":
            return True
        given = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        value = rest[1] if len(rest) > 1 and rest[1] is not None else given.get("value", 0.0)
        return given.get("mode", b"constant") != b"constant" or not np.any(value)

    def _rounded(self, node: onnx.NodeProto) -> _Traced | None:
        """An operator that does the same to every element, whatever it is."""
        data = self.of(node.input[0])
        if data is None or data.factor is not None:
            return None
        parameters = [self.chains.value(name) for name in node.input[1:]]
        return data if all(p is not None and p.size == 1 for p in parameters) else None

    def _multiplied(self, node: onnx.NodeProto) -> _Traced | None:
        data, value = self.of(node.input[0]), self.chains.value(node.output[0])
        other = self.chains.value(node.input[1])
        if node.op_type == "Mul" and other is not None and value is not None and data is not None:
            swapped = other.size > data.numbers.size or (
                other.size == data.numbers.size and not self.chains.is_chain(node.input[0])
            )
            if swapped:
                data, other = self.of(node.input[1]), self.chains.value(node.input[0])
        if data is None or other is None or value is None or value.shape != data.numbers.shape:
            return None
        if node.op_type == "DequantizeLinear":
            return _dequantised(node, data, other)
        if not np.isfinite(other).all() or not other.all():
            return None
        if (other == 1).all():
            return data
        factor = data.factors * other if node.op_type == "Mul" else data.factors / other
        return _Traced(data.numbers, np.broadcast_to(factor, data.numbers.shape))


def _dequantised(node: onnx.NodeProto, data: _Traced, scale: Array) -> _Traced | None:
    """One scale does the same to all; scales along an axis are factors."""
    if scale.size == 1:
        return data if data.factor is None else None
    axis = next((helper.get_attribute_value(a) for a in node.attribute if a.name == "axis"), 1)
    if scale.ndim != 1:
        return None
    along = [1] * data.numbers.ndim
    along[axis] = -1
    return _Traced(data.numbers, data.factors * scale.astype(np.float64).reshape(along))


def _filling(node: onnx.NodeProto, rest: list[Array | None], fill: Array) -> list[Array | None]:
    """The parameters of a Pad that adds ``fill``; the node is changed accordingly."""
    if not rest:  # before opset 11 they are attributes
        kept = [a for a in node.attribute if a.name != "value"]
        del node.attribute[:]
        node.attribute.extend([*kept, helper.make_attribute("value", float(fill))])
        return []
    names = [*node.input, *[""] * (3 - len(node.input))]
    names[2] = f"{node.output[0]}.fill"
    del node.input[:]
    node.input.extend(names)
    return [rest[0], fill, *rest[2:]]


def _each(factor: Array | None, numbers: Array) -> Array | None:
    """The factor of each output channel, where it has one for all its cells."""
    if factor is None:
        return np.ones(len(numbers))
    flat, held = factor.reshape(len(factor), -1), (numbers >= 0).reshape(len(factor), -1)
    first = flat[np.arange(len(flat)), held.argmax(axis=1)]
    first = np.where(held.any(axis=1), first, 1.0)
    return first if (np.abs(flat - first[:, None]) <= _NEAR * np.abs(first)[:, None])[held].all() else None


def _settled(weights: Array, numbers: Array, factor: Array, origins: list[Origin]) -> Found | None:
    """The epitome in a matrix, if it is one: it has fewer cells than weights and stands for them."""
    numbers = numbers.reshape(*numbers.shape, *[1] * (4 - numbers.ndim))
    used = distinct(numbers)
    if not used or numbers.size < LEAST * used:
        return None
    shape, index = cells_of(numbers, origins)
    if prod(shape) > _WASTE * used or 1 in shape:
        other = recognise(numbers + 1)
        if other is not None and other.size <= prod(shape):
            shape, index = other.shape, np.where(numbers < 0, -1, other.index)
    found = Found(shape, index.reshape(weights.shape), factor)
    exact = bool((factor == 1).all())
    rebuilt = found.rebuilt(found.stored(weights if exact else weights.astype(np.float64)))
    right = rebuilt == weights if exact else np.abs(rebuilt - weights) <= _NEAR * np.abs(weights)
    return found if right.all() and found.ratio >= LEAST else None
