"""Structural hazards of flows: limits of the machine, latches overwritten too early, resources used twice at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

from pimc_isa.errors import FlowError
from pimc_isa.microops import OPS, MicroOp, arguments

if TYPE_CHECKING:
    from pimc_isa.flow import Flow
    from pimc_isa.machine import Machine

__all__ = ["check_latches", "check_limits", "check_resources", "fail", "latest"]

_ACCUMULATING = ("sums", "input sums")


def fail(flow: Flow, op: MicroOp, problem: str, remedy: str) -> NoReturn:
    """Raise FlowError: which micro-op at which step, what is wrong, the remedy."""
    raise FlowError(f"flow {flow.name}, {op.text()}: {problem}\n{remedy}")


def latest(flow: Flow, op: MicroOp, latch: str) -> MicroOp:
    """The micro-op whose value ``op`` finds in a latch: the latest that writes it in an earlier step."""
    makers = [o for o in flow.ops if OPS[o.op].makes in latch.split("|") and o.step < op.step]
    if not makers:
        fail(flow, op, f"nothing has filled the {latch.replace('|', ' or ')} yet", "start it in a later step")
    return max(makers, key=lambda o: o.step)


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
    for op in flow.ops:
        args = arguments(op, f"flow {flow.name}: ")
        if op.op == "drive" and not 0 < int(args[1]) - int(args[0]) <= array.dac_bits:
            fail(flow, op, "the slice does not fit the DACs", f"drive 1 to {array.dac_bits} bits at a time")
        if op.op == "convert" and int(args[1]) > array.converter_bits:
            fail(flow, op, "the converters are narrower", f"convert to at most {array.converter_bits} bits")
        if op.op == "sum-inputs" and not array.unit_columns:
            fail(flow, op, "the arrays have no unit column", "drop it and use weights with centre 0")


def check_latches(flow: Flow, op: MicroOp) -> None:
    """What ``op`` takes must still be there: no other position's writes may come between the write and the use."""
    latch = OPS[op.op].takes
    if not latch:
        return
    maker = latest(flow, op, latch)
    makes = OPS[maker.op].makes
    writes = [o.step for o in flow.ops if OPS[o.op].makes == makes]
    since = min(writes) if makes in _ACCUMULATING else maker.step
    if makes in _ACCUMULATING and max(writes) >= op.step:
        fail(flow, op, f"the {makes} are complete only after step {max(writes)}", "start it in a later step")
    for write in writes:
        again = since + 1 + (write - since - 1) % flow.interval
        again += flow.interval if again in writes else 0
        if again < op.step:
            problem = f"another position overwrites the {makes} in step {again}"
            fail(flow, op, problem, "use it earlier or lengthen the interval")


def check_resources(flow: Flow, machine: Machine) -> None:
    """No resource may be used beyond its capacity in any step, with a position starting every interval."""
    used: dict[tuple[str, int], list[MicroOp]] = {}
    for op in flow.ops:
        for step in range(op.step, op.step + OPS[op.op].steps):
            used.setdefault((OPS[op.op].resource, step % flow.interval), []).append(op)
    array = machine.array
    sums_inputs = any(op.op == "sum-inputs" for op in flow.ops)
    columns = array.columns + (array.unit_columns if sums_inputs else 0)
    capacity = array.conversions_per_step * flow.step_cycles / array.step_cycles
    for (resource, _), ops in used.items():
        if resource == "converter" and len(ops) * columns > capacity:
            problem = f"{len(ops) * columns} conversions per array in one step, the converters do {capacity:g}"
            fail(flow, ops[-1], problem, "spread the conversions or lengthen the interval")
        if resource != "converter" and len(ops) > 1:
            problem = f"the {resource} is taken by '{ops[0].text()}' (steps are equal modulo {flow.interval})"
            fail(flow, ops[1], problem, "move one of them or lengthen the interval")
