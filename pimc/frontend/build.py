"""From a quantised ONNX model to the graph: every quantised operator through its rule, the rest on the host."""

from __future__ import annotations

import json
from dataclasses import dataclass, field

import onnx

from pimc.frontend.errors import FrontendError, NotOnChipError
from pimc.frontend.host import HostBuilder, ports
from pimc.frontend.host_cost import count_operations
from pimc.frontend.lowering import Lowering, cuts_range
from pimc.frontend.match import Refused, match
from pimc.frontend.ref import Ref
from pimc.frontend.relabels import relabelled
from pimc.frontend.rules import RULES, TABLE
from pimc.frontend.session import ort_config
from pimc.frontend.source import QUANTISE, Source
from pimc.frontend.tail import make_tail
from pimc.frontend.unit import Unit
from pimc.ir.fields import constants_of
from pimc.ir.graph import Graph
from pimc_isa.operands import View

__all__ = ["HEAD", "Built", "Taken", "build", "refusals"]


#: Operators of models whose ranges are found at run time.
_DYNAMIC = frozenset({"DynamicQuantizeLinear", "ConvInteger", "MatMulInteger", "DynamicQuantizeMatMul"})

HEAD = "part of the model's head"


@dataclass(frozen=True)
class Taken:
    """A node on the chip: the operator it belongs to, the value of its result, and where: chip, table or relabel."""

    unit: Unit
    value: str
    where: str


@dataclass
class Built:
    """The graph and, by node number, what became of every node.

    ``host`` are quantised nodes that the host runs, and why; ``from_chip`` the tensors that the host makes from results
    of the chip; ``blocking`` the nodes with weights that need such a tensor, which is what a model cannot have.
    """

    graph: Graph
    source: Source
    taken: dict[int, Taken] = field(default_factory=dict)
    host: dict[int, NotOnChipError] = field(default_factory=dict)
    from_chip: set[str] = field(default_factory=set)
    blocking: list[int] = field(default_factory=list)


def build(model: onnx.ModelProto) -> Built:
    """Lower all that rules can take.

    A quantised operator that no rule takes runs on the host if nothing with weights depends on it; `refusals` names
    those that do not.
    """
    source = Source(model)
    qdq = _is_qdq(source)
    config = ort_config(signed=_is_signed(source, qdq=qdq))
    graph = Graph(model.graph.name or "model", "quantised", inputs=ports(source))
    graph.meta |= {"format": "qdq" if qdq else "qoperator", "ort_config": json.dumps(config)}
    lw = Lowering(source, graph, HostBuilder(source, config))
    built = Built(graph, source)
    _lower_all(lw, built)
    if not built.blocking and not _is_all_host(graph):
        graph.outputs = make_tail(lw)
        _prune(graph)
    count_operations(graph)
    if lw.inexact:
        graph.meta["inexact"] = json.dumps(lw.inexact, sort_keys=True)
    return built


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


def _lower_all(lw: Lowering, built: Built) -> None:
    source = built.source
    found = dict(match(source))
    from_chip = built.from_chip
    for number, node in enumerate(source.nodes):
        part = found.get(number)
        reads_chip = any(name in lw.refs or name in from_chip for name in node.input)
        if part is not None:
            try:
                _lower(lw, built, part)
                continue
            except NotOnChipError as error:
                error.node = error.node or part.node
                for covered in part.nodes if isinstance(part, Unit) else (number,):
                    built.host.setdefault(covered, error)
                reads = _reads(part)
                reads_chip = any(name in lw.refs or name in from_chip for name in reads)
                if isinstance(part, Unit) and error.blocked and RULES.get(part.op, TABLE).weighted:
                    built.blocking.append(number)
        if reads_chip:
            from_chip.update(node.output)


def _reads(part: Unit | Refused) -> list[str]:
    return [o.tensor for o in part.inputs if o] if isinstance(part, Unit) else list(part.reads)


def _lower(lw: Lowering, built: Built, part: Unit | Refused) -> None:
    if isinstance(part, Refused):
        raise NotOnChipError(part.reason, part.node)
    if not part.activations:
        raise NotOnChipError("it depends on no input")
    for operand in part.activations:
        if operand.tensor in built.from_chip:
            raise NotOnChipError(f"reads {operand.tensor}, which the host makes", blocked=True)
    rule = RULES.get(part.op, TABLE)
    if rule.where == "relabel" and part.activations[0].tensor not in lw.refs:
        raise NotOnChipError(HEAD)
    ref = rule.lower(lw, part)
    for node in part.after:
        ref = relabelled(node, ref, lw.integers)
    lw.refs[part.output.tensor] = ref
    if not ref.is_padded:
        lw.graph.add_view(ref.value, View(part.output.tensor, ref.order, ref.dims, ref.offset))
    reason = part.inexact or _cut_range(lw, part, ref)
    if reason:
        lw.inexact[part.output.tensor] = reason
    is_table = lw.graph[ref.value].is_table and rule.where != "relabel"
    for covered in part.nodes:
        built.taken[covered] = Taken(part, ref.value, "table" if is_table else rule.where)


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


def refusals(built: Built) -> FrontendError | None:
    """The error for a model that cannot be compiled, naming every node in the way; None for one that can."""
    if built.blocking:
        return FrontendError(_list_nodes(built))
    if _is_all_host(built.graph):
        return FrontendError(f"No operator of the model has a place on the chip.\n{_why_none(built)}")
    return None


def _is_all_host(graph: Graph) -> bool:
    return all(op.is_host for op in graph.ops())


def _why_none(built: Built) -> str:
    dynamic = [n for n in built.source.nodes if n.op_type in _DYNAMIC]
    if dynamic:
        return (
            f"{dynamic[0].name or dynamic[0].output[0]} ({dynamic[0].op_type}): it is quantised anew for each image. "
            "Give the float model, or quantise it statically."
        )
    return _list_nodes(built) if built.host else "It has no quantised operator with constant 8-bit weights."


def _list_nodes(built: Built) -> str:
    lines: dict[str, None] = {}
    for _, error in sorted(built.host.items()):
        if error.blocked or error.reason == HEAD:
            continue
        node = error.node
        assert node is not None
        lines[f"  {node.name or node.output[0]} ({node.op_type}): {error.reason}"] = None
    head = "These nodes stand between layers and have no unit on the chip:"
    return "\n".join([head, *lines])
