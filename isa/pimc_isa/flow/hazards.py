"""Structural hazards of flows: limits of the machine, latches overwritten too early, resources used twice at a time."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING, NoReturn

from pimc_isa.errors import FlowError
from pimc_isa.flow.microops import OPS, MicroOp, arguments

if TYPE_CHECKING:
    from pimc_isa.flow.flow import Flow
    from pimc_isa.machine import Array, Machine

__all__ = [
    "buffer_columns",
    "capacity",
    "check_latches",
    "check_limits",
    "check_resources",
    "fail",
    "latest",
    "outputs_of",
    "work",
]

_WHOLE = ("sums", "input sums", "buffered sums")


def fail(flow: Flow, op: MicroOp, problem: str, remedy: str) -> NoReturn:
    """Raise FlowError: which micro-op at which step, what is wrong, the remedy."""
    raise FlowError(f"flow {flow.name}, {op.text()}: {problem}\n{remedy}")


def latest(flow: Flow, op: MicroOp, latch: str) -> MicroOp:
    """The micro-op whose value ``op`` finds in a latch: the latest that was done with it when ``op`` starts.

    Of samples and what was made of samples in the same step, the latter.
    """
    names = latch.split("|")
    makers = [o for o in flow.ops if o.op in OPS and o.spec.makes in names and o.end <= op.step]
    if not makers:
        fail(flow, op, f"nothing has filled the {' or '.join(names)} yet", "start it in a later step")
    order = list(OPS)
    return max(makers, key=lambda o: (o.end, order.index(o.op)))


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
        _check_limit(flow, op, machine)


def _check_limit(flow: Flow, op: MicroOp, machine: Machine) -> None:
    array, args = machine.array, arguments(op, f"flow {flow.name}: ")
    if op.op == "drive" and not 0 < int(args[1]) - int(args[0]) <= array.dac_bits:
        fail(flow, op, "the slice does not fit the DACs", f"drive 1 to {array.dac_bits} bits at a time")
    if op.op == "convert" and int(args[1]) > array.converter_bits:
        fail(flow, op, "the converters are narrower", f"convert to at most {array.converter_bits} bits")
    if op.op == "convert" and args[-1] and int(args[-2]) - int(args[-3]) > array.summed_columns:
        fail(flow, op, "the summing amplifiers add fewer columns", f"sum at most {array.summed_columns}")
    if op.op == "sum-inputs" and not array.unit_columns:
        fail(flow, op, "the arrays have no unit column", "drop it and use weights with centre 0, or count-inputs")
    if op.op == "buffer" and int(args[1]) > array.buffer_bits:
        fail(flow, op, "the buffer cells are narrower", f"write at most {array.buffer_bits} bits")
    if op.op == "fold" and not array.folds_per_step:
        fail(flow, op, "the machine has no analog shift-and-add", "convert and accumulate the samples")


def check_latches(flow: Flow, op: MicroOp, machine: Machine) -> None:
    """What ``op`` takes must stay until it ends: no other write, of any position, may come in between."""
    if not op.spec.takes:
        return
    maker = latest(flow, op, op.spec.takes)
    makes = maker.spec.makes
    writers = [o for o in flow.ops if o.spec.makes == makes]
    own = _parts(flow, op, maker, writers)
    since = min(o.step if o.spec.gradual else o.end for o in own)
    period = flow.interval * _copies(flow, makes, machine)
    losses = [_first_loss(write, since, period, write in own) for write in writers]
    lost, step = min(losses, default=(op.end, 0))
    if lost < op.end:
        problem = f"another position overwrites the {makes} in step {step}"
        fail(flow, op, problem, "use it earlier or lengthen the interval")


def _parts(flow: Flow, op: MicroOp, maker: MicroOp, writers: list[MicroOp]) -> list[MicroOp]:
    """The writes that make up the value ``op`` takes: one, or all that are added to one another."""
    if maker.spec.makes in _WHOLE:
        last = max(writers, key=lambda o: o.end)
        if last.end > op.step:
            problem = f"the {maker.spec.makes} are complete only after step {last.end - 1}"
            fail(flow, op, problem, "start it in a later step")
        return writers
    if maker.spec.makes != "held sums":
        return [maker]
    since = max((o.step for o in flow.ops if o.op == op.op and o.step < op.step), default=-1)
    return [o for o in writers if since <= o.step and o.end <= op.step] or [maker]


def _first_loss(write: MicroOp, since: int, period: int, own: bool) -> tuple[int, int]:
    """When a write of another position first destroys what is there ``since`` then, and the step that write starts.

    A gradual write destroys from its start, and at once; any other when it ends.
    """
    lost = write.step if write.spec.gradual else write.end
    times = -((lost - since) // period) if write.spec.gradual else (since - lost) // period + 1
    if own and times == 0:
        times = 1
    return lost + times * period, write.step + times * period


def _copies(flow: Flow, latch: str, machine: Machine) -> int:
    """How many positions' values a latch holds side by side."""
    array = machine.array
    if latch == "held sums":
        return array.held_copies
    if latch == "input sums":
        return array.input_sum_copies
    if latch == "buffered sums":
        return max(1, array.buffer_arrays * array.columns // buffer_columns(flow, array))
    return 1


# ---- resources ----


def outputs_of(flow: Flow, array: Array) -> int:
    """Outputs that fit one crossbar side by side."""
    return array.columns // flow.columns


def buffer_columns(flow: Flow, array: Array) -> int:
    """Buffer columns that the outputs of one crossbar take."""
    return outputs_of(flow, array) * _buffer_places(flow) * (2 if flow.pairs else 1)


def _buffer_places(flow: Flow) -> int:
    """Buffer columns of one output: distinct weights of pairs of input and weight slice."""
    shifts = [sum(flow.slices[:j]) for j in range(len(flow.slices))]
    starts = [int(op.args[0].split(":")[0]) for op in flow.ops if op.op == "drive"]
    return len({lo + shift for lo in starts for shift in shifts})


def work(flow: Flow, op: MicroOp, machine: Machine) -> int:
    """What one micro-op is for one crossbar in full use: conversions, analog additions, or buffer writes."""
    array, outputs = machine.array, outputs_of(flow, machine.array)
    if op.op == "fold":
        return outputs
    if op.op == "buffer":
        return array.columns
    source = latest(flow, op, op.spec.takes).op
    if source == "fold":
        return outputs
    if source == "buffer":
        *_, lo, hi, summed = arguments(op, "")
        return outputs * (1 if summed else int(hi) - int(lo) if hi else _buffer_places(flow))
    sums_inputs = any(o.op == "sum-inputs" for o in flow.ops)
    return array.columns // (2 if flow.pairs else 1) + (array.unit_columns if sums_inputs else 0)


def capacity(flow: Flow, resource: str, machine: Machine) -> float | None:
    """What a resource does for one crossbar in one step; ``None``: one micro-op at a time, whatever its size."""
    array = machine.array
    rates = {
        "converter": array.conversions_per_step,
        "folder": array.folds_per_step,
        "buffer-writer": array.buffer_writes_per_step,
    }
    rate = rates.get(resource)
    return None if rate is None else rate * flow.step_cycles / array.step_cycles


def check_resources(flow: Flow, machine: Machine) -> None:
    """No resource may be used beyond its capacity in any step, with a position starting every interval."""
    used: dict[tuple[str, int], list[MicroOp]] = {}
    for op in flow.ops:
        for step in range(op.step, op.end):
            used.setdefault((op.spec.resource, step % flow.interval), []).append(op)
    for (resource, _), ops in used.items():
        limit = capacity(flow, resource, machine)
        if limit is None:
            if len(ops) > 1:
                problem = f"the {resource} is taken by '{ops[0].text()}' (steps are equal modulo {flow.interval})"
                fail(flow, ops[1], problem, "move one of them or lengthen the interval")
            continue
        needed = sum(Fraction(work(flow, op, machine), op.steps) for op in ops)
        if needed > Fraction(limit):
            problem = f"{float(needed):g} {_NOUNS[resource]} per array in one step, the {resource}s do {limit:g}"
            fail(flow, ops[-1], problem, f"spread the {_NOUNS[resource]} or lengthen the interval")


_NOUNS = {"converter": "conversions", "folder": "analog additions", "buffer-writer": "buffer writes"}
