"""Recognises quantised operators in both ONNX formats and gives each as a `Unit`."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import onnx

from pimc.frontend.errors import NotOnChipError
from pimc.frontend.moving import MOVING, fill_of, is_filled, is_movement
from pimc.frontend.relabels import RELABELS
from pimc.frontend.rules import ELEMENTWISE, RULES
from pimc.frontend.source import DEQUANTISE, QUANTISE, Array, Source, attributes, input_at
from pimc.frontend.unit import Operand, Unit

__all__ = ["Refused", "match"]

_LIMITS = ("Relu", "Clip")


@dataclass(frozen=True)
class Refused:
    """A quantised tensor that no rule makes: the node to blame and why."""

    node: onnx.NodeProto
    tensor: str
    reads: tuple[str, ...]
    reason: str


def match(source: Source) -> Iterator[tuple[int, Unit | Refused]]:
    """Yield the quantised operators in order with the number of the node that makes their result.

    Everything that is not yielded computes in floating point (or on other types) and belongs to the host.
    """
    eight_bit = {v.name for v in source.inputs if v.type.tensor_type.elem_type in (2, 3)}
    for number, node in enumerate(source.nodes):
        found = _match_node(source, number, node, eight_bit)
        if found is not None:
            yield number, found
        if found is not None or node.op_type == QUANTISE:  # one that is not yielded makes 8 bits of the model's inputs
            eight_bit.add(node.output[0])


def _match_node(source: Source, number: int, node: onnx.NodeProto, eight_bit: set[str]) -> Unit | Refused | None:
    rule = RULES.get(node.op_type)
    try:
        if node.op_type == QUANTISE:
            return _behind_quantise(source, number, node)
        if rule and rule.form:
            return _qoperator(source, number, node, rule.form)
    except NotOnChipError as error:
        return Refused(error.node or node, node.output[0], tuple(node.input), error.reason)
    if node.op_type == DEQUANTISE or not any(name in eight_bit for name in node.input):
        return None
    if node.op_type in ("Shape", "Size"):
        return None
    if rule and rule.integers:
        operands = tuple(Operand(name, value=source.constant(name)) if name else None for name in node.input)
        if node.op_type not in ("Concat",):
            operands = operands[:1]
        return Unit(node.op_type, node, (number,), operands, Operand(node.output[0]), attributes(node))
    return Refused(node, node.output[0], tuple(node.input), f"no unit for {node.op_type} on 8-bit tensors")


def _qoperator(source: Source, number: int, node: onnx.NodeProto, form: str) -> Unit | None:
    names = form.split()
    values = dict(zip(names, node.input, strict=False))
    if not values.get("y.s"):
        return None  # QGemm without an output scale gives floats
    letters = [name for name in names if "." not in name and name != "*"]
    operands = [_operand(source, *(values.get(f"{k}{end}", "") for end in ("", ".s", ".z"))) for k in letters]
    if "*" in names:
        rest = list(node.input)[names.index("*") :]
        operands = [_operand(source, *rest[n : n + 3]) for n in range(0, len(rest), 3)]
    like = operands[0].zero if operands[0] is not None else None
    output = Operand(node.output[0], _fixed(source, values["y.s"]), _zero(source, values.get("y.z", ""), like))
    return Unit(node.op_type, node, (number,), tuple(operands), output, attributes(node))


def _zero(source: Source, name: str, like: Array | None) -> Array | None:
    """A zero point; left out it is 0 of the operand's type."""
    return _fixed(source, name) if name else np.zeros((), np.uint8 if like is None else like.dtype)


def _fixed(source: Source, name: str) -> Array:
    """A scale or zero point, which must be constant."""
    value = source.constant(name)
    if value is None:
        raise NotOnChipError(f"its scale or zero point {name!r} is computed at run time")
    return value


def _operand(source: Source, tensor: str, scale: str = "", zero: str = "") -> Operand | None:
    if not tensor:
        return None
    value = source.constant(tensor)
    if not scale:
        return Operand(tensor, value=value)
    return Operand(tensor, _fixed(source, scale), _zero(source, zero, value), value)


