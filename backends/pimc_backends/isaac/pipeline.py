"""The isaac target: its passes in order, and how the last graph becomes a program."""

from __future__ import annotations

from functools import cache
from importlib import resources

from pimc.passes.base import Pass
from pimc.passes.choose_flows import ChooseFlows
from pimc.passes.fold_epitomes import FoldEpitomes
from pimc.passes.map_weights import MapWeights
from pimc.passes.place import Place
from pimc.passes.schedule_rows import ScheduleRows
from pimc.passes.slice_weights import SliceWeights
from pimc.passes.target import Target
from pimc_backends.kit.emit import emit
from pimc_isa.flow import Flow, check_flow, load_flow
from pimc_isa.machine import Machine, load_machine

__all__ = ["emit", "flow", "machine", "passes", "target"]


@cache
def machine() -> Machine:
    """ISAAC-CE, the corrected Table I design point."""
    with resources.as_file(resources.files(__package__) / "machine.toml") as path:
        return load_machine(path)


published = machine


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
    *, chips: int | None = None, replication: str = "balanced", flow: str = "isaac8", machine: Machine | None = None
) -> Target:
    """ISAAC with 8-bit inputs and weights: lossless conversions. Raises FlowError if another machine has no room.

    ``flow``: what layers have unless one is chosen for them; 'isaac16' is the paper's 16-bit point, where 8-bit numbers
    take twice the columns and twice the steps.
    """
    for each in _flows() if machine else ():
        check_flow(each, machine or published())
    return Target("isaac", machine or published(), _flows(), flow, chips, replication)


def passes() -> tuple[Pass, ...]:
    """The passes, in order: rounds need the flow, cuts the rounds, cells the row blocks, places the number of tiles."""
    return (ChooseFlows(), FoldEpitomes(), MapWeights(), SliceWeights(), Place(), ScheduleRows())
