"""Steps of recognition alone, given what is wrong: no step trusts the one before it."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from pimc.epitomes import values
from pimc.epitomes.axes import Origin, cells_of
from pimc.epitomes.overlap import Overlap
from pimc.epitomes.pack import matrix_of
from pimc.epitomes.place import placed
from pimc.epitomes.values import recognise
from pimc.frontend.epitomes import chain
from pimc.frontend.epitomes.chain import WeightChains
from tests.unit.epitomes.samples import Array, evenly
from tests.unit.epitomes.test_chain import CHAINS, chain_model

Index = tuple[tuple[int, int], Array]


def one_cell(weights: Array) -> Index:
    """A lie: every weight is the same cell."""
    return (1, 1), np.zeros(weights.shape, np.int32)


@pytest.mark.parametrize("kind", ["f32", "scaled"])
def test_an_index_that_is_wrong_is_seen(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    made = evenly((64, 64, 3, 3), (32, 48, 3, 3), (32, 16)).weights(kind, 0)
    monkeypatch.setattr(values, "_searched", lambda weights, codes, tolerance: one_cell(weights))
    assert recognise(made) is None


def test_a_chain_that_is_wrong_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chain, "cells_of", lambda numbers, origins: one_cell(numbers))
    monkeypatch.setattr(chain, "recognise", lambda numbers: None)
    model: onnx.ModelProto = chain_model(CHAINS["windows"][0])
    assert WeightChains(model).found("w") is None


def test_an_overlap_that_lies_joins_nothing() -> None:
    """Two blocks that an overlap says are equal, and are not, do not share places."""
    held = np.random.default_rng(0).integers(0, 9, (8, 4, 1, 1))
    lie = Overlap((4, 0, 0, 0), (0, 0), np.ones((4, 4), bool), 32.0)
    part, place = placed(held, 0.0, [lie], (np.array([0, 4, 8]), np.array([0, 4])), 32)
    seen: dict[tuple[int, ...], int] = {}
    for at in np.ndindex(held.shape):
        where = (int(part[at]), *place[at].tolist())
        assert seen.setdefault(where, int(held[at])) == held[at]
    assert len(seen) == held.size


def test_axes_of_outputs_are_columns() -> None:
    """Of an origin [6, 5, 2] the first axis goes with outputs, of one [4, 3] the second."""
    first = np.arange(60).reshape(6, 5, 2)
    second = 60 + np.arange(12).reshape(4, 3)
    numbers = np.full((9, 10, 1, 1), -1)
    numbers[:6, :, 0, 0] = first.reshape(6, 10)
    numbers[6:, :4, 0, 0] = second.T
    shape, cells = cells_of(numbers, [Origin(0, (6, 5, 2)), Origin(60, (4, 3))])
    assert shape[0] * shape[1] < 90
    columns = cells % shape[1]
    rows = cells // shape[1]
    assert all(len(set(columns[o, :, 0, 0].tolist())) == 1 for o in range(6))
    assert all(len(set(columns[o, :4, 0, 0].tolist())) == 1 for o in range(6, 9))
    assert all(len(set(rows[:6, i, 0, 0].tolist())) == 1 for i in range(10))
    assert (cells[6:, 4:] == -1).all()


def test_rectangles_do_not_overlap_in_the_matrix() -> None:
    rng = np.random.default_rng(1)
    for _ in range(50):
        sizes = rng.integers(1, 9, (int(rng.integers(1, 7)), 2))
        places = [(n, r, c) for n, (p, q) in enumerate(sizes) for r in range(p) for c in range(q)]
        part, row, column = np.array(places).T
        shape, cells = matrix_of(part, row, column)
        assert len(set(cells.tolist())) == len(cells)
        assert (cells >= 0).all()
        assert cells.max() < shape[0] * shape[1]
        for n in range(len(sizes)):  # a rectangle stays one
            r, c = np.divmod(cells[part == n], shape[1])
            assert (r - r[0] == row[part == n] - row[part == n][0]).all()
            assert (c - c[0] == column[part == n] - column[part == n][0]).all()
