"""A dataflow as tasks for the modulo scheduler: micro-ops in the order of data, and what they ask of resources."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from math import ceil

from pimc.analysis.dataflow import Dataflow
from pimc_isa.errors import FlowError
from pimc_isa.flow.microops import OPS
from pimc_isa.machine import Machine

__all__ = ["Task", "tasks_of"]


@dataclass(frozen=True)
class Task:
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


def tasks_of(dataflow: Dataflow, machine: Machine) -> tuple[Task, ...]:
    """The tasks of one position. Raises FlowError if the machine lacks what the dataflow needs."""
    return _Builder(dataflow, machine).tasks()


class _Builder:
    """Turns a dataflow into tasks in the order of data."""

    def __init__(self, dataflow: Dataflow, machine: Machine) -> None:
        self.flow, self.array = dataflow, machine.array
        self.pairs = dataflow.encoding == "pairs"
        columns = len(dataflow.slices) * (2 if dataflow.bipolar else 1)
        self.outputs = machine.array.columns // columns
        if self.outputs == 0:
            raise FlowError(f"an output of {columns} columns does not fit arrays of {machine.array.columns}")
        self.list: list[Task] = []

    def tasks(self) -> tuple[Task, ...]:
        """All tasks."""
        self.list = []
        self._add("load", "memory", (), ())
        inputs_done = {"A": self._convert_all, "B": self._buffer_all, "C": self._fold_all}[self.flow.kind]()
        self._tail(inputs_done)
        return tuple(self.list)

    def _add(
        self,
        op: str,
        resource: str,
        args: tuple[str, ...] = (),
        after: tuple[int, ...] = (0,),
        frees: tuple[int, ...] = (),
    ) -> int:
        return self._task(Task(((op, args),), ((resource, Fraction(1)),), after, frees))

    def _task(self, task: Task) -> int:
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
        return self._task(Task(((op, args),), ((resource, share / steps),), (after,), frees, steps, gradual))

    def _read(self, bits: tuple[int, int], frees: tuple[int, ...]) -> int:
        """Drive, read, and where sums of inputs are counted, count."""
        span = (f"{bits[0]}:{bits[1]}",)
        ops = [("drive", span), ("read", (self.flow.encoding,) if self.flow.bipolar else ())]
        uses = [("dac", Fraction(1)), ("array", Fraction(1))]
        if self.flow.count_inputs and self.flow.corrected:
            ops.append(("count-inputs", span))
            uses.append(("input-adder", Fraction(1)))
        return self._task(Task(tuple(ops), tuple(uses), (0,), frees))

    def _convert(self, work: int, after: int, frees: tuple[int, ...] = (), *options: str) -> int:
        # codes stand for differences (pairs), or for sums of columns of which some are flipped (B and C)
        signed = self.pairs or (self.flow.kind != "A" and self.flow.encoding == "flipped")
        bits = str(self.flow.conversion_bits(self.array.rows))
        args = ("signed" if signed else "unsigned", bits, *(("ranged",) if self.flow.ranged else ()), *options)
        return self._shared("convert", "converter", args, work, self.array.conversions_per_step, after, frees)

    def _convert_all(self) -> tuple[int, ...]:
        """A: every sample is converted and added."""
        unit = not self.flow.count_inputs and self.flow.corrected
        work = self.array.columns // (2 if self.pairs else 1) + (self.array.unit_columns if unit else 0)
        taker: tuple[int, ...] = ()
        adders: tuple[int, ...] = ()
        for bits in self.flow.input_slices:
            read = self._read(bits, taker)
            taker = (self._convert(work, read, adders[-1:]),)
            ops = [("accumulate", (f"<<{bits[0]}",)), *([("sum-inputs", (f"<<{bits[0]}",))] if unit else [])]
            uses = [("shift-adder", Fraction(1)), *([("input-adder", Fraction(1))] if unit else [])]
            adders += (self._task(Task(tuple(ops), tuple(uses), taker)),)
        return adders

    def _buffer_all(self) -> tuple[int, ...]:
        """B: samples into buffer cells, buffer columns converted at the end."""
        column = self.flow.column_bits(self.array.rows) - (1 if self.pairs else 0)
        bits = self.flow.buffer_bits or min(column, self.array.buffer_bits)
        step = max(1, self.flow.column_top(self.array.rows) >> bits)
        taker: tuple[int, ...] = ()
        for lo, hi in self.flow.input_slices:
            read = self._read((lo, hi), taker)
            args = (f"<<{lo}", str(bits), *((f"step={step}",) if step > 1 else ()))
            rate = self.array.buffer_writes_per_step
            taker = (self._shared("buffer", "buffer-writer", args, self.array.columns, rate, read, ()),)
        return self._convert_buffer(taker[0])

    def _convert_buffer(self, written: int) -> tuple[int, ...]:
        """B: buffer columns one by one; low ones summed in front of one conversion where there are amplifiers."""
        columns = sorted(set(self.flow.places))
        summed = min(self.flow.summed_columns, len(columns))
        if summed == 1:
            convert = self._convert(self.outputs * len(columns), written)
            return (self._add("accumulate", "shift-adder", ("<<0",), (convert,)),)
        most = sum(self.flow.column_top(self.array.rows) << p for p in self.flow.places if p <= columns[summed - 1])
        codes = 1 << (self.flow.conversion_bits(self.array.rows) - 1)
        step = 1 << max(0, -(-most // codes) - 1).bit_length()
        options = (*((f"step={step}",) if step > 1 else ()), f"columns=0:{summed}", "summed")
        low = self._convert(self.outputs, written, (), *options)
        adders: tuple[int, ...] = (self._add("accumulate", "shift-adder", ("<<0",), (low,)),)
        if summed < len(columns):
            rest = f"columns={summed}:{len(columns)}"
            high = self._convert(self.outputs * (len(columns) - summed), written, adders, rest)
            adders += (self._add("accumulate", "shift-adder", (f"<<{columns[summed]}",), (high,)),)
        return adders

    def _fold_all(self) -> tuple[int, ...]:
        """C: samples added in analog, one conversion of the held sum."""
        taker: tuple[int, ...] = ()
        before = 0
        for bits in self.flow.input_slices:
            read = self._read(bits, taker)
            args: tuple[str, ...] = (f">>{bits[0] - before or self.flow.dac_bits}",)
            taker = (self._shared("fold", "folder", args, self.outputs, self.array.folds_per_step, read, ()),)
            before = bits[0]
        return (self._convert(self.outputs, taker[0]),)

    def _tail(self, done: tuple[int, ...]) -> None:
        """Merge (with the centre's correction), scale ranged codes, activate, store."""
        ops: list[tuple[str, tuple[str, ...]]] = [("merge", ())]
        uses = [("tile-adder", Fraction(1))]
        if self.flow.corrected:
            ops.append(("correct", ()))
            uses.append(("corrector", Fraction(1)))
        counted = tuple(n for n, task in enumerate(self.list) if any(op == "count-inputs" for op, _ in task.ops))
        last = self._task(Task(tuple(ops), tuple(uses), (*done, *counted)))
        if self.flow.ranged:
            last = self._add("scale", "multiplier", (), (last,))
        last = self._add("activate", "function-unit", (), (last,))
        self._add("store", "memory", (), (last,))
