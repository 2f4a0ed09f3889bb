"""Choose the analog micro-program (flow) that reads each convolution's crossbars.

    %y: u8[28x28x128] = q.conv(%x) {...}
    ->                                 {..., flow = "isaac8"}

What a layer may have is the target's offer, a function of the layer's facts and the target's options; the first of the
offered is taken. All that follows asks the op: cuts want the flow's columns and interval, cells its slices, ranges its
conversions, and layers of one network may differ in all of them. A plan file can force any that is offered.

A target's flows are made by the modulo scheduler (`pimc.analysis.modulo`) from its dataflow, its precisions and its
machine when the target is made, or are published texts (ISAAC's). Their structural hazards and intervals are checked
against the machine then, and again when the program is loaded.

Weights of few bits have flows of their own, with fewer slices (EPIM: b bits in ceil((b - 1) / cell bits) pairs of
columns). A layer has them where its model was quantised so (``bits``); ``weight_bits=fit`` gives every layer the bits
that its codes fit, so that an 8-bit model whose codes are narrow needs no more than they do.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from pimc.analysis.facts import facts_of
from pimc.epitomes.codes import MOST, least_bits
from pimc.ir.graph import Graph
from pimc.ir.ops import Conv
from pimc.passes.base import Pass, PassError
from pimc.passes.target import Target, few
from pimc_isa.flow import Flow

__all__ = ["ChooseFlows", "flow_of"]

GIVEN, FIT = "given", "fit"


@dataclass(frozen=True)
class ChooseFlows(Pass):
    """Choose the analog flow of every convolution."""

    name = "choose-flows"
    from_stage = "quantised"
    to_stage = "flowed"
    decides = ("flow",)

    flow: str = ""  # empty: the flow that the target offers each layer first
    weight_bits: str = GIVEN  # or "fit": of every layer as many as its codes need

    def apply(self, graph: Graph, target: Target) -> Graph:
        """Name the flow on every convolution. Raises PassError for a target without flows for narrow weights."""
        if self.weight_bits not in (GIVEN, FIT):
            raise PassError(f"{self.name} has no weight_bits={self.weight_bits!r}\nuse {GIVEN} or {FIT}")
        graph = graph.copy()
        for op in list(graph.of(Conv)):
            if self.weight_bits == FIT:
                op = _fitted(graph, op)
                graph.update(op)
            _refuse_narrow(op, target)
            offered = _offered(graph, op, target)
            graph.update(replace(op, flow=_judged(op, self.flow or offered[0], offered, target)))
        return graph


def flow_of(graph: Graph, op: Conv, target: Target) -> Flow:
    """The flow that a convolution has.

    Raises PassError for one not offered to it, or one that reads other cells or other crossbars than it was made for.
    """
    flow = target.named(_judged(op, op.flow or "", _offered(graph, op, target), target))
    if op.cells is not None and op.cells.slices != flow.slices:
        raise PassError(f"{op.name} is stored in the slices {op.cells.slices}, flow {flow.name} reads {flow.slices}")
    if op.cells is not None and op.cells.bipolar != flow.bipolar:
        raise PassError(f"{op.name} is not stored in the columns (single ones or pairs) that flow {flow.name} reads")
    array = target.machine.array
    if op.rounds is not None and (op.rounds.height, op.rounds.across) != (array.rows, array.columns // flow.columns):
        raise PassError(
            f"the rounds of {op.name} are for crossbars of {op.rounds.height} rows and {op.rounds.across} outputs; "
            f"with flow {flow.name} they have {array.rows} and {array.columns // flow.columns}\n"
            "choose flows before fold-epitomes, and fold for this machine"
        )
    return flow


def _fitted(graph: Graph, op: Conv) -> Conv:
    """The op with as many bits as its weights, and those of its epitome, need; as it is where that is more than 8."""
    held = (graph.constants[name] for name in (op.weights, op.epitome) if name is not None)
    bits = max(map(least_bits, held))
    return replace(op, bits=bits) if bits <= MOST else op


def _refuse_narrow(op: Conv, target: Target) -> None:
    if op.bits is not None and op.bits < MOST and target.narrow is None:
        raise PassError(
            f"target {target.name} has no flows for weights of {op.bits} bits, as layer {op.name} has them\n"
            "leave the widths of weights out (8 bits), or choose a target with such flows: isaac is one"
        )


def _offered(graph: Graph, op: Conv, target: Target) -> tuple[str, ...]:
    return target.offers(facts_of(graph, replace(op, flow=None, rounds=None)))


def _judged(op: Conv, name: str, offered: tuple[str, ...], target: Target) -> str:
    if name not in offered:
        kind = "offers it" if name in target.flow else "has"
        known = few(offered if name in target.flow else target.flow)
        raise PassError(f"layer {op.name} cannot have flow {name!r}: target {target.name} {kind} {known}")
    return name
