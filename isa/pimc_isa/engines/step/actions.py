"""What the referee books: actions of instructions and micro-operations, counted where they happen.

The manual's section "Energy" says the same in prose. Nothing here asks the declarations; conversions are counted as
they are made, pulses as they are sent.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from math import ceil, log2
from typing import Any

import numpy as np

from pimc_isa.engines.step.cells import block_of
from pimc_isa.engines.step.crossbars import Crossbar, crossbars
from pimc_isa.engines.step.flows import read_flow
from pimc_isa.engines.step.geometry import InTile, columns, elements, held_as, nbytes
from pimc_isa.flow.define import MicroOp
from pimc_isa.flow.flow import Flow

__all__ = ["Activation", "Burst", "Ledger", "book_micro_op", "matrix_actions"]

Array = np.ndarray
Actions = dict[str, float]


@dataclass(frozen=True)
class Activation:
    """A crossbar at work: ``inputs`` [positions, word lines in use], and for each position what is read of it.

    ``columns`` and ``units`` are those in use; ``sums`` outputs of the weights; ``levels`` what all cells of each word
    line hold together.
    """

    inputs: Array
    columns: int
    units: int
    sums: int
    levels: Array


@dataclass
class Ledger:
    """One execution: inputs of each convolution group [positions, k], conversions made and codes that counted.

    These are by the conversion's micro-operation, over the outputs in ``read`` alone, if it names some. Where a group
    works in rounds, ``activations`` are those of all rounds, ``needed`` and ``made`` the inputs and results of each,
    ``added`` and ``copied`` results that were there before, and that were copied, each once for every position.
    """

    inputs: dict[int, Array] = field(default_factory=dict)
    converted: dict[MicroOp, int] = field(default_factory=dict)
    counted: dict[MicroOp, int] = field(default_factory=dict)
    read: list[int] | None = None
    activations: list[Activation] = field(default_factory=list)
    needed: list[int] = field(default_factory=list)
    made: list[int] = field(default_factory=list)
    added: int = 0
    copied: int = 0

    def convert(self, by: MicroOp, flagged: Array) -> None:
        """A conversion for each position and output; flagged codes do not count."""
        own = flagged if self.read is None else flagged[:, self.read]
        self._book(by, own.size, own.size - int(own.sum()))

    def refine(self, by: MicroOp, flagged: Array) -> None:
        """A conversion for each flag."""
        flags = int((flagged if self.read is None else flagged[:, self.read]).sum())
        self._book(by, flags, flags)

    def _book(self, by: MicroOp, made: int, counted: int) -> None:
        self.converted[by] = self.converted.get(by, 0) + made
        self.counted[by] = self.counted.get(by, 0) + counted


@dataclass(frozen=True)
class Burst:
    """One burst on one copy after another: what the micro-operations of the flow are counted in."""

    place: InTile
    instr: Any
    ledger: Ledger

    @property
    def group(self) -> Any:
        """Its crossbar group."""
        return self.place.tile.group[self.instr.group]

    @property
    def flow(self) -> Flow:
        """The group's flow."""
        return self.place.program.flow[self.group.flow]

    @cached_property
    def activations(self) -> list[Activation]:
        """Every crossbar that works for a position; those of all rounds."""
        return self.ledger.activations if self.group.rounds else [self._active(c) for c in self._crossbars]

    @property
    def _crossbars(self) -> list[Crossbar]:
        return crossbars(self.place.program, self.group)

    def _active(self, each: Crossbar) -> Activation:
        first = self.group.k[0]
        parts = [self.ledger.inputs[number][:, top - first : end - first] for number, (top, end) in each.rows]
        weights = self.place.program.weight[self.group.weights]
        of_an_output = len(weights.slices) * (2 if weights.bipolar else 1)
        lines = [self.held(number, rows, each.outputs) for number, rows in each.rows]
        units = each.units // len(each.rows)
        driven, levels = np.concatenate(parts, axis=1), np.concatenate(lines) + units
        return Activation(driven, each.columns, each.units, each.columns // of_an_output, levels)

    def held(self, number: int, rows: Any, outputs: Any) -> Array:
        """Levels that the data cells of word lines hold together, on the columns of some outputs."""
        program = self.place.program
        block = block_of(program, program.weight[self.group.weights], number, rows, outputs)
        return np.asarray(block.levels.sum(axis=1))

    @property
    def positions(self) -> int:
        """Output positions."""
        return len(columns(self.place.tile, self.instr.dst))

    @property
    def results(self) -> list[int]:
        """Results of a position, of each round."""
        g = self.group
        return self.ledger.made if g.rounds else [(g.n[1] - g.n[0]) * (g.groups[1] - g.groups[0])]

    @property
    def sums(self) -> int:
        """Partial sums of a position: one of each output for every row block."""
        return sum(each.sums for each in self.activations)

    @property
    def word_lines(self) -> int:
        """Word lines in use for a position."""
        return sum(each.inputs.shape[1] for each in self.activations)

    @property
    def input_bytes(self) -> int:
        """Bytes of all positions' inputs, which every round reads."""
        g, source = self.group, self.place.tile.buffer[self.instr.src]
        needed = self.ledger.needed if g.rounds else [(g.k[1] - g.k[0]) * (g.groups[1] - g.groups[0])]
        return self.positions * sum(_bytes(number, source.dtype) for number in needed)

    @property
    def result_bytes(self) -> int:
        """Bytes of all positions' results, which every round writes."""
        kind = self.place.tile.buffer[self.instr.dst.buffer].dtype
        return self.positions * sum(_bytes(number, kind) for number in self.results)


def _bytes(number: int, dtype: str) -> int:
    bits = number * held_as(dtype)[0]
    return bits // 8 + (bits % 8 > 0)


def _driven(each: Activation, bits: tuple[int, int]) -> int:
    """The sum of these bits of the inputs on the word lines of a crossbar, over all positions."""
    return int(_slices(each, bits).sum())


def _slices(each: Activation, bits: tuple[int, int]) -> Array:
    """These bits of the inputs on the word lines of a crossbar: int64 [positions, word lines]."""
    return each.inputs.astype(np.int64) >> bits[0] & (1 << bits[1] - bits[0]) - 1


def _load(op: MicroOp, b: Burst) -> Actions:
    registers = b.positions * b.word_lines * b.flow.input_bits / 8
    return {"memory_byte": b.input_bytes, "bus_byte": b.input_bytes, "input_register_byte": registers}


def _drive(op: MicroOp, b: Burst) -> Actions:
    lo, hi = vars(op)["bits"]
    lines, pulses = b.positions * b.word_lines, b.place.program.machine.array.dac_pulses
    booked: Actions = {"dac_drive": lines, "input_register_byte": lines * (hi - lo) / 8}
    if pulses:
        booked["dac_pulse"] = pulses * sum(_driven(each, (lo, hi)) for each in b.activations)
    return booked


def _read(op: MicroOp, b: Burst) -> Actions:
    bits = next(vars(o)["bits"] for o in b.flow.ops if o.name == "drive" and o.step == op.step)
    machine, cells, samples, charge = b.place.program.machine, 0, 0, 0
    pulses = machine.array.dac_pulses
    for each in b.activations:
        read = each.columns + each.units
        cells += (pulses * _driven(each, bits) if pulses else each.inputs.size) * read
        samples += b.positions * read
        charge += (pulses or 1) * int((_slices(each, bits) @ each.levels).sum())
    priced = any(energy.action == "cell_charge" for energy in machine.energies)
    return {"cell_read": cells, "sample_hold": samples, **({"cell_charge": charge} if priced else {})}


def _convert(op: MicroOp, b: Burst) -> Actions:
    made = b.ledger.converted.get(op, 0)
    buffered = any(group.by == op and group.buffered for group in read_flow(b.flow).all_groups)
    return {"adc_conversion": made, **({"buffer_read": made} if buffered else {})}


def _accumulate(op: MicroOp, b: Burst) -> Actions:
    by = next(convert for adder, convert in read_flow(b.flow).adders if adder == op)
    counted, weights = b.ledger.counted.get(by, 0), b.place.program.weight[b.group.weights]
    sides = 2 if read_flow(b.flow).sides else 1
    of_a_sum = sides * sum(group.by == by for group in read_flow(b.flow).all_groups)
    bits = b.flow.input_bits + sum(weights.slices) + log2(b.place.program.machine.array.rows)
    return {"shift_add": counted, "output_register_byte": counted / of_a_sum * 2 * ceil(bits / 8)}


def _units(op: MicroOp, b: Burst) -> Actions:
    units = b.positions * sum(each.units for each in b.activations)
    return {"adc_conversion": units, "shift_add": units}


def _columns(op: MicroOp, b: Burst) -> Actions:
    return {"buffer_write": b.positions * sum(each.columns for each in b.activations)}


def _store(op: MicroOp, b: Burst) -> Actions:
    return {"memory_byte": b.result_bytes, "bus_byte": b.result_bytes}


_BOOKED: dict[str, Callable[[MicroOp, Burst], Actions]] = {
    "load": _load,
    "drive": _drive,
    "read": _read,
    "fold": lambda op, b: {"fold": b.positions * b.sums, "sample_hold": b.positions * b.sums},
    "buffer": _columns,
    "convert": _convert,
    "accumulate": _accumulate,
    "sum-inputs": _units,
    "count-inputs": lambda op, b: {"input_count": b.positions * b.word_lines},
    "correct": lambda op, b: {"shift_add": b.positions * b.sums},
    "merge": lambda op, b: {"merge_add": b.positions * b.sums},
    "scale": lambda op, b: {"scale_multiply": b.positions * sum(b.results)},
    "store": _store,
}


def book_micro_op(name: str, actions: Callable[[MicroOp, Burst], Actions]) -> None:
    """What a micro-operation of another package books for a burst."""
    _BOOKED[name] = actions


def matrix_actions(place: InTile, instr: Any, ledger: Ledger) -> Mapping[str, float]:
    """Actions of one burst; ``mvma`` also reads the sums that are there, and adds each."""
    burst = Burst(place, instr, ledger)
    found: Actions = {}
    for op in burst.flow.ops:
        booked = _BOOKED[op.name](op, burst) if op.name in _BOOKED else {}
        for action, number in booked.items():
            found[action] = found.get(action, 0) + number
    moved = _bytes(burst.positions * (ledger.added + 2 * ledger.copied), "i32")
    for action, number in (("memory_byte", moved), ("bus_byte", moved), ("merge_add", burst.positions * ledger.added)):
        found[action] = found.get(action, 0) + number
    if instr.mnemonic == "mvma":
        found["memory_byte"] += nbytes(place.tile, instr.dst)
        found["vector_element"] = found.get("vector_element", 0) + elements(place.tile, instr.dst)
    return found
