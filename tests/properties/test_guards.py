"""Random programs whose flows have guarded conversions: all engines agree on every row, on quiet and noisy chips."""

from __future__ import annotations

from random import Random

import numpy as np
import pytest

from pimc_isa.check import check
from pimc_isa.engines import values
from tests.properties.programs import random_images, random_program
from tests.properties.test_engines_agree import assert_values_agree, noise_of, slow


def agree(seed: int) -> None:
    rng = Random(seed)
    program = random_program(rng, 3, guarded=True)
    check(program)
    images = rng.randint(1, 2)
    inputs, noise = random_images(rng, program, images), noise_of(seed)
    result = slow(program, inputs, images, True, noise)
    if result is None:
        return
    assert_values_agree(program, inputs, result, noise)
    for how in ({"rowwise": True}, {"merge": False}, {"prove": False}):
        computed = values.Executor(program, noise=noise, **how).run(inputs)
        for name, expected in result.outputs.items():
            np.testing.assert_array_equal(computed.outputs[name], expected)


@pytest.mark.parametrize("seed", range(40))
def test_engines_agree(seed: int) -> None:
    agree(seed)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1000, 1400))
def test_engines_agree_on_many(seed: int) -> None:
    agree(seed)
