"""Rounds: what every crossbar of a group does in each of them, put together from the tables (``operands.Rounds``).

A patch drives its rows on those crossbars that hold a column of it, and reads these columns in the row blocks in which
it drives a row. What stands here is true of schedules that the static check has accepted.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from pimc_isa.operands import Group, Range
from pimc_isa.program import Program

__all__ = ["CrossbarRead", "OneRound", "copied", "read_columns", "rounds_of"]

Array = np.ndarray


@dataclass(frozen=True, eq=False)
class CrossbarRead:
    """One crossbar in one round: ``inputs`` drive the ``rows`` of row block ``block``, ``columns`` go to ``channels``.

    Blocks, rows and columns (outputs of the weights) are numbered in the whole layer, inputs in the window's vector,
    channels in the destination's tensor.
    """

    block: int
    rows: Array
    inputs: Array
    columns: Array
    channels: Array


@dataclass(frozen=True, eq=False)
class OneRound:
    """One round of a position. ``channels``: those it makes, in order; ``added``: which of them it adds to."""

    reads: tuple[CrossbarRead, ...]
    channels: Array
    added: Array

    @cached_property
    def inputs(self) -> int:
        """Elements of the window's vector that it needs."""
        return len(np.unique(np.concatenate([read.inputs for read in self.reads])))

    @property
    def rows(self) -> int:
        """Word lines driven, summed over the crossbars."""
        return sum(len(read.rows) for read in self.reads)

    @property
    def sums(self) -> int:
        """Partial sums: outputs of the weights that are read, in each row block."""
        return sum(len(read.columns) for read in self.reads)


def rounds_of(program: Program, group: Group, across: int) -> tuple[OneRound, ...]:
    """The rounds of a group that names some; ``across``: outputs that lie side by side in a crossbar."""
    tables = [np.asarray(program.tensors[f"{group.rounds}.{part}"]) for part in ("patches", "rows", "columns")]
    height = program.weight[group.weights].block_rows
    found = []
    for number in range(program.schedule[group.rounds].count):
        patches, rows, columns = (table[tables[0][:, 0] == number] for table in tables)
        reads = tuple(_reads(rows, columns, group, (height, across)))
        channels = np.unique(columns[columns >= 0])
        adding = columns[patches[:, 1] == 1]
        found.append(OneRound(reads, channels, np.isin(channels, adding)))
    return tuple(found)


def read_columns(read: CrossbarRead, columns: int, units: int) -> int:
    """Columns of a crossbar that are in use: ``columns`` of each output that is read, and its unit columns."""
    return len(read.columns) * columns + units


def copied(program: Program, group: Group) -> tuple[Array, Array]:
    """Channels that are copies, and what they are copies of, both from the group's first channel on."""
    copies = np.asarray(program.tensors[f"{group.rounds}.copies"])
    made = np.flatnonzero(copies >= 0)
    return made, copies[made] - program.schedule[group.rounds].outputs[0]


def _reads(rows: Array, columns: Array, group: Group, size: tuple[int, int]) -> Iterator[CrossbarRead]:
    """What the patches of a round do, crossbar by crossbar."""
    height, across = size
    for n in _pieces(group.n, across):
        here = (columns[:, slice(*n)] >= 0).any(axis=1)
        for k in _pieces(group.k, height):
            driven, goes = _together(rows[here, slice(*k)], columns[here, slice(*n)])
            lines, read = np.flatnonzero(driven >= 0), np.flatnonzero(goes >= 0)
            if len(read):
                yield CrossbarRead(k[0] // height, k[0] + lines, driven[lines], n[0] + read, goes[read])


def _pieces(span: Range, size: int) -> list[Range]:
    return [(first, min(first + size, span[1])) for first in range(*span, size)]


def _together(rows: Array, columns: Array) -> tuple[Array, Array]:
    """The input on every row, and where every column goes, of the patches that drive a row here; -1: none."""
    acting = (rows >= 0).any(axis=1)
    return rows[acting].max(axis=0, initial=-1), columns[acting].max(axis=0, initial=-1)
