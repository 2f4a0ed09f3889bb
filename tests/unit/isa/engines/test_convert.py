"""Converters: what a product with the step's inverse gives is what the quotient gives, at any width."""

from __future__ import annotations

import time

import numpy as np
import pytest

from pimc_isa.engines.kernels.convert import converter
from pimc_isa.flow.forms import Conversion


@pytest.mark.parametrize("bits", [1, 8, 16, 17, 24, 32])
@pytest.mark.parametrize("scale", [1.0, 77.7, 1e6])
def test_inverse_and_quotient_agree(bits: int, scale: float) -> None:
    begin = time.process_time()
    conversion = Conversion(-(1 << bits - 1), (1 << bits - 1) - 1 or 1, ranged=True)
    c = converter(conversion, scale)
    assert time.process_time() - begin < 1  # the codes of wide converters are not looked at one by one
    if c.inverse:
        sums = np.random.default_rng(bits).integers(-(2**31), 2**31, 100_000).astype(float)
        inverse = np.clip(np.floor(sums * c.inverse + 0.5), c.lo, c.hi)
        np.testing.assert_array_equal(inverse, c.codes(sums))


def test_units_are_multiplied_at_any_width() -> None:
    assert converter(Conversion(0, (1 << 32) - 1), 0.0).inverse == 1.0
