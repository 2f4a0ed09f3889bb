"""Structural hazards of flows: limits of the machine, latches overwritten too early, resources used twice at a time."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING

from pimc_isa.errors import FlowError
from pimc_isa.flow.define import MicroOp
from pimc_isa.flow.latches import fail, gathered, latest

if TYPE_CHECKING:
    from pimc_isa.flow.flow import Flow
    from pimc_isa.machine import Machine

__all__ = ["check_latches", "check_limits", "check_resources"]


def check_limits(flow: Flow, machine: Machine) -> None:
    """Refuse slices, conversions and steps that the machine's parts are too small or too slow for."""
    array = machine.array
    if flow.step_cycles < array.step_cycles:
        raise FlowError(
            f"flow {flow.name}: a step of {flow.step_cycles} cycles is shorter than an array read\n"
            f"write step_cycles={array.step_cycles} or more"
        )
    if max(flow.slices) > array.cell_bits:
        raise FlowError(
            f"flow {flow.name}: weight slices of {max(flow.slices)} bits do not fit {array.cell_bits}-bit cells\n"
            f"use slices of at most {array.cell_bits} bits"
        )
    if flow.columns > array.columns:
        raise FlowError(f"flow {flow.name}: an output takes {flow.columns} columns, the arrays have {array.columns}")
    for op in flow.ops:
        for problem, remedy in op.problems(flow, machine):
            fail(flow, op, problem, remedy)


def check_latches(flow: Flow, op: MicroOp, machine: Machine) -> None:
    """What ``op`` takes must stay until it ends: no other write, of any position, may come in between."""
    for latch in op.taken(flow):
        maker = latest(flow, op, latch)
        (filled,) = set(maker.made()) & set(latch.split("|"))
        writers = [o for o in flow.ops if filled in o.made()]
        own = _parts(flow, op, maker, writers, filled)
        since = min(o.step if o.gradual else o.end for o in own)
        period = flow.interval * maker.copies(flow, machine.array)
        losses = [_first_loss(write, since, period, write in own) for write in writers]
        lost, step = min(losses, default=(op.end, 0))
        if lost < op.end:
            problem = f"another position overwrites the {filled} in step {step}"
            fail(flow, op, problem, "use it earlier or lengthen the interval")


def _parts(flow: Flow, op: MicroOp, maker: MicroOp, writers: list[MicroOp], latch: str) -> list[MicroOp]:
    """The writes that make up the value ``op`` takes: one, or all that are added to one another."""
    if maker.gathers == "all":
        last = max(writers, key=lambda o: o.end)
        if last.end > op.step:
            fail(flow, op, f"the {latch} are complete only after step {last.end - 1}", "start it in a later step")
    return gathered(flow, op, maker) or [maker]


def _first_loss(write: MicroOp, since: int, period: int, own: bool) -> tuple[int, int]:
    """When a write of another position first destroys what is there ``since`` then, and the step that write starts.

    A gradual write destroys from its start, and at once; any other when it ends.
    """
    lost = write.step if write.gradual else write.end
    times = -((lost - since) // period) if write.gradual else (since - lost) // period + 1
    if own and times == 0:
        times = 1
    return lost + times * period, write.step + times * period


def check_resources(flow: Flow, machine: Machine) -> None:
    """No resource may be used beyond its capacity in any step, with a position starting every interval."""
    used: dict[tuple[str, int], list[MicroOp]] = {}
    for op in flow.ops:
        for step in range(op.step, op.end):
            used.setdefault((op.resource, step % flow.interval), []).append(op)
    for (resource, _), ops in used.items():
        rates = [rate for op in ops if (rate := op.rate(machine.array)) is not None]
        if len(rates) < len(ops):
            if len(ops) > 1:
                problem = f"the {resource} is taken by '{ops[0].text()}' (steps are equal modulo {flow.interval})"
                fail(flow, ops[1], problem, "move one of them or lengthen the interval")
            continue
        limit = min(rates) * flow.step_cycles / machine.array.step_cycles
        needed = sum(Fraction(op.work(flow, machine), op.steps) for op in ops)
        if needed > Fraction(limit):
            noun = ops[-1].noun
            problem = f"{float(needed):g} {noun} per array in one step, the {resource}s do {limit:g}"
            fail(flow, ops[-1], problem, f"spread the {noun} or lengthen the interval")
