"""Arithmetic of the vector instructions on cases worked out by hand, and properties that hold for all inputs."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pimc_isa.numerics import average_taps, fma, qadd, qmax, qmin, qmul, qsub, qsum, requantise
from pimc_isa.operands import Elementwise

F32 = np.float32
BYTES = np.arange(256, dtype=np.uint8)


def one(value: float) -> np.ndarray:
    return np.array([value], F32)


@pytest.mark.parametrize(
    ("acc", "zero", "expected"),
    [
        (1, 0, 0),  # 0.5 rounds to even
        (3, 0, 2),  # 1.5
        (5, 0, 2),  # 2.5
        (5, 3, 5),  # rounded before the zero point is added: 2 + 3
        (7, 3, 7),
        (-1, 3, 3),
        (-1000, 3, 0),
        (1000, 3, 255),
    ],
)
def test_requantise_clips_then_rounds_half_to_even_then_adds_the_zero_point(acc: int, zero: int, expected: int) -> None:
    y = requantise(np.array([[acc]], np.int32), one(0.5), np.zeros(1, np.int32), zero, 0, 255)
    assert y.dtype == np.uint8
    assert y.tolist() == [[expected]]


def test_requantise_adds_the_bias_in_32_bits_and_rounds_the_sum_to_float32() -> None:
    acc = np.array([[2**24, 2**31 - 1]], np.int32)
    bias = np.array([1, 1], np.int32)
    y = requantise(acc, np.array([2.0**-24, 2.0**-31], F32), bias, 128, 0, 255)
    assert y.tolist() == [[129, 127]]  # 2**24 + 1 is not a float32; 2**31 wraps to -2**31


def test_requantise_limits_are_stored_values() -> None:
    acc = np.arange(-300, 300, dtype=np.int32)[:, None]
    y = requantise(acc, one(1.0), np.zeros(1, np.int32), 10, 10, 200)
    np.testing.assert_array_equal(y[:, 0], np.clip(acc[:, 0] + 10, 10, 200))


@given(*(st.integers(-(2**23), 2**23).map(lambda v: F32(v) * F32(2.0**-20)) for _ in range(2)), st.integers(0, 255))
def test_fma_rounds_once(a: np.float32, b: np.float32, c: int) -> None:
    exact = Fraction(float(a)) * Fraction(float(b)) + c
    y = Fraction(float(fma(a, b, F32(c))))
    below, above = (Fraction(float(np.nextafter(F32(float(y)), F32(to)))) for to in (-np.inf, np.inf))
    assert abs(y - exact) <= min(abs(below - exact), abs(above - exact))


def test_qadd_of_equal_scales_is_integer_addition() -> None:
    a, b = np.meshgrid(BYTES, BYTES)
    s = Elementwise("s", (0.5, 3), (0.5, 7), (0.5, 11))
    expected = np.clip(a.astype(int) - 3 + b - 7 + 11, 0, 255)
    np.testing.assert_array_equal(qadd(a, b, s), expected)


def test_qadd_rounds_ties_to_even_with_the_zero_point_inside() -> None:
    s = Elementwise("s", (0.5, 0), (0.5, 0), (1.0, 1))
    zeros = np.zeros(4, np.uint8)
    assert qadd(np.array([1, 3, 5, 7], np.uint8), zeros, s).tolist() == [2, 2, 4, 4]  # 1.5, 2.5, 3.5, 4.5


@pytest.mark.parametrize(
    ("operation", "real"),
    [(qsub, lambda a, b: a - b), (qsum, lambda a, b: a + b), (qmax, np.maximum), (qmin, np.minimum)],
)
def test_pairs_of_real_numbers_by_hand(operation: Any, real: Any) -> None:
    """Scales of powers of two: no rounding but the last, and the zero point is added after it."""
    a, b = np.meshgrid(BYTES, BYTES)
    s = Elementwise("s", (0.5, 3), (0.25, 7), (1.0, 11), 20, 200)
    value = real((a.astype(float) - 3) / 2, (b.astype(float) - 7) / 4)
    np.testing.assert_array_equal(operation(a, b, s), np.clip(np.rint(value) + 11, 20, 200))


@pytest.mark.parametrize("operation", [qadd, qmul])
def test_int8_operands_round_as_signed_numbers(operation: object) -> None:
    """Ties fall to even numbers of the int8 value; the stored byte has the same parity because 128 is even."""
    assert callable(operation)
    s = Elementwise("s", (0.5, 128), (1.0, 129), (1.0, 128), offset=128)
    a = np.array([127, 129, 131], np.uint8)
    b = np.full(3, 130 if operation is qmul else 129, np.uint8)
    assert operation(a, b, s).tolist() == [128, 128, 130]  # -0.5, 0.5, 1.5


def test_qmul_rounds_after_adding_the_zero_point() -> None:
    s = Elementwise("s", (0.5, 0), (1.0, 0), (1.0, 1))
    assert qmul(np.array([1, 3, 5], np.uint8), np.ones(3, np.uint8), s).tolist() == [2, 2, 4]  # 1.5, 2.5, 3.5


def test_average_leaves_padding_out_of_sum_and_count() -> None:
    taps = np.array([10, 20, 7, 7], np.uint8).reshape(1, 1, 1, 4, 1)  # two lie outside, where 7 is held
    counts = np.full((1, 1, 1, 1), 2, F32)
    out, included = Elementwise("s", (1.0, 7), (1.0, 0), (1.0, 0)), Elementwise("s", (1.0, 7), (1.0, 1), (1.0, 0))
    assert average_taps(taps, counts, out).item() == 8  # (3 + 13) / 2
    assert average_taps(taps, counts, included).item() == 4  # (3 + 13) / 4


def test_average_of_nothing_divides_by_one() -> None:
    taps = np.full((1, 1, 1, 4, 1), 7, np.uint8)
    assert average_taps(taps, np.zeros((1, 1, 1, 1), F32), Elementwise("s", (1.0, 7), (1.0, 0), (1.0, 3))).item() == 3


def test_average_rounds_after_adding_the_zero_point() -> None:
    taps = np.array([1, 2], np.uint8).reshape(1, 1, 1, 2, 1)
    s = Elementwise("s", (1.0, 0), (1.0, 0), (1.0, 1))
    assert average_taps(taps, np.full((1, 1, 1, 1), 2, F32), s).item() == 2  # 1.5 + 1 = 2.5