def _behind_quantise(source: Source, number: int, node: onnx.NodeProto) -> Unit | None:
    """The operator whose result a QuantizeLinear rounds; None where floats come from the model's inputs alone."""
    scale, zero = source.parameters(node)
    if source.constant(node.output[0]) is not None or scale is None or zero is None:
        return None
    region = _region(source, node.input[0])
    if not region.activations:
        return None
    output = Operand(node.output[0], scale, zero)
    unit = _limited(source, Unit(QUANTISE, node, (number,), (), output), node.input[0])
    if unit is not None and not _is_table(unit):
        return unit
    _check_table(source, region)
    main = source.nodes[region.nodes[-1]]
    operands = tuple(Operand(name, value=None) for name in sorted(region.activations))
    covered = tuple(sorted({*region.nodes, *region.dequantisers, number}))
    operand = _dequantised(source, region.inputs[0])
    assert operand is not None
    return Unit("Table", main, covered, (operand, *operands[1:]), output, attributes(main))


def _is_table(unit: Unit) -> bool:
    """Whether a unit is an element-wise chain rather than an operator of the chip."""
    rule = RULES.get(unit.op)
    return unit.op != QUANTISE and (rule is None or rule.where == "table")


@dataclass(frozen=True)
class _Region:
    """Floating-point nodes between dequantised tensors and one tensor."""

    nodes: tuple[int, ...]
    inputs: tuple[str, ...]  # results of DequantizeLinear nodes on activations
    activations: frozenset[str]
    dequantisers: tuple[int, ...]
    floats: frozenset[str]  # model inputs


def _region(source: Source, tensor: str) -> _Region:
    nodes, inputs, activations, dequantisers, floats = set(), [], set(), set(), set()
    pending, seen = [tensor], {tensor}
    while pending:
        name = pending.pop()
        number = source.producer.get(name)
        if number is None or source.constant(name) is not None:
            if number is None and name not in source.initialisers:
                floats.add(name)
            continue
        node = source.nodes[number]
        if node.op_type == DEQUANTISE:
            dequantisers.add(number)
            if source.constant(node.input[0]) is None:
                inputs.append(name)
                activations.add(node.input[0])
            continue
        nodes.add(number)
        fresh = [i for i in node.input if i and i not in seen]
        seen.update(fresh)
        pending.extend(fresh)
    order = tuple(sorted(nodes))
    return _Region(order, tuple(inputs), frozenset(activations), tuple(sorted(dequantisers)), frozenset(floats))


def _limited(source: Source, unit: Unit, tensor: str) -> Unit | None:
    """Follow ``tensor`` back over Relu and Clip to an operator whose inputs are all dequantised or constant."""
    behind = _dequantised(source, tensor)
    if behind is not None and not behind.is_constant:
        number = source.producer[tensor]
        return replace(unit, nodes=(number, *unit.nodes), inputs=(behind,), attributes={})
    while True:
        number = source.producer.get(tensor, -1)
        if number < 0:
            return None
        node = source.nodes[number]
        reason = unit.inexact or ("" if source.private(tensor) else "its result is also used before quantisation")
        unit = replace(unit, nodes=(number, *unit.nodes), inexact=reason)
        if _dequantised(source, node.input[0]) is not None:
            break
        if _fill_is_cut(source, node, unit):
            return None
        if node.op_type in RELABELS or (is_movement(node) and node.op_type != "Concat"):
            unit, tensor = replace(unit, after=(node, *unit.after)), node.input[0]
            continue
        if node.op_type not in _LIMITS:
            break
        limits = _clip_limits(source, node)
        if limits is None:
            return None
        unit = replace(unit, lo=max(unit.lo, limits[0]), hi=min(unit.hi, limits[1]))
        tensor = node.input[0]
    rule = RULES.get(node.op_type)
    if rule is None or rule.form or _fill_is_cut(source, node, unit):
        return None
    return _with_operands(source, unit, node)


