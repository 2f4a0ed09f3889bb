"""From a quantised ONNX model to the graph: every quantised operator through its rule, the rest on the host."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

import onnx

from pimc.frontend.epitomes.structure import Structure, note_epitomes
from pimc.frontend.errors import NotOnChipError
from pimc.frontend.host import HostBuilder, ports
from pimc.frontend.host_cost import count_operations
from pimc.frontend.lower.move import oversize
from pimc.frontend.lower.relabel import padded
from pimc.frontend.lowering import Lowering, cuts_range
from pimc.frontend.match import Refused, match
from pimc.frontend.ref import Ref
from pimc.frontend.rules import RULES, TABLE
from pimc.frontend.session import ort_config
from pimc.frontend.source import QUANTISE, Source
from pimc.frontend.tail import make_tail
from pimc.frontend.unit import Unit
from pimc.ir.fields import constants_of
from pimc.ir.graph import Graph
from pimc.ir.ops import Move, Pick
from pimc_isa.operands import View

__all__ = ["HEAD", "Built", "Taken", "build", "quantised_on_host"]


HEAD = "part of the model's head"


@dataclass(frozen=True)
class Taken:
    """A node on the chip: its operator, the value of its result, and where: chip, table, relabel or move."""

    unit: Unit
    value: str
    where: str


@dataclass
class Built:
    """The graph and, by node number, what became of every node.

    ``host`` are quantised nodes that the host runs, and why; ``from_chip`` the tensors that the host makes from results
    of the chip.
    """

    graph: Graph
    source: Source
    taken: dict[int, Taken] = field(default_factory=dict)
    host: dict[int, NotOnChipError] = field(default_factory=dict)
    from_chip: set[str] = field(default_factory=set)


def build(
    model: onnx.ModelProto, found: Mapping[str, Structure] | None = None, bits: Mapping[str, int] | None = None
) -> Built:
    """Lower all that rules can take; ``found`` are epitomes of layers by the names of their 8-bit weights.

    ``bits`` of codes, where they are known to be few, go by these names, too.

    What no rule takes runs on the host: behind the last layer with weights in one call, between layers in a call of
    its own for each 8-bit tensor that a unit reads.
    """
    source = Source(model)
    refused: dict[str, str] = {}
    while True:
        built, large = _build(source, refused, found or {}, bits or {})
        if not large:
            return built
        refused |= large


def quantised_on_host(built: Built) -> set[str]:
    """Names of operators that a quantiser made 8-bit ones of and that the host runs: in float they would be better."""
    left = [node for n, node in enumerate(built.source.nodes) if n not in built.taken]
    kinds = [node for node in left if node.op_type.startswith("QLinear") or node.op_type == "QGemm"]
    return {node.name.removesuffix("_quant") for node in kinds}


def _build(
    source: Source, refused: Mapping[str, str], found: Mapping[str, Structure], bits: Mapping[str, int]
) -> tuple[Built, dict[str, str]]:
    """Build a graph in which the ``refused`` tensors are the host's, and say which movements are too large."""
    qdq = _is_qdq(source)
    config = ort_config(signed=_is_signed(source, qdq=qdq))
    graph = Graph(source.model.graph.name or "model", "quantised", inputs=ports(source))
    graph.meta |= {"format": "qdq" if qdq else "qoperator", "ort_config": json.dumps(config)}
    lw = Lowering(source, graph, HostBuilder(source, config), found, bits)
    built = Built(graph, source, from_chip=lw.from_chip)
    _lower_all(lw, built, refused)
    graph.outputs = make_tail(lw)
    _prune(graph)
    large = oversize(lw)
    if large:
        return built, large
    count_operations(graph)
    note_epitomes(graph, lw.recognised)
    if lw.inexact:
        graph.meta["inexact"] = json.dumps(lw.inexact, sort_keys=True)
    return built, {}


def _is_qdq(source: Source) -> bool:
    """Whether weights or operators stand between DequantizeLinear and QuantizeLinear."""
    return not any(RULES[n.op_type].form for n in source.nodes if n.op_type in RULES)


def _is_signed(source: Source, *, qdq: bool) -> bool:
    """Whether activations are int8; in QDQ form all of them, because onnxruntime mends single ones itself."""
    types = {v.type.tensor_type.elem_type for v in source.inputs}
    for node in source.nodes:
        if node.op_type == QUANTISE and source.constant(node.output[0]) is None:
            zero = source.parameters(node)[1]
            types |= set() if zero is None else {onnx.helper.np_dtype_to_tensor_dtype(zero.dtype)}
    return onnx.TensorProto.INT8 in types and not (qdq and onnx.TensorProto.UINT8 in types)


