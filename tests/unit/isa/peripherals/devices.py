"""Hand-made peripherals: no training, but every structure that a trained set has."""

from __future__ import annotations

import numpy as np

from pimc_isa.peripherals import Columns, ErrorModel, Inverters, NnadcDesign, NnsaDesign, Peripherals

Array = np.ndarray


def cells(differences: Array | list[list[int]], common: int = 0) -> Columns:
    """Columns with these conductance differences and ``common`` in both cells where it fits."""
    n = np.asarray(differences)
    rest = np.minimum(common, 7 - np.abs(n))
    return Columns((np.maximum(n, 0) + rest).astype(np.uint8), (np.maximum(-n, 0) + rest).astype(np.uint8))


def curves(gain: float, count: int = 16) -> Inverters:
    """Curve 0 nominal, the others off by a few percent and millivolts."""
    off = np.linspace(0, 1, count) * np.where(np.arange(count) % 2, 1, -1)
    return Inverters(gain * (1 + 0.05 * off), 0.003 * off[::-1] * (np.arange(count) > 0), 1.2 * (1 + 0.01 * off))


def nnsa_design() -> NnsaDesign:
    """Twelve equal neurons whose columns hold 7, 4, 2, 1 for the upper four bits."""
    hidden = np.array([0, 0, 0, 0, 1, 2, 4, 7, 1, 0])
    rows = np.tile(hidden, (12, 1))
    rows[:, 9] = np.arange(12) - 6
    return NnsaDesign(cells(rows, 4), cells(np.full((1, 12), 6)), curves(4.0), 1.2, 0.5, 0.025, 1 / 16, 1 / 272)


def nnadc_design(v_max: float) -> NnadcDesign:
    """The analytic solution: comparators at odd sevenths, residues of seven times the input minus the decisions."""
    sub = cells([[7, -k] for k in (-5, -3, -1, 1, 3, 5) for _ in range(2)])
    output = cells(np.kron(np.eye(6, dtype=np.int64), [[7, 7]]))
    residue = cells([[7, -1, -1, -1, -1, -1, -1, 0]] * 12)
    return NnadcDesign(v_max, sub, output, residue, cells_of(7, 2, 12), curves(12.0), 0.025)


def cells_of(up: int, low: int, count: int) -> Columns:
    """One column of equal pairs."""
    return Columns(np.full((1, count), up, np.uint8), np.full((1, count), low, np.uint8))


def peripherals() -> Peripherals:
    """A whole set with an error model that is not symmetric."""
    knots = np.linspace(-1, 1, 9)
    errors = ErrorModel((0.001 * knots).astype(np.float32), (0.001 + 0.001 * knots**2).astype(np.float32))
    adcs = tuple(nnadc_design(v_max) for v_max in (0.5, 0.25, 0.125))
    return Peripherals((nnsa_design(), nnsa_design()), adcs, (errors,) * 5)
