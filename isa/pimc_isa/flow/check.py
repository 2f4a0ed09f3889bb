"""Whether a machine can run a flow at its interval."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pimc_isa.errors import FlowError
from pimc_isa.flow.flow import Flow
from pimc_isa.flow.forms import NormalForm
from pimc_isa.flow.hazards import check_latches, check_limits, check_resources
from pimc_isa.flow.reduce import normal_form

if TYPE_CHECKING:
    from pimc_isa.machine import Machine

__all__ = ["check_flow"]


def check_flow(flow: Flow, machine: Machine) -> NormalForm:
    """Refuse a flow that this machine cannot run at its interval; otherwise return its normal form.

    Checked: arguments and limits, order of data, no latch overwritten before its use by the same or another position,
    no resource used beyond its capacity in any step (modulo the interval), stated latency. Raises FlowError.
    """
    if min(flow.interval, flow.latency, flow.step_cycles) < 1:
        raise FlowError(f"flow {flow.name}: step, interval and latency must be at least 1")
    if not any(op.op == "store" for op in flow.ops):
        raise FlowError(f"flow {flow.name}: the sums are never stored\nend with a store")
    form = normal_form(flow)
    check_limits(flow, machine)
    check_resources(flow, machine)
    for op in flow.ops:
        check_latches(flow, op, machine)
    ends = max(op.end for op in flow.ops)
    if ends != flow.latency:
        raise FlowError(f"flow {flow.name}: the last micro-op ends after {ends} steps\nwrite latency={ends}")
    return form
