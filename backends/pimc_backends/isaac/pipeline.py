"""The isaac target: its passes in order, and how the last graph becomes a program."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from importlib import resources
from typing import Any

from pimc.analysis.dataflow import Dataflow, on_machine
from pimc.passes.base import Pass
from pimc.passes.choose_flows import ChooseFlows
from pimc.passes.fold_epitomes import FoldEpitomes
from pimc.passes.map_weights import MapWeights
from pimc.passes.place import Place
from pimc.passes.schedule_rows import ScheduleRows
from pimc.passes.slice_weights import SliceWeights
from pimc.passes.target import Target, TargetError
from pimc_backends.kit.emit import emit
from pimc_backends.kit.target import encoding_of, narrow_flows, scheduled_flow
from pimc_isa.flow import Flow, check_flow, load_flow
from pimc_isa.machine import Machine, load_machine

__all__ = ["emit", "flow", "machine", "passes", "target"]


@cache
def machine() -> Machine:
    """ISAAC-CE, the corrected Table I design point."""
    with resources.as_file(resources.files(__package__) / "machine.toml") as path:
        return load_machine(path)


published = machine

#: Positive and negative weights in columns of their own.
SIDES, SIDES_FLOW = Dataflow("A", cell_bits=2, converter_bits=8, encoding="sides"), "isaac8s"


@cache
def _flows() -> tuple[Flow, ...]:
    with resources.as_file(resources.files(__package__) / "flows") as folder:
        flows = tuple(load_flow(path) for path in sorted(folder.glob("*.flow")))
    for each in flows:
        check_flow(each, published())
    return flows


def flow(name: str = "isaac8") -> Flow:
    """A shipped flow: ``isaac8`` (8-bit inputs and weights) or ``isaac16`` (the paper's 16-bit point)."""
    return next(f for f in _flows() if f.name == name)


def target(
    *,
    chips: int | None = None,
    replication: str = "balanced",
    flow: str = "isaac8",
    encoder: str = "flipped",
    machine: Machine | None = None,
) -> Target:
    """ISAAC with 8-bit inputs and weights: lossless conversions. Raises FlowError if another machine has no room.

    ``flow``: what layers have unless one is chosen for them; 'isaac16' is the paper's 16-bit point, where 8-bit numbers
    take twice the columns and twice the steps. ``encoder='differential'``: W+ and W- columns, each converted, instead
    of flipped ones (flow 'isaac8s', not the paper's): weights of b bits take pairs for b - 1, as EPIM has them.
    """
    chip = machine or published()
    for each in _flows() if machine else ():
        check_flow(each, chip)
    options: dict[str, Any] = {"chips": chips, "replication": replication}
    if encoding_of(encoder, "sides") == "flipped":
        return Target("isaac", chip, _flows(), flow, narrow=_narrow if flow == "isaac8" else None, **options)
    if flow != "isaac8":
        raise TargetError(f"encoder 'differential' has a flow of its own: leave out flow={flow}")
    sides = on_machine(SIDES, chip)
    flows = (scheduled_flow(SIDES_FLOW, sides, chip),)
    return Target("isaac", chip, flows, SIDES_FLOW, narrow=narrow_flows(SIDES_FLOW, sides, chip), **options)


@cache
def _narrow(bits: int) -> Flow | None:
    """The 8-bit flow for weights of fewer bits: the same steps for fewer cells of 2 bits."""
    usual = flow()
    slices = tuple(min(2, bits - at) for at in range(0, bits, 2))
    return replace(usual, name=f"{usual.name}-w{bits}", slices=slices) if len(slices) < len(usual.slices) else None


def passes() -> tuple[Pass, ...]:
    """The passes, in order: rounds need the flow, cuts the rounds, cells the row blocks, places the number of tiles."""
    return (ChooseFlows(), FoldEpitomes(), MapWeights(), SliceWeights(), Place(), ScheduleRows())
