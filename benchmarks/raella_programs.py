"""Programs of the artifact's networks for RAELLA's ablation, and how often they do what.

What data decide is not known: the weights are random. It is taken from the artifact's statistics of each layer: its
share of conversions, pulses on a word line, the level of a cell. All else is what the program does.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

from raella_data import Layer
from raella_shapes import graph_of, layers_of

from pimc.driver import choose
from pimc.ir.graph import Graph
from pimc.passes.base import Pass
from pimc.passes.manager import run_passes
from pimc.passes.map_weights import relayed_plan, resources
from pimc.passes.plan_file import PlanFile
from pimc.passes.target import Target
from pimc.targets import find_target
from pimc_isa.energy import program_counts
from pimc_isa.engines.cycles import simulate
from pimc_isa.program import Program

__all__ = ["CHIPS", "DECIDED", "Chip", "bounds", "compiled", "flow_of", "measure", "planned_cycles", "recorded"]

#: Actions that depend on data, besides the charge of cells, which follows from reads and levels.
DECIDED = ("adc_conversion", "shift_add", "output_register_byte", "dac_pulse", "cell_read")

_BITS = 8

#: Slicings by the number of slices that the artifact records; the pattern itself it does not.
_SLICINGS = MappingProxyType({2: "4-4", 3: "4-2-2", 8: "1-1-1-1-1-1-1-1"})

#: Bytes a cycle of a link that is never the limit.
_FREE = 1 << 16


@dataclass(frozen=True)
class Chip:
    """A design: its target, whether slices adapt to the layer, whether it speculates."""

    target: str
    adapts: bool = False
    speculates: bool = False


#: The ablation, by the names that designs have in the data.
CHIPS: Mapping[str, Chip] = MappingProxyType(
    {
        "isaac": Chip("isaac-8b"),
        "center_offset": Chip("raella"),
        "center_offset_aws": Chip("raella", adapts=True),
        "raella": Chip("raella", adapts=True, speculates=True),
    }
)


def flow_of(chip: Chip, layer: Layer) -> str:
    """The name of a layer's flow on one of RAELLA's designs."""
    slicing = _SLICINGS[layer.slices] if chip.adapts else "2-2-2-2"
    return f"raella-{slicing}" + ("" if chip.speculates else "-bits")


def programmed(network: str, design: str, **options: Any) -> tuple[Graph, Target, tuple[Pass, ...], PlanFile]:
    """A network's graph, and the target, passes and plan of a design; ``options`` are the target's."""
    chip, plan = CHIPS[design], PlanFile()
    alike = {"signed": "off"} if chip.target == "raella" else {}
    target, passes = choose(chip.target, **alike, **options)
    if chip.target == "raella":
        flows = {name: {"flow": flow_of(chip, layer)} for name, layer in layers_of(network).items()}
        plan = PlanFile(decisions={"choose-flows": flows})
    return graph_of(network), target, passes, plan


def compiled(network: str, design: str, **options: Any) -> Program:
    """The program of a network."""
    graph, target, passes, plan = programmed(network, design, **options)
    return find_target(target.name).emit(run_passes(graph, passes, target, plan=plan), target)


def bounds(program: Program, network: str) -> tuple[dict[str, dict[str, float]], dict[str, float]]:
    """Of one image: by layer the actions that data decide, as if they decided for the most; all others, summed."""
    by_layer, others = {}, Counter[str]()
    for name, actions in program_counts(program).layers.items():
        decided = DECIDED if name in layers_of(network) else ()
        others.update({action: n for action, n in actions.items() if action not in (*decided, "cell_charge")})
        if decided:
            by_layer[name] = {action: actions[action] for action in decided}
    return by_layer, dict(others)


def recorded(
    bound: Mapping[str, float], layer: Layer, chip: Chip, *, empty_cells_conduct: bool = True
) -> dict[str, float]:
    """What the recorded statistics leave of a layer's bounds.

    With speculation a program is bounded by 3 + 8 conversions and additions and by 15 + 3 + 3 + 8 pulses. Flags are
    taken as equally frequent for all three slices: only the share of conversions is recorded. Levels are those of cells
    that hold weights. Where groups share crossbars, others lie between; ``empty_cells_conduct``: these, too, while off.
    """
    codes, (most, pulses) = bound["adc_conversion"], (11, 29) if chip.speculates else (8, 8)
    flagged = (_BITS * layer.s - 3) / _BITS
    made, added = (3 + 8 * flagged, 3 + 5 * flagged) if chip.speculates else (8, 8)
    sent, level = sent_and_level(layer, chip)
    used = layer.macs * columns_of(layer, chip) * sent if layer.G > 1 else bound["cell_read"] * sent / pulses
    return {
        "adc_conversion": codes * made / most,
        "shift_add": bound["shift_add"] - codes + codes * added / most,
        "output_register_byte": bound["output_register_byte"] * added / most,
        "dac_pulse": bound["dac_pulse"] * sent / pulses,
        "cell_read": bound["cell_read"] * sent / pulses if empty_cells_conduct else used,
        "cell_charge": used * level,
    }


def columns_of(layer: Layer, chip: Chip) -> int:
    """Columns of a weight, both of a pair."""
    slices = layer.slices if chip.adapts else 4
    return slices if chip.target == "isaac-8b" else 2 * slices


def sent_and_level(layer: Layer, chip: Chip) -> tuple[float, float]:
    """Pulses on a word line for an input, and the level of a cell, on average."""
    if chip.target == "isaac-8b":
        return _BITS * layer.isaac_pulses, 3 * layer.isaac_cell
    return _BITS * (layer.pulses_spec if chip.speculates else layer.pulses_nospec), 15 * layer.cell


def measure(network: str, design: str) -> dict[str, Any]:
    """What the page needs of a program on one chip."""
    program = compiled(network, design, chips=1)
    by_layer, others = bounds(program, network)
    return {
        "tiles": program.physical_tiles,
        "interval_cycles": simulate(program, images=3).interval_cycles,
        "planned_cycles": planned_cycles(network, design),
        "bounds": by_layer,
        "others": others,
    }


def planned_cycles(network: str, design: str) -> int:
    """Cycles between images by the mapper's step model on one chip, with links that are never the limit."""
    graph, target, passes, plan = programmed(network, design, chips=1)
    wide = replace(target.machine.network, link_bytes_per_cycle=_FREE)
    target = replace(target, machine=replace(target.machine, network=wide))
    graph = run_passes(graph, passes, target, stop_after="choose-flows", plan=plan)
    return relayed_plan(graph, resources(graph, target), "balanced").interval_cycles
