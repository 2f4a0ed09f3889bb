"""Levels of cells along word lines: what a unit of an input sends current through.

A cell holds one field of a code; of a pair of columns one cell holds it and the other none. A unit column's cells hold
one level.
"""

from __future__ import annotations

import numpy as np

from pimc_isa.crossbar.cells import slice_shifts
from pimc_isa.crossbar.rounds import CrossbarRead
from pimc_isa.operands import Group, Weights
from pimc_isa.program import Program

__all__ = ["group_levels", "read_levels"]

Array = np.ndarray


def group_levels(program: Program, group: Group, units: int) -> Array:
    """Summed levels of the cells that each input meets, in all crossbars of a copy: int64 [groups, k].

    ``units``: unit columns in use.
    """
    (g0, g1), (k0, k1), (n0, n1) = group.groups, group.k, group.n
    weights = program.weight[group.weights]
    codes = program.tensors[f"{group.weights}.codes"][g0:g1, k0:k1, n0:n1]
    blocks = -(-(k1 - k0) // weights.block_rows)
    found: Array = _levels(codes, weights).sum(axis=2)
    return found + units // ((g1 - g0) * blocks)


def read_levels(program: Program, group: Group, read: CrossbarRead) -> Array:
    """The same in one crossbar in one round: int64 [rows of ``read``]."""
    codes = program.tensors[f"{group.weights}.codes"][0][np.ix_(read.rows, read.columns)]
    found: Array = _levels(codes, program.weight[group.weights]).sum(axis=1)
    return found + program.machine.array.unit_columns


def _levels(codes: Array, weights: Weights) -> Array:
    """Levels of all cells of each code."""
    held = np.abs(codes.astype(np.int32))
    found = np.zeros(codes.shape, np.int64)
    for shift, width in zip(slice_shifts(weights.slices), weights.slices, strict=True):
        found += held >> shift & (1 << width) - 1
    return found
