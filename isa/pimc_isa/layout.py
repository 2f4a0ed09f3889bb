"""How a group's weights lie on crossbars, and what one position costs there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pimc_isa.operands import Group, Slab

if TYPE_CHECKING:
    from pimc_isa.define import Context
    from pimc_isa.program import Program

__all__ = ["group_actions", "group_arrays", "group_burst_cycles"]


def group_arrays(program: Program, group: Group) -> int:
    """Crossbars of all copies of a group."""
    raise NotImplementedError


def group_burst_cycles(program: Program, group: Group, positions: int) -> int:
    """Cycles for a burst: latency + (ceil(positions / copies) - 1) * interval."""
    flow = program.flow[group.flow]
    return flow.latency_cycles + (-(-positions // group.copies) - 1) * flow.interval_cycles


def group_actions(ctx: Context, dst: Slab, src: str, window: str, group: str) -> dict[str, float]:
    """Actions of one burst."""
    raise NotImplementedError
