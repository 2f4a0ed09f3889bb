"""Random programs: lifted and shared, lifted tile by tile, and row by row must agree on every tensor."""

from __future__ import annotations

from random import Random

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pimc_isa.engines.values import Executor
from tests.properties.programs import random_images, random_program


def assert_agree(rng: Random) -> None:
    program = random_program(rng)
    inputs = random_images(rng, program, 2)
    lifted = Executor(program)
    assert not lifted.lifted.rowwise
    kept = lifted.run(inputs, keep=True)
    for other in (Executor(program, merge=False), Executor(program, rowwise=True)):
        result = other.run(inputs, keep=True)
        assert result.tensors.keys() == kept.tensors.keys()
        for name, tensor in kept.tensors.items():
            np.testing.assert_array_equal(result.tensors[name], tensor, name)
        for name, output in kept.outputs.items():
            np.testing.assert_array_equal(result.outputs[name], output, name)
    for name, output in lifted.run(inputs).outputs.items():  # fused, freed early
        np.testing.assert_array_equal(output, kept.outputs[name])


@settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(st.randoms(use_true_random=False))
def test_three_ways_of_running_agree(rng: Random) -> None:
    assert_agree(rng)


@pytest.mark.slow
@pytest.mark.parametrize("block", range(5))
def test_many_programs(block: int) -> None:
    for seed in range(10_000 + 100 * block, 10_000 + 100 * block + 100):
        assert_agree(Random(seed))
