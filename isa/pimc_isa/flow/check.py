"""Whether a machine can run a flow at its interval."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pimc_isa.errors import FlowError
from pimc_isa.flow.flow import Flow
from pimc_isa.flow.forms import NormalForm
from pimc_isa.flow.hazards import check_latches, check_limits, check_resources
from pimc_isa.flow.microops import Store
from pimc_isa.flow.reduce import normal_form
from pimc_isa.limits import beyond

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
    _check_sizes(flow)
    if not any(isinstance(op, Store) for op in flow.ops):
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


def _check_sizes(flow: Flow) -> None:
    """Refuse what would take too long to judge, before anything is made of it."""
    problems = [beyond("micro-ops", "the number of micro-operations", len(flow.ops))]
    if not problems[0]:
        if min((op.step for op in flow.ops), default=0) < 0:
            raise FlowError(f"flow {flow.name}: a micro-op starts before step 0")
        problems += [
            beyond("step cycles", "step_cycles", flow.step_cycles),
            beyond("steps", "interval", flow.interval),
            beyond("steps", "latency", flow.latency),
            beyond("steps", "the last step", max((op.step for op in flow.ops), default=0)),
            beyond("steps", "the sum of the micro-ops' steps", sum(op.steps for op in flow.ops)),
            *(beyond("bits", f"a number of bits in '{op.text()}'", bits) for op in flow.ops for bits in op.powers()),
        ]
    for problem in filter(None, problems):
        raise FlowError(f"flow {flow.name}: {problem}")
