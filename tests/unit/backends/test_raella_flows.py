"""RAELLA's slicings: all of them in order, and what is usual where cells are narrower."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest

from pimc import driver
from pimc_backends.raella.flows import all_slicings, usual_slicing
from pimc_isa.flow import check_flow


@pytest.mark.parametrize(("widest", "number"), [(1, 1), (2, 34), (4, 108), (8, 128), (64, 128)])
def test_every_slicing_once_by_length_then_width(widest: int, number: int) -> None:
    """Against all tuples; cells wider than a weight offer nothing more."""
    widths = range(min(widest, 8), 0, -1)
    wanted = [each for n in range(1, 9) for each in product(widths, repeat=n) if sum(each) == 8]
    assert list(all_slicings(widest)) == wanted
    assert len(wanted) == number


@pytest.mark.parametrize("cell_bits", [1, 2, 3, 5])
def test_narrow_cells_have_slices_of_their_own(cell_bits: int) -> None:
    narrow: dict[str, Any] = {"array.cell_bits": cell_bits}
    target, _ = driver.choose("raella", **narrow)
    usual = usual_slicing(cell_bits)
    assert usual == {1: (1,) * 8, 2: (2,) * 4, 3: (3, 3, 2), 5: (4, 2, 2)}[cell_bits]
    flow = target.flow[target.conv_flow]
    assert flow.slices == usual[::-1]
    check_flow(flow, target.machine)
