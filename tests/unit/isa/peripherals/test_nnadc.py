"""The converter as a function of one variable."""

from __future__ import annotations

import numpy as np
import pytest

from pimc_isa.peripherals import ideal_codes, nnadc
from pimc_isa.peripherals.nnadc import BUCKETS
from tests.unit.isa.peripherals.devices import nnadc_design

RANGES = (0.5, 0.25, 0.125)


def test_ideal_codes() -> None:
    lsb = 2 * 0.25 / 256
    volts = np.array([0, 0.49 * lsb, 0.5 * lsb, -0.5 * lsb, -0.51 * lsb, 1, -1])
    assert ideal_codes(volts, 0.25).tolist() == [0, 0, 1, 0, -1, 127, -128]


@pytest.mark.parametrize("v_max", RANGES)
def test_nominal_thresholds_are_near_the_ideal_ones(v_max: float) -> None:
    table = nnadc_design(v_max).nominal()
    ideal = (np.arange(-127, 128) - 0.5) * 2 * v_max / 256
    assert np.abs(table.thresholds() - ideal).max() < 0.5 * table.lsb


@pytest.mark.parametrize("v_max", RANGES)
def test_table_is_sorted_and_complete(v_max: float) -> None:
    for number in range(5):
        table = nnadc_design(v_max).draw(1, number)
        assert (np.diff(table.edges) > 0).all()
        assert len(table.codes) == len(table.edges) + 1
        assert len(table.first) == BUCKETS
        assert set(table.codes.tolist()) == set(range(-128, 128))
        assert (np.diff(table.thresholds()) >= 0).all()
        assert (table.codes[0], table.codes[-1]) == (-128, 127)


def test_codes_change_exactly_at_the_edges() -> None:
    table = nnadc_design(0.5).draw(2)
    at = nnadc(table, table.edges)
    before = nnadc(table, np.nextafter(table.edges, np.float32(-1)))
    np.testing.assert_array_equal(at, table.codes[1:])
    np.testing.assert_array_equal(before, table.codes[:-1])


def test_thresholds_agree_with_a_direct_search() -> None:
    table = nnadc_design(0.25).draw(4)
    ramp = np.linspace(-0.26, 0.26, 200_001)
    codes = nnadc(table, ramp)
    for code in (-127, -50, 0, 1, 64, 127):
        first = ramp[np.argmax(codes >= code)]
        assert table.thresholds()[code + 127] == pytest.approx(first, abs=3e-6)
