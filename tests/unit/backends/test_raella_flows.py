"""RAELLA's slicings: all of them in order, and what is usual where cells are narrower."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest

from pimc import driver
from pimc.passes.target import TargetError
from pimc_backends import raella
from pimc_backends.raella.flows import all_slicings, speculated_slices, usual_slicing
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


@pytest.mark.parametrize(
    ("dac_bits", "widths"), [(4, (4, 2, 2)), (3, (3, 1, 2, 2)), (2, (2, 2, 2, 2)), (1, (1,) * 8), (8, (4, 2, 2))]
)
def test_narrow_dacs_speculate_in_narrow_slices(dac_bits: int, widths: tuple[int, ...]) -> None:
    """With one bit there is nothing to speculate on."""
    assert speculated_slices(dac_bits) == widths
    narrow: dict[str, Any] = {"array.dac_bits": dac_bits} if dac_bits < 4 else {}
    target, _ = driver.choose("raella", **narrow)
    guards = {sum(op.text().endswith("guarded") for op in flow.ops) for flow in target.flows if not flow.signed}
    assert guards == ({0, len(widths)} if dac_bits > 1 else {0})
    for flow in target.flows[:3]:
        check_flow(flow, target.machine)


def test_an_option_that_cannot_be() -> None:
    with pytest.raises(TargetError, match="speculation 'maybe' does not exist"):
        raella.target(speculation="maybe")
