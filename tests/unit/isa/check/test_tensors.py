"""Tensors of weights: shapes, types and values at the limits of what slices hold."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pimc_isa.check.tensors import weights_tensors
from pimc_isa.operands import Weights
from pimc_isa.program import Program
from tests.unit.isa.engines.tiny import machine, program

Array = np.ndarray
UNIPOLAR = Weights("w", 2, 5, 3, 4, (2, 2), False)  # 4 bits in two slices, two row blocks
BIPOLAR = replace(UNIPOLAR, bipolar=True)


def tensors(weights: Weights) -> dict[str, Array]:
    """What a right program holds, all zero."""
    blocks = (weights.groups, 2, weights.n)
    return {
        "codes": np.zeros((weights.groups, weights.k, weights.n), np.int16 if weights.bipolar else np.uint8),
        "polarity": np.zeros(blocks, np.uint8),
        "centre": np.zeros(blocks, np.int32),
    }


def problems(weights: Weights, held: dict[str, Array]) -> list[str]:
    p: Program = replace(program(machine(), ()), tensors={f"w.{part}": tensor for part, tensor in held.items()})
    return list(weights_tensors(p, weights))


@pytest.mark.parametrize("weights", [UNIPOLAR, BIPOLAR], ids=["unipolar", "bipolar"])
@pytest.mark.parametrize("part", ["codes", "polarity", "centre"])
def test_each_tensor_is_there_in_its_shape_and_type(weights: Weights, part: str) -> None:
    right = tensors(weights)
    assert not problems(weights, right)
    for wrong in (right[part][:1], right[part][..., :2], right[part][None], right[part].astype(np.float32)):
        assert len(problems(weights, {**right, part: wrong})) == 1
    without = {name: tensor for name, tensor in right.items() if name != part}
    assert problems(weights, without) == [f"the program has no tensor 'w.{part}'"]


@pytest.mark.parametrize(
    ("weights", "dtype", "legal"),
    [
        (UNIPOLAR, np.uint8, True),
        (UNIPOLAR, np.uint16, True),
        (UNIPOLAR, np.int16, False),
        (UNIPOLAR, np.int32, False),
        (BIPOLAR, np.int16, True),
        (BIPOLAR, np.int32, True),
        (BIPOLAR, np.uint8, False),
    ],
)
def test_types_of_codes(weights: Weights, dtype: type, legal: bool) -> None:
    right = tensors(weights)
    assert bool(problems(weights, {**right, "codes": right["codes"].astype(dtype)})) != legal


@pytest.mark.parametrize(
    ("weights", "part", "value", "legal"),
    [
        (UNIPOLAR, "codes", 15, True),
        (UNIPOLAR, "codes", 16, False),
        (BIPOLAR, "codes", 15, True),
        (BIPOLAR, "codes", 16, False),
        (BIPOLAR, "codes", -15, True),
        (BIPOLAR, "codes", -16, False),
        (UNIPOLAR, "polarity", 3, True),
        (UNIPOLAR, "polarity", 4, False),
        (UNIPOLAR, "centre", 16, True),
        (UNIPOLAR, "centre", 17, False),
        (UNIPOLAR, "centre", -16, True),
        (UNIPOLAR, "centre", -17, False),
    ],
)
@pytest.mark.parametrize("last", [True, False])
def test_values_that_slices_hold(weights: Weights, part: str, value: int, legal: bool, last: bool) -> None:
    held = tensors(weights)
    held[part].flat[-1 if last else 0] = value
    found = problems(weights, held)
    assert bool(found) != legal
    if found:
        assert str(abs(value)) in found[0]


def test_eight_bits_of_a_byte_need_no_look() -> None:
    weights = replace(UNIPOLAR, slices=(2, 2, 2, 2))
    held = tensors(weights)
    held["codes"][:] = 255
    assert not problems(weights, held)
    held["polarity"][:] = 16
    assert len(problems(weights, held)) == 1


def test_wrong_shapes_are_said_once_and_their_values_not_looked_at() -> None:
    held = tensors(UNIPOLAR)
    found = problems(UNIPOLAR, {**held, "codes": np.full((1, 1, 1), 200, np.uint8)})
    assert len(found) == 1
    assert "expected uint8 or uint16 or uint32 [2, 5, 3]" in found[0]
