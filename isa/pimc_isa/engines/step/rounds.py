"""Rounds, as the manual's section "Rounds" has them: word lines driven, columns read, sums kept, crossbar by crossbar.

Here a column sums whatever is driven on its crossbar, so a schedule that lets one patch's rows into another's columns
shows.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from pimc_isa.engines.step.actions import Activation, Ledger
from pimc_isa.engines.step.cells import block_of
from pimc_isa.engines.step.dots import Dots
from pimc_isa.operands import Group, Range
from pimc_isa.program import Program

__all__ = ["Schedules"]

Array = np.ndarray
At = tuple[int, int, range]

OVERWRITE = 0


@dataclass
class Acting:
    """A crossbar (rows and outputs) in one round: inputs by row; by output that is read its channel and the mode."""

    rows: Range
    outputs: Range
    lines: dict[int, int] = field(default_factory=dict)
    goes: dict[int, tuple[int, int]] = field(default_factory=dict)


class Schedules:
    """What the groups of a program do in their rounds, worked out once."""

    def __init__(self, dots: Dots) -> None:
        self.dots = dots
        self._known: dict[Group, list[list[Acting]]] = {}

    def sums(self, g: Group, vectors: Array, at: At, ledger: Ledger) -> Array:
        """i32 [positions, outputs] of u8 ``vectors`` [positions, inputs]; ``at``, ``ledger``: see ``Dots.products``."""
        program = self.dots.program
        (declared,) = (r for r in program.rounds if r.name == g.rounds)
        if g not in self._known:
            self._known[g] = [_round(program, g, number) for number in range(declared.count)]
        kept: dict[int, Array] = {}
        for number, round_ in enumerate(self._known[g]):
            for channel, (mode, made) in self._made(g, number, round_, vectors, at, ledger).items():
                kept[channel] = made if mode == OVERWRITE else (kept[channel] + made).astype(np.int32)
                ledger.added += mode != OVERWRITE
        for channel, source in enumerate(program.tensors[f"{g.rounds}.copies"], declared.outputs[0]):
            if source >= 0:
                kept[channel] = kept[int(source)]
                ledger.copied += 1
        return np.stack([kept[channel] for channel in range(*declared.outputs)], axis=1)

    def _made(
        self, g: Group, number: int, round_: list[Acting], vectors: Array, at: At, ledger: Ledger
    ) -> dict[int, tuple[int, Array]]:
        """One round: of each channel that it makes, whether it overwrites, and the sums."""
        sums: dict[int, tuple[int, Array, Array]] = {}
        for acting in round_:
            x = np.zeros((len(vectors), acting.rows[1] - acting.rows[0]), vectors.dtype)
            for row, element in acting.lines.items():
                x[:, row - acting.rows[0]] = vectors[:, element]
            self._book(g, acting, vectors, ledger)
            part = acting.rows, acting.outputs
            codes, corrections = self.dots.crossbar(g, 0, part, x, at, ledger, (number,))
            for output, (channel, mode) in acting.goes.items():
                zero, place = np.zeros(len(vectors), np.int64), output - acting.outputs[0]
                _, code, correction = sums.get(channel, (mode, zero, zero))
                sums[channel] = mode, code + codes[:, place], correction + corrections[:, place]
        ledger.needed.append(len({element for acting in round_ for element in acting.lines.values()}))
        ledger.made.append(len(sums))
        return {channel: (mode, self.dots.scaled(g, *both)) for channel, (mode, *both) in sums.items()}

    def _book(self, g: Group, acting: Acting, vectors: Array, ledger: Ledger) -> None:
        """Word lines that are driven, columns that are read."""
        weights, array = self.dots.program.weight[g.weights], self.dots.program.machine.array
        each = len(weights.slices) * (2 if weights.bipolar else 1)
        driven, read = vectors[:, list(acting.lines.values())], len(acting.goes)
        held = block_of(self.dots.program, weights, 0, acting.rows, acting.outputs).levels
        lines, outputs = [row - acting.rows[0] for row in acting.lines], [n - acting.outputs[0] for n in acting.goes]
        levels = held[np.ix_(lines, outputs)].sum(axis=1) + array.unit_columns
        ledger.activations.append(Activation(driven, read * each, array.unit_columns, read, levels))
        ledger.read = [output - acting.outputs[0] for output in acting.goes]


def _round(program: Program, g: Group, number: int) -> list[Acting]:
    """The crossbars that are read in a round. A patch drives those that hold an output of it, and a row."""
    patches, rows, columns = (program.tensors[f"{g.rounds}.{part}"] for part in ("patches", "rows", "columns"))
    found = []
    for acting in _crossbars(program, g):
        for patch, (when, mode) in enumerate(patches):
            own = {k: int(rows[patch, k]) for k in range(*acting.rows) if rows[patch, k] >= 0}
            read = {n: (int(columns[patch, n]), int(mode)) for n in range(*acting.outputs) if columns[patch, n] >= 0}
            if when == number and own and read:
                acting.lines.update(own)
                acting.goes.update(read)
        if acting.goes:
            found.append(acting)
    return found


def _crossbars(program: Program, g: Group) -> list[Acting]:
    """The crossbars of a group, row blocks by outputs that fit side by side."""
    weights, array = program.weight[g.weights], program.machine.array
    side_by_side = array.columns // (len(weights.slices) * (2 if weights.bipolar else 1))
    rows = [(k, min(k + weights.block_rows, g.k[1])) for k in range(g.k[0], g.k[1], weights.block_rows)]
    outputs = [(n, min(n + side_by_side, g.n[1])) for n in range(g.n[0], g.n[1], side_by_side)]
    return [Acting(k, n) for n in outputs for k in rows]