def _lower_all(lw: Lowering, built: Built, refused: Mapping[str, str]) -> None:
    source = built.source
    found = dict(match(source))
    needed = _read_by_weights(source, found)
    from_chip = built.from_chip
    for number, node in enumerate(source.nodes):
        part = found.get(number)
        reads_chip = any(name in lw.refs or name in from_chip for name in node.input)
        if part is not None:
            try:
                _refuse(part, refused)
                _lower(lw, built, part, islands=number in needed)
                continue
            except NotOnChipError as error:
                error.node = error.node or part.node
                for covered in part.nodes if isinstance(part, Unit) else (number,):
                    built.host.setdefault(covered, error)
                reads = _reads(part)
                reads_chip = any(name in lw.refs or name in from_chip for name in reads)
        if reads_chip:
            from_chip.update(node.output)


def _refuse(part: Unit | Refused, refused: Mapping[str, str]) -> None:
    """Raise NotOnChipError for an operator that makes a refused tensor, also in passing."""
    if not isinstance(part, Unit):
        return
    passing = [n for operand in part.inputs if operand is not None for n in operand.through]
    for node in (part.node, *part.after, *passing):
        if node.output[0] in refused:
            raise NotOnChipError(refused[node.output[0]], node)


def _read_by_weights(source: Source, found: Mapping[int, Unit | Refused]) -> set[int]:
    """Numbers of the nodes that are layers with weights or that such layers depend on."""
    wanted: set[str] = set()
    needed: set[int] = set()
    for number in range(len(source.nodes) - 1, -1, -1):
        node, part = source.nodes[number], found.get(number)
        weighted = isinstance(part, Unit) and RULES.get(part.op, TABLE).weighted
        if weighted or wanted & set(node.output):
            needed.add(number)
            wanted.update(name for name in node.input if name)
    return needed


def _reads(part: Unit | Refused) -> list[str]:
    return [o.tensor for o in part.inputs if o] if isinstance(part, Unit) else list(part.reads)


def _lower(lw: Lowering, built: Built, part: Unit | Refused, *, islands: bool) -> None:
    """Lower an operator; ``islands``: it may read what the host makes of values of the chip."""
    if isinstance(part, Refused):
        raise NotOnChipError(part.reason, part.node)
    if not part.activations:
        raise NotOnChipError("it depends on no input")
    for operand in part.activations:
        if operand.tensor in built.from_chip and operand.tensor not in lw.refs and not islands:
            raise NotOnChipError(f"reads {operand.tensor}, which the host makes", blocked=True)
    rule = RULES.get(part.op, TABLE)
    if rule.where in ("relabel", "move") and part.activations[0].tensor not in lw.refs:
        raise NotOnChipError(HEAD)
    lw.order = "HWC" if part.op in ("MatMul", "QLinearMatMul") else "CHW"
    ref = rule.lower(lw, part)
    for n, node in enumerate(part.after, 1):
        last = n == len(part.after)
        ref = padded(lw, part, node, ref, last=last) if node.op_type == "Pad" else lw.renamed(node, ref)
    lw.refs[part.output.tensor] = ref
    if not ref.is_padded:
        lw.graph.add_view(ref.value, View(part.output.tensor, ref.order, ref.dims, ref.offset))
    reason = part.inexact or _cut_range(lw, part, ref)
    if reason:
        lw.inexact[part.output.tensor] = reason
    where, op = rule.where, lw.graph[ref.value]
    if where in ("relabel", "move"):
        where = "move" if isinstance(op, Move | Pick) else "relabel"
    elif op.is_table:
        where = "table"
    for covered in part.nodes:
        built.taken[covered] = Taken(part, ref.value, where)


def _cut_range(lw: Lowering, unit: Unit, ref: Ref) -> str:
    """Why a limit is inexact."""
    op = lw.graph[ref.value]
    if cuts_range(unit, getattr(op, "lo", 0), getattr(op, "hi", 255)):
        return "a Relu or Clip cuts into the 8-bit range, so that onnxruntime computes in floating point"
    return ""


def _prune(graph: Graph) -> None:
    """Remove what nobody reads (heads and operators whose readers went to the host)."""
    for op in reversed(list(graph.ops())):
        if op.type is not None and not graph.users(op.name):
            graph.remove(op.name)
    used = {name for op in graph.ops() for name in constants_of(op)}
    for name in [n for n in graph.constants if n not in used]:
        del graph.constants[name]
