"""The modulo scheduler of analog dataflows: micro-ops placed on resources so that positions follow each other closely.

The search is a pure function: the smallest interval at which greedy placement, low input bits first, gives a flow that
``check_flow`` (the loader's own check, which shares nothing with it) accepts.
"""

from __future__ import annotations

from fractions import Fraction
from math import ceil

from pimc.analysis.dataflow import Dataflow, lossless
from pimc.analysis.tasks import Task, tasks_of
from pimc_isa.errors import FlowError
from pimc_isa.flow import Flow, check_flow, normal_form
from pimc_isa.flow.hazards import check_limits
from pimc_isa.flow.microops import OPS, micro_op
from pimc_isa.machine import Machine

__all__ = ["Dataflow", "least_interval", "lossless", "schedule"]


def schedule(dataflow: Dataflow, machine: Machine, name: str, step_cycles: int | None = None) -> Flow:
    """The flow of a dataflow on a machine at the smallest legal interval. Raises FlowError if there is none."""
    tasks = tasks_of(dataflow, machine)
    cycles = step_cycles or machine.array.step_cycles
    last = sum(task.steps for task in tasks) + 1
    flow = _flow(name, dataflow, tasks, _placed(tasks, last), last, cycles)
    normal_form(flow)
    check_limits(flow, machine)
    for interval in range(_resource_bound(tasks), last + 1):
        starts = _placed(tasks, interval)
        if starts is None:
            continue
        flow = _flow(name, dataflow, tasks, starts, interval, cycles)
        try:
            check_flow(flow, machine)
        except FlowError:
            if interval == last:
                raise
            continue
        return flow
    raise FlowError(f"flow {name}: dataflow {dataflow.kind} has no legal interval up to {last} steps")


def least_interval(dataflow: Dataflow, machine: Machine) -> int:
    """Steps between positions that the busiest resource allows: no schedule can be shorter."""
    return _resource_bound(tasks_of(dataflow, machine))


def _resource_bound(tasks: tuple[Task, ...]) -> int:
    used: dict[str, Fraction] = {}
    for task in tasks:
        for resource, share in task.uses:
            used[resource] = used.get(resource, Fraction(0)) + share * task.steps
    return max(ceil(total) for total in used.values())


def _placed(tasks: tuple[Task, ...], interval: int) -> list[int] | None:
    """Start of every task, each as early as its inputs and its resources (modulo the interval) allow."""
    starts: list[int] = []
    used: dict[tuple[str, int], Fraction] = {}

    def end(n: int) -> int:
        return starts[n] + tasks[n].steps

    def free(task: Task, start: int) -> bool:
        claim: dict[tuple[str, int], Fraction] = {}
        for resource, share in task.uses:
            for step in range(start, start + task.steps):
                at = resource, step % interval
                claim[at] = claim.get(at, used.get(at, Fraction(0))) + share
        return all(share <= 1 for share in claim.values())

    for task in tasks:
        lead = 0 if task.gradual else task.steps
        ready = max([0, *(end(n) for n in task.after), *(end(n) - lead for n in task.frees)])
        start = next((s for s in range(ready, ready + interval) if free(task, s)), None)
        if start is None:
            return None
        for resource, share in task.uses:
            for step in range(start, start + task.steps):
                at = resource, step % interval
                used[at] = used.get(at, Fraction(0)) + share
        starts.append(start)
    return starts


def _flow(
    name: str, dataflow: Dataflow, tasks: tuple[Task, ...], starts: list[int] | None, interval: int, step_cycles: int
) -> Flow:
    if starts is None:
        raise FlowError(f"flow {name}: a micro-op asks more of a resource than there is, whatever the interval")
    ops = [
        micro_op(start, op, (*args, f"steps={task.steps}") if task.steps > 1 else args)
        for task, start in zip(tasks, starts, strict=True)
        for op, args in task.ops
    ]
    order = list(OPS)
    ops.sort(key=lambda o: (o.step, order.index(o.op)))
    latency = max(op.end for op in ops)
    return Flow(name, dataflow.input_bits, dataflow.slices, step_cycles, interval, latency, tuple(ops))
