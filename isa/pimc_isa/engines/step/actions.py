"""What the referee books: actions of instructions and micro-operations, counted where they happen.

The manual's section "Energy" says the same in prose. Nothing here asks the declarations; conversions are counted as
they are made, pulses as they are sent.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import ceil, log2
from typing import Any

import numpy as np

from pimc_isa.engines.step.crossbars import Crossbar, crossbars
from pimc_isa.engines.step.flows import read_flow
from pimc_isa.engines.step.geometry import InTile, columns, elements, held_as, nbytes
from pimc_isa.flow.define import MicroOp
from pimc_isa.flow.flow import Flow

__all__ = ["Ledger", "book_micro_op", "matrix_actions"]

Array = np.ndarray
Actions = dict[str, float]


@dataclass
class Ledger:
    """One execution: inputs of each convolution group [positions, k], conversions made and codes that counted.

    These are by the conversion's micro-operation.
    """

    inputs: dict[int, Array] = field(default_factory=dict)
    converted: dict[MicroOp, int] = field(default_factory=dict)
    counted: dict[MicroOp, int] = field(default_factory=dict)

    def convert(self, by: MicroOp, made: int, counted: int) -> None:
        """Conversions, and how many of their codes count."""
        self.converted[by] = self.converted.get(by, 0) + made
        self.counted[by] = self.counted.get(by, 0) + counted


@dataclass(frozen=True)
class _Burst:
    """One burst on one copy after another: what the micro-operations of the flow are counted in."""

    place: InTile
    instr: Any
    ledger: Ledger

    @property
    def group(self) -> Any:
        return self.place.tile.group[self.instr.group]

    @property
    def flow(self) -> Flow:
        return self.place.program.flow[self.group.flow]

    @property
    def crossbars(self) -> list[Crossbar]:
        return crossbars(self.place.program, self.group)

    @property
    def positions(self) -> int:
        return len(columns(self.place.tile, self.instr.dst))

    @property
    def outputs(self) -> int:
        g = self.group
        return int((g.n[1] - g.n[0]) * (g.groups[1] - g.groups[0]))

    @property
    def sums(self) -> int:
        """Partial sums of a position: one of each output for every row block."""
        height = self.place.program.weight[self.group.weights].block_rows
        return self.outputs * len(range(self.group.k[0], self.group.k[1], height))

    @property
    def word_lines(self) -> int:
        return sum(each.word_lines for each in self.crossbars)

    @property
    def input_bytes(self) -> int:
        g, source = self.group, self.place.tile.buffer[self.instr.src]
        bits = (g.k[1] - g.k[0]) * (g.groups[1] - g.groups[0]) * held_as(source.dtype)[0]
        return self.positions * int(bits // 8 + (bits % 8 > 0))

    def driven(self, each: Crossbar, bits: tuple[int, int]) -> int:
        """The sum of these bits of the inputs on the word lines of a crossbar, over all positions."""
        total, first = 0, self.group.k[0]
        for number, (top, bottom) in each.rows:
            inputs = self.ledger.inputs[number][:, top - first : bottom - first].astype(np.int64)
            total += int((inputs >> bits[0] & (1 << bits[1] - bits[0]) - 1).sum())
        return total


def _load(op: MicroOp, b: _Burst) -> Actions:
    registers = b.positions * b.word_lines * b.flow.input_bits / 8
    return {"memory_byte": b.input_bytes, "bus_byte": b.input_bytes, "input_register_byte": registers}


def _drive(op: MicroOp, b: _Burst) -> Actions:
    lo, hi = vars(op)["bits"]
    lines, pulses = b.positions * b.word_lines, b.place.program.machine.array.dac_pulses
    booked: Actions = {"dac_drive": lines, "input_register_byte": lines * (hi - lo) / 8}
    if pulses:
        booked["dac_pulse"] = pulses * sum(b.driven(each, (lo, hi)) for each in b.crossbars)
    return booked


def _read(op: MicroOp, b: _Burst) -> Actions:
    bits = next(vars(o)["bits"] for o in b.flow.ops if o.name == "drive" and o.step == op.step)
    pulses, cells, samples = b.place.program.machine.array.dac_pulses, 0, 0
    for each in b.crossbars:
        read = each.columns + each.units
        cells += (pulses * b.driven(each, bits) if pulses else b.positions * each.word_lines) * read
        samples += b.positions * read
    return {"cell_read": cells, "sample_hold": samples}


def _convert(op: MicroOp, b: _Burst) -> Actions:
    made = b.ledger.converted.get(op, 0)
    buffered = any(group.by == op and group.buffered for group in read_flow(b.flow).all_groups)
    return {"adc_conversion": made, **({"buffer_read": made} if buffered else {})}


def _accumulate(op: MicroOp, b: _Burst) -> Actions:
    by = next(convert for adder, convert in read_flow(b.flow).adders if adder == op)
    counted, weights = b.ledger.counted.get(by, 0), b.place.program.weight[b.group.weights]
    sides = 2 if read_flow(b.flow).sides else 1
    of_a_sum = sides * sum(group.by == by for group in read_flow(b.flow).all_groups)
    bits = b.flow.input_bits + sum(weights.slices) + log2(b.place.program.machine.array.rows)
    return {"shift_add": counted, "output_register_byte": counted / of_a_sum * 2 * ceil(bits / 8)}


def _units(op: MicroOp, b: _Burst) -> Actions:
    units = b.positions * sum(each.units for each in b.crossbars)
    return {"adc_conversion": units, "shift_add": units}


def _columns(op: MicroOp, b: _Burst) -> Actions:
    return {"buffer_write": b.positions * sum(each.columns for each in b.crossbars)}


def _store(op: MicroOp, b: _Burst) -> Actions:
    size = nbytes(b.place.tile, b.instr.dst)
    return {"memory_byte": size, "bus_byte": size}


_BOOKED: dict[str, Callable[[MicroOp, _Burst], Actions]] = {
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
    "scale": lambda op, b: {"scale_multiply": b.positions * b.outputs},
    "store": _store,
}


def book_micro_op(name: str, actions: Callable[[MicroOp, Any], Actions]) -> None:
    """What a micro-operation of another package books for a burst."""
    _BOOKED[name] = actions


def matrix_actions(place: InTile, instr: Any, ledger: Ledger) -> Mapping[str, float]:
    """Actions of one burst; ``mvma`` also reads the sums that are there, and adds each."""
    burst = _Burst(place, instr, ledger)
    found: Actions = {}
    for op in burst.flow.ops:
        booked = _BOOKED[op.name](op, burst) if op.name in _BOOKED else {}
        for action, number in booked.items():
            found[action] = found.get(action, 0) + number
    if instr.mnemonic == "mvma":
        found["memory_byte"] += nbytes(place.tile, instr.dst)
        found["vector_element"] = found.get("vector_element", 0) + elements(place.tile, instr.dst)
    return found