def _fill_is_cut(source: Source, node: onnx.NodeProto, unit: Unit) -> bool:
    """Whether a Pad adds what a Relu or Clip behind it changes: its own value is then not that of the result."""
    if not is_filled(node):
        return False
    fill = fill_of(source, node) or 0.0
    return not unit.lo <= fill <= unit.hi


def _clip_limits(source: Source, node: onnx.NodeProto) -> tuple[float, float] | None:
    if node.op_type == "Relu":
        return 0.0, math.inf
    given = attributes(node)
    found = [given.get("min", -math.inf), given.get("max", math.inf)]
    for n in (1, 2):
        name = input_at(node, n)
        if not name:
            continue
        value = source.constant(name)
        if value is None:
            operand = _dequantised(source, name)
            value = None if operand is None else _real(operand)
        if value is None:
            return None
        found[n - 1] = float(value.reshape(-1)[0])
    return found[0], found[1]


def _real(operand: Operand) -> Array | None:
    if operand.value is None or operand.scale is None or operand.zero is None:
        return None
    return np.asarray((operand.value.astype(np.int32) - operand.zero.astype(np.int32)) * operand.scale)


#: Inputs that are operands; others (a target shape, axes) are parameters of the operator.
_OPERANDS = {"ReduceMean": 1, "Clip": 1, "Dropout": 1, **dict.fromkeys(MOVING - {"Concat"}, 1)}


def _with_operands(source: Source, unit: Unit, node: onnx.NodeProto) -> Unit | None:
    operands: list[Operand | None] = []
    numbers = set(unit.nodes)
    for name in list(node.input)[: _OPERANDS.get(node.op_type, len(node.input))]:
        if not name:
            operands.append(None)
            continue
        operand, covered = _behind_relabels(source, name)
        if operand is None:
            value = source.constant(name)
            if value is None:
                return None
            operand = Operand(name, value=value)
        numbers.update(covered)
        operands.append(operand)
    found = replace(unit, op=node.op_type, node=node, attributes=attributes(node))
    return replace(found, nodes=tuple(sorted(numbers)), inputs=tuple(operands))


def _behind_relabels(source: Source, tensor: str) -> tuple[Operand | None, list[int]]:
    """The operand behind a DequantizeLinear and relabelling float nodes, and the numbers of all these nodes."""
    through: list[onnx.NodeProto] = []
    covered = [source.producer[tensor]] if tensor in source.producer else []
    while True:
        operand = _dequantised(source, tensor)
        if operand is not None:
            known = bool(through) and operand.is_constant
            return (None, []) if known else (replace(operand, through=tuple(through)), covered)
        node = source.maker(tensor)
        if node is None or node.op_type in ("Pad", "Concat") or not (node.op_type in RELABELS or is_movement(node)):
            return None, []
        through.insert(0, node)
        tensor = node.input[0]
        covered.extend([source.producer[tensor]] if tensor in source.producer else [])


def _dequantised(source: Source, tensor: str) -> Operand | None:
    """The 8-bit tensor behind a DequantizeLinear, with its scale."""
    node = source.maker(tensor)
    if node is None or node.op_type != DEQUANTISE:
        return None
    scale, zero = source.parameters(node)
    if scale is None or zero is None:
        raise NotOnChipError("its scale or zero point is computed at run time", node)
    axis = int(attributes(node).get("axis", 1))
    return Operand(node.input[0], scale, zero, source.constant(node.input[0]), axis)


def _check_table(source: Source, region: _Region) -> None:
    """Raise NotOnChipError, blaming the node, unless the region is element-wise with one 8-bit input."""
    for number in region.nodes:
        node = source.nodes[number]
        if node.op_type not in ELEMENTWISE:
            rule = RULES.get(node.op_type)
            missing = "its operands or its result are not quantised" if rule else f"no unit for {node.op_type}"
            raise NotOnChipError(missing, node)
    if region.floats:
        raise NotOnChipError("it mixes 8-bit and floating-point inputs", source.nodes[region.nodes[-1]])
    if len(region.activations) > 1:
        raise NotOnChipError("a float operator of several 8-bit inputs", source.nodes[region.nodes[-1]])
