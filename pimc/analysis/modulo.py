"""The modulo scheduler of analog dataflows: micro-ops placed on resources so that positions follow each other closely.

A dataflow says what happens between input register and partial sum; its parameters are those of Neural-PIM's section 3:

* A (ISAAC): every column sum of every input slice is converted, codes are added in digital;
* B (CASCADE): column sums are written to analog buffer cells, and buffer columns are converted once at the end;
* C (Neural-PIM): column sums are added in analog, over weight slices and input slices, and converted once.

The search is a pure function: the smallest interval at which greedy placement, low input bits first, gives a flow that
``check_flow`` (the loader's own check, which shares nothing with it) accepts.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from math import ceil, log2

from pimc_isa.errors import FlowError
from pimc_isa.flow import Flow, check_flow, normal_form
from pimc_isa.hazards import check_limits
from pimc_isa.machine import Machine
from pimc_isa.microops import OPS, MicroOp

__all__ = ["ENCODINGS", "KINDS", "Dataflow", "least_interval", "lossless", "schedule"]

KINDS = ("A", "B", "C")
#: Columns hold codes as they are, codes flipped where their sum is large, or pairs W+ and W-.
ENCODINGS = ("plain", "flipped", "pairs")


@dataclass(frozen=True)
class Dataflow:
    """A dataflow and its precisions, in bits: inputs P_I, weights P_W, cells P_R, DACs P_D, outputs P_O.

    ``encoding`` is one of `ENCODINGS`. ``converter_bits`` and ``buffer_bits`` (cells of B) default to what the paper's
    equations ask for, buffer cells at most what the machine has. ``ranged``: the end code of a conversion stands for
    a full scale that each layer chooses. ``summed_columns``: buffer columns of B that are added in front of a
    conversion. ``count_inputs``: sums of inputs (for the centre of codes) are counted in digital instead of converted
    from a unit column.
    """

    kind: str
    input_bits: int = 8
    weight_bits: int = 8
    cell_bits: int = 1
    dac_bits: int = 1
    output_bits: int = 8
    encoding: str = "flipped"
    converter_bits: int | None = None
    buffer_bits: int | None = None
    ranged: bool = False
    summed_columns: int = 1
    count_inputs: bool = True

    def __post_init__(self) -> None:
        """Refuse what cannot be. Raises FlowError."""
        if self.kind not in KINDS or self.encoding not in ENCODINGS:
            raise FlowError(f"dataflow {self.kind!r} with {self.encoding!r} columns does not exist\nuse A, B or C")
        bits = (self.input_bits, self.weight_bits, self.cell_bits, self.dac_bits, self.output_bits, self.summed_columns)
        if min(bits) < 1:
            raise FlowError(f"dataflow {self.kind}: every precision must be at least 1 bit, not {bits}")

    @property
    def input_slices(self) -> tuple[tuple[int, int], ...]:
        """Bit ranges [lo, hi) of an input, low bits first: C_I of them."""
        return tuple((lo, min(lo + self.dac_bits, self.input_bits)) for lo in range(0, self.input_bits, self.dac_bits))

    @property
    def slices(self) -> tuple[int, ...]:
        """Widths of the slices of a weight, low bits first: C_W of them."""
        widths = range(0, self.weight_bits, self.cell_bits)
        return tuple(min(self.cell_bits, self.weight_bits - at) for at in widths)

    @property
    def places(self) -> int:
        """Distinct weights of (input slice, weight slice) pairs: buffer columns of one output."""
        starts = [sum(self.slices[:j]) for j in range(len(self.slices))]
        return len({lo + start for lo, _ in self.input_slices for start in starts})

    def column_bits(self, rows: int) -> int:
        """Bits of one column sum (equation 2); flipped columns save one, differences of pairs need a sign."""
        both = self.cell_bits > 1 and self.dac_bits > 1
        bits = self.cell_bits + self.dac_bits - (0 if both else 1) + ceil(log2(rows))
        return bits + {"plain": 0, "flipped": -1, "pairs": 1}[self.encoding]

    def conversion_bits(self, rows: int) -> int:
        """Bits of the converters: given, or by equations 2 (A), 3 (B), 4 (C)."""
        if self.converter_bits is not None:
            return self.converter_bits
        if self.kind == "C":
            return self.output_bits
        return self.column_bits(rows) + (ceil(log2(len(self.input_slices))) if self.kind == "B" else 0)


def lossless(dataflow: Dataflow, rows: int) -> Dataflow:
    """The same dataflow with converters and buffer cells wide enough for every input and weight: nothing is lost.

    A: the converters of equation 2 are. B: cells of a whole column sum, converters of the largest buffer column, with a
    sign. C: converters of the largest dot product of ``rows`` rows, with a sign.
    """
    top = rows * ((1 << dataflow.cell_bits) - 1) * ((1 << dataflow.dac_bits) - 1)
    top = top // 2 if dataflow.encoding == "flipped" else top
    if dataflow.kind == "A":
        return replace(dataflow, converter_bits=None, ranged=False)
    if dataflow.kind == "B":
        deepest = min(len(dataflow.input_slices), len(dataflow.slices))
        bits = (deepest * top).bit_length() + 1
        return replace(
            dataflow, buffer_bits=top.bit_length(), converter_bits=bits, ranged=False, summed_columns=1
        )
    most = rows * ((1 << dataflow.input_bits) - 1) * ((1 << dataflow.weight_bits) - 1)
    return replace(dataflow, converter_bits=most.bit_length() + 1, ranged=False)


@dataclass(frozen=True)
class _Task:
    """Micro-ops that start together: ``uses`` (resource, share of one step's capacity) for ``steps`` steps.

    ``after``: tasks that must have ended before it starts; ``frees``: tasks that must have ended before it overwrites
    what they take, at its end (at its start if ``gradual``).
    """

    ops: tuple[tuple[str, tuple[str, ...]], ...]
    uses: tuple[tuple[str, Fraction], ...]
    after: tuple[int, ...]
    frees: tuple[int, ...] = ()
    steps: int = 1
    gradual: bool = False


def schedule(dataflow: Dataflow, machine: Machine, name: str, step_cycles: int | None = None) -> Flow:
    """The flow of a dataflow on a machine at the smallest legal interval. Raises FlowError if there is none."""
    tasks = _Builder(dataflow, machine).tasks()
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
    return _resource_bound(_Builder(dataflow, machine).tasks())


def _resource_bound(tasks: tuple[_Task, ...]) -> int:
    used: dict[str, Fraction] = {}
    for task in tasks:
        for resource, share in task.uses:
            used[resource] = used.get(resource, Fraction(0)) + share * task.steps
    return max(ceil(total) for total in used.values())


def _placed(tasks: tuple[_Task, ...], interval: int) -> list[int] | None:
    """Start of every task, each as early as its inputs and its resources (modulo the interval) allow."""
    starts: list[int] = []
    used: dict[tuple[str, int], Fraction] = {}

    def end(n: int) -> int:
        return starts[n] + tasks[n].steps

    def free(task: _Task, start: int) -> bool:
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
    name: str, dataflow: Dataflow, tasks: tuple[_Task, ...], starts: list[int] | None, interval: int, step_cycles: int
) -> Flow:
    if starts is None:
        raise FlowError(f"flow {name}: a micro-op asks more of a resource than there is, whatever the interval")
    ops = [
        MicroOp(start, op, (*args, f"steps={task.steps}") if task.steps > 1 else args)
        for task, start in zip(tasks, starts, strict=True)
        for op, args in task.ops
    ]
    order = list(OPS)
    ops.sort(key=lambda o: (o.step, order.index(o.op)))
    latency = max(op.end for op in ops)
    return Flow(name, dataflow.input_bits, dataflow.slices, step_cycles, interval, latency, tuple(ops))


class _Builder:
    """Turns a dataflow into tasks in the order of data."""

    def __init__(self, dataflow: Dataflow, machine: Machine) -> None:
        self.flow, self.array = dataflow, machine.array
        self.pairs = dataflow.encoding == "pairs"
        columns = len(dataflow.slices) * (2 if self.pairs else 1)
        self.outputs = machine.array.columns // columns
        if self.outputs == 0:
            raise FlowError(f"an output of {columns} columns does not fit arrays of {machine.array.columns}")
        self.list: list[_Task] = []

    def tasks(self) -> tuple[_Task, ...]:
        """All tasks."""
        self.list = []
        self._add("load", "memory", (), ())
        inputs_done = {"A": self._convert_all, "B": self._buffer_all, "C": self._fold_all}[self.flow.kind]()
        self._tail(inputs_done)
        return tuple(self.list)

    def _add(
        self, op: str, resource: str, args: tuple[str, ...] = (), after: tuple[int, ...] = (0,), frees: tuple[int, ...] = ()
    ) -> int:
        return self._task(_Task(((op, args),), ((resource, Fraction(1)),), after, frees))

    def _task(self, task: _Task) -> int:
        self.list.append(task)
        return len(self.list) - 1

    def _shared(
        self, op: str, resource: str, args: tuple[str, ...], work: int, rate: float, after: int, frees: tuple[int, ...]
    ) -> int:
        """A task that takes as many steps as the resource needs for its work."""
        if not rate > 0:
            raise FlowError(f"dataflow {self.flow.kind}: the machine's arrays have no {resource}")
        share = Fraction(work) / Fraction(rate)
        steps = max(1, ceil(share))
        gradual = OPS[op].gradual
        return self._task(_Task(((op, args),), ((resource, share / steps),), (after,), frees, steps, gradual))

    def _read(self, bits: tuple[int, int], frees: tuple[int, ...]) -> int:
        """Drive, read, and where sums of inputs are counted, count."""
        span = (f"{bits[0]}:{bits[1]}",)
        ops = [("drive", span), ("read", ("pairs",) if self.pairs else ())]
        uses = [("dac", Fraction(1)), ("array", Fraction(1))]
        if self.flow.count_inputs and not self.pairs:
            ops.append(("count-inputs", span))
            uses.append(("input-adder", Fraction(1)))
        return self._task(_Task(tuple(ops), tuple(uses), (0,), frees))

    def _convert(self, work: int, after: int, frees: tuple[int, ...] = (), *options: str) -> int:
        # codes stand for differences (pairs), or for sums of columns of which some are flipped (B and C)
        signed = self.pairs or (self.flow.kind != "A" and self.flow.encoding == "flipped")
        bits = str(self.flow.conversion_bits(self.array.rows))
        args = ("signed" if signed else "unsigned", bits, *(("ranged",) if self.flow.ranged else ()), *options)
        return self._shared("convert", "converter", args, work, self.array.conversions_per_step, after, frees)

    def _convert_all(self) -> tuple[int, ...]:
        """A: every sample is converted and added."""
        unit = not self.flow.count_inputs and not self.pairs
        work = self.array.columns // (2 if self.pairs else 1) + (self.array.unit_columns if unit else 0)
        taker: tuple[int, ...] = ()
        adders: tuple[int, ...] = ()
        for bits in self.flow.input_slices:
            read = self._read(bits, taker)
            taker = (self._convert(work, read, adders[-1:]),)
            ops = [("accumulate", (f"<<{bits[0]}",)), *([("sum-inputs", (f"<<{bits[0]}",))] if unit else [])]
            uses = [("shift-adder", Fraction(1)), *([("input-adder", Fraction(1))] if unit else [])]
            adders += (self._task(_Task(tuple(ops), tuple(uses), taker)),)
        return adders

    def _buffer_all(self) -> tuple[int, ...]:
        """B: samples into buffer cells, buffer columns converted at the end."""
        column = self.flow.column_bits(self.array.rows) - (1 if self.pairs else 0)
        bits = self.flow.buffer_bits or min(column, self.array.buffer_bits)
        most = self.array.rows * ((1 << self.flow.cell_bits) - 1) * ((1 << self.flow.dac_bits) - 1)
        step = max(1, (most // 2 if self.flow.encoding == "flipped" else most) >> bits)
        taker: tuple[int, ...] = ()
        for lo, hi in self.flow.input_slices:
            read = self._read((lo, hi), taker)
            args = (f"<<{lo}", str(bits), *((f"step={step}",) if step > 1 else ()))
            rate = self.array.buffer_writes_per_step
            taker = (self._shared("buffer", "buffer-writer", args, self.array.columns, rate, read, ()),)
        summed = self.flow.summed_columns
        conversions = self.outputs * -(-self.flow.places // summed)
        convert = self._convert(conversions, taker[0], (), *((f"sum={summed}",) if summed > 1 else ()))
        return (self._add("accumulate", "shift-adder", ("<<0",), (convert,)),)

    def _fold_all(self) -> tuple[int, ...]:
        """C: samples added in analog, one conversion of the held sum."""
        taker: tuple[int, ...] = ()
        before = 0
        for bits in self.flow.input_slices:
            read = self._read(bits, taker)
            args = (f">>{bits[0] - before or self.flow.dac_bits}",)
            taker = (self._shared("fold", "folder", args, self.outputs, self.array.folds_per_step, read, ()),)
            before = bits[0]
        return (self._convert(self.outputs, taker[0]),)

    def _tail(self, done: tuple[int, ...]) -> None:
        """Merge (with the centre's correction), scale ranged codes, activate, store."""
        ops: list[tuple[str, tuple[str, ...]]] = [("merge", ())]
        uses = [("tile-adder", Fraction(1))]
        if not self.pairs and self.flow.encoding != "plain":
            ops.append(("correct", ()))
            uses.append(("corrector", Fraction(1)))
        counted = tuple(n for n, task in enumerate(self.list) if any(op == "count-inputs" for op, _ in task.ops))
        last = self._task(_Task(tuple(ops), tuple(uses), (*done, *counted)))
        if self.flow.ranged:
            last = self._add("scale", "multiplier", (), (last,))
        last = self._add("activate", "function-unit", (), (last,))
        self._add("store", "memory", (), (last,))
