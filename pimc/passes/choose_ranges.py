"""Choose the converter range and gain of every layer from calibration data (range-aware conversion).

    %y: u8[28x28x128] = q.conv(%x) {..., flow = "npim8"}
    ->                                 {..., flow = "npim8", scale = [0.125, 10.6]}

Flows whose conversions are not ranged stay as they are. What is chosen, and the error measure, are in
`pimc.analysis.ranges`; every layer is looked at with the inputs an ideal chip would give it. With ranges 'wide' a code
counts one unit of the dot product and no sum can clip, which takes a flow with wide converters and no data.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

from pimc.analysis.calibrate import observe
from pimc.analysis.ranges import MODES, ConverterLimits, RangePlan, choose
from pimc.ir.graph import Graph
from pimc.ir.ops import Conv
from pimc.passes.base import Pass, PassError
from pimc.passes.choose_flows import ChooseFlows, flow_of
from pimc.passes.choose_inputs import ChooseInputs
from pimc.passes.choose_slices import ChooseSlices
from pimc.passes.target import Target
from pimc.progress import tell
from pimc_isa.flow import Flow, normal_form

__all__ = ["WIDE", "ChooseRanges", "converter_of", "needs_calibration", "plans"]

#: Ranges that neither clip nor round: nothing is ranged.
WIDE = "wide"


@dataclass(frozen=True)
class ChooseRanges(Pass):
    """Choose converter ranges and gains from calibration data."""

    name = "choose-ranges"
    from_stage = "placed"
    to_stage = "placed"
    decides = ("scale",)

    ranges: str = ""  # empty: the target's own choice
    force: str = ""  # V_MAX/GAIN for every layer, such as 0.125/8: no calibration is needed

    def apply(self, graph: Graph, target: Target) -> Graph:
        """Set the scale of every convolution with ranged conversions, and note the plan in the graph's meta."""
        mode = self.ranges or target.ranges
        if mode not in (*MODES, WIDE):
            raise PassError(f"ranges {mode!r} do not exist; choose one of {', '.join((*MODES, WIDE))}")
        converters = {op.name: converter_of(flow_of(graph, op, target), _rows(op)) for op in graph.of(Conv)}
        graph = graph.copy()
        if mode == WIDE:
            graph.meta["ranges"] = WIDE
        if not any(converters.values()):
            return graph
        found: list[RangePlan] = []
        if self.force:
            chosen = dict.fromkeys(converters, _forced(self.force))
        elif mode == WIDE:
            chosen = {name: _wide(name, converter) for name, converter in converters.items() if converter}
        else:
            found = plans(graph, target, mode)
            chosen = {plan.layer: (plan.v_max, plan.gain) for plan in found}
        for op in list(graph.of(Conv)):
            if converters[op.name] is not None:
                graph.update(replace(op, scale=chosen[op.name]))
        nodes = {op.name: op.node for op in graph.of(Conv)}
        graph.meta |= {"ranges": self.force or mode, "peripherals": target.peripherals}
        if found:
            graph.meta["range_plan"] = json.dumps([_plain(plan, nodes[plan.layer]) for plan in found])
        return graph


def needs_calibration(target: Target, passes: Sequence[Pass]) -> bool:
    """Whether these passes will ask for calibration data, also of a model that is quantised already.

    Passes that were told of a plan's flows are taken not to: where it leaves a layer out, they say so.
    """
    if any(isinstance(p, ChooseSlices) and p.inputs == "images" and not p.forced for p in passes):
        return True
    if target.signed == "best" and any(
        isinstance(p, ChooseInputs) and p.inputs == "images" and not p.forced for p in passes
    ):
        return True
    chosen = [p.flow for p in passes if isinstance(p, ChooseFlows) and p.flow]
    ranged = any(flow.ranged for flow in target.flows if not chosen or flow.name in chosen)
    asks = any(isinstance(p, ChooseRanges) and not p.force and (p.ranges or target.ranges) != WIDE for p in passes)
    return ranged and asks


def plans(graph: Graph, target: Target, mode: str) -> list[RangePlan]:
    """The plan of every convolution with ranged conversions. Raises PassError without calibration data."""
    missing = [port.name for port in graph.inputs if port.name not in graph.calibration]
    if missing:
        raise PassError(
            f"target {target.name} chooses converter ranges from data, and there is none for {', '.join(missing)}\n"
            "give typical inputs with --calibration X.npz, or choose lossless converters with --ranges wide"
        )
    found = []
    for flow, rows in sorted({(op.flow or "", _rows(op)) for op in graph.of(Conv)}):
        converter = converter_of(target.named(flow), rows)
        if converter is None:
            continue
        micro = target.named(flow)
        seen = observe(graph, graph.calibration, rows, normal_form(micro).input_slices, micro.slices)
        layers = [op for op in graph.of(Conv) if (op.flow, _rows(op)) == (flow, rows)]
        for n, op in enumerate(layers, 1):
            tell(f"layer {n} of {len(layers)}")
            found.append(choose(op.name, seen[op.name], converter, mode))
    return found


def converter_of(flow: Flow, rows: int) -> ConverterLimits | None:
    """The ranged conversion of a flow that reads row blocks of ``rows`` rows, ``None`` if it has none.

    Raises PassError for a flow that ranges parts of a dot product: one range for all of them would mean little.
    """
    form = normal_form(flow)
    ranged = [block for block in form.blocks if block.conversion and block.conversion.ranged]
    if not ranged:
        return None
    if len(form.blocks) != 1 or form.blocks[0].shift:
        raise PassError(f"flow {flow.name} has ranged conversions of parts of a dot product; convert each sum once")
    conversion = ranged[0].conversion
    assert conversion is not None
    widest = max(hi - lo for lo, hi in form.input_slices)
    return ConverterLimits(
        conversion.lo,
        conversion.hi,
        rows * ((1 << flow.input_bits) - 1) * ((1 << sum(flow.slices)) - 1),
        rows * ((1 << widest) - 1) * ((1 << max(flow.slices)) - 1),
    )


def _rows(op: Conv) -> int:
    assert op.cells is not None
    return op.cells.block_rows


def _wide(layer: str, converter: ConverterLimits) -> tuple[float, float]:
    """A code counts one: full scale of ``hi`` units. Raises PassError if a sum could clip."""
    if converter.hi < converter.theoretical:
        bits = converter.theoretical.bit_length() + 1
        raise PassError(
            f"{layer}: sums of up to {converter.theoretical} clip in converters that end at {converter.hi}\n"
            f"ranges 'wide' need a flow that converts to at least {bits} bits"
        )
    return float(converter.hi), float(converter.theoretical)  # their products are exact in float64


def _forced(text: str) -> tuple[float, float]:
    try:
        v_max, gain = (float(part) for part in text.split("/"))
    except ValueError:
        v_max = gain = 0.0
    if not (0 < v_max <= 1 and gain > 0):
        raise PassError(f"pass choose-ranges: force={text!r} is not of the form V_MAX/GAIN, such as 0.125/8")
    return v_max, gain


def _plain(plan: RangePlan, node: str) -> dict[str, object]:
    """A plan for the program's meta, under the layer's ONNX node: short numbers, infinite ratios as null."""
    short = {
        "layer": node or plan.layer,
        "clipped": float(f"{plan.clipped:.4g}"),
        "sqnr_db": round(plan.sqnr_db, 2) if math.isfinite(plan.sqnr_db) else None,
        "error_lsb": float(f"{plan.error_lsb:.4g}"),
    }
    return asdict(plan) | short
