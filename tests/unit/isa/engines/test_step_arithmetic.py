"""The referee's vector arithmetic against ``numerics``, which onnxruntime's own operators hold in the differential
tests, on operands of both storage offsets (uint8 and int8) and of any scale."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from pimc_isa import numerics
from pimc_isa.engines.step import arithmetic
from pimc_isa.operands import Elementwise, Requant

Array = np.ndarray
Pairing = Callable[[Array, Array, Elementwise], Array]
SEEDS = range(40)


def operands(rng: np.random.Generator, signed: bool) -> Elementwise:
    scales = np.exp(rng.uniform(-6, 2, 3)).astype(np.float32)
    zeros = rng.integers(0, 256, 3)
    lo = int(rng.integers(0, 100))
    sides = [(float(s), int(z)) for s, z in zip(scales, zeros, strict=True)]
    return Elementwise("e", sides[0], sides[1], sides[2], lo, int(rng.integers(lo, 256)), offset=128 * signed)


def rows(rng: np.random.Generator) -> Array:
    return rng.integers(0, 256, (7, 5)).astype(np.uint8)


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("name", ["add", "mul", "sub", "max", "min", "sum"])
def test_elementwise(name: str, signed: bool) -> None:
    both: dict[str, tuple[Pairing, Pairing]] = {
        "add": (arithmetic.add_rows, numerics.qadd),
        "mul": (arithmetic.multiply_rows, numerics.qmul),
        "sub": (partial(arithmetic.real_rows, np.subtract), numerics.qsub),
        "max": (partial(arithmetic.real_rows, np.maximum), numerics.qmax),
        "min": (partial(arithmetic.real_rows, np.minimum), numerics.qmin),
        "sum": (partial(arithmetic.real_rows, np.add), numerics.qsum),
    }
    ours, theirs = both[name]
    spread = 0
    for seed in SEEDS:
        rng = np.random.default_rng(seed)
        s, a, b = operands(rng, signed), rows(rng), rows(rng)
        expected = theirs(a, b, s)
        np.testing.assert_array_equal(ours(a, b, s), expected, err_msg=str(s))
        spread += int(np.ptp(expected) > 0)
    assert spread > len(SEEDS) // 4


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("padding_counts", [False, True])
def test_averages(padding_counts: bool, signed: bool) -> None:
    for seed in SEEDS:
        rng = np.random.default_rng(seed)
        s = operands(rng, signed)
        s = replace(s, b=(1.0, int(padding_counts)))
        taps = rng.integers(0, 256, (6, 9, 4)).astype(np.uint8)
        inside = rng.random((6, 9)) < 0.7
        inside[0] = False  # wholly outside
        counts = inside.sum(axis=1, dtype=np.float32)[None, None, :, None]
        expected = numerics.average_taps(taps[None, None], counts, s)[0, 0]
        np.testing.assert_array_equal(arithmetic.average(taps, inside, s), expected, err_msg=str(s))


def test_requantisation() -> None:
    """Sums near the ends of i32 included: the bias wraps."""
    for seed in SEEDS:
        rng = np.random.default_rng(seed)
        lo, zero = int(rng.integers(0, 100)), int(rng.integers(0, 256))
        q = Requant("q", "q", zero, lo, int(rng.integers(lo, 256)))
        reach = 2**31 if seed % 4 == 0 else 20_000
        sums = rng.integers(-reach, reach, (9, 5)).astype(np.int32)
        bias = rng.integers(-reach, reach, 5).astype(np.int32)
        multiplier = np.exp(rng.uniform(-9, -3, 5)).astype(np.float32)
        expected = numerics.requantise(sums, multiplier, bias, zero, q.lo, q.hi)
        np.testing.assert_array_equal(arithmetic.requantise(sums, multiplier, bias, q), expected)
