"""Slices of weights and of inputs as data: every way to cut 8 bits computes the same product, if nothing is lost."""

from __future__ import annotations

from dataclasses import replace
from itertools import accumulate, pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pimc.analysis.dataflow import Dataflow, lossless
from pimc.analysis.modulo import schedule
from pimc_backends import neural_pim
from pimc_backends.kit import widened
from pimc_isa.crossbar.cells import Cells, encode, encode_differential
from pimc_isa.crossbar.exactness import conversions_exact, sliced_dot
from pimc_isa.engines.dots.layer import Layer, LayerPart
from pimc_isa.engines.step.actions import Ledger
from pimc_isa.engines.step.analog import Hardware
from pimc_isa.engines.step.dots import Dots
from pimc_isa.errors import FlowError
from pimc_isa.flow import Flow, check_flow
from pimc_isa.machine import Machine
from pimc_isa.operands import Group, Weights
from tests.unit.isa.engines.test_values_summed import program

Array = np.ndarray
Slicing = tuple[int, ...]
K, N, ROWS = 40, 3, 16


def slicings(bits: int, widest: int = 4) -> list[Slicing]:
    """All ways to write ``bits`` as a sum of widths up to ``widest``, in order."""
    if bits == 0:
        return [()]
    return [(n, *rest) for n in range(1, min(widest, bits) + 1) for rest in slicings(bits - n, widest)]


ALL = slicings(8)
ENCODINGS = [("A", "plain"), ("A", "flipped"), ("A", "pairs"), ("A", "sides"), ("B", "flipped"), ("B", "pairs")]
ENCODINGS += [("C", "flipped"), ("C", "pairs")]


def chip(dataflow: Dataflow) -> Machine:
    """Cells and DACs of 4 bits, converters and buffer cells as wide as it takes."""
    base = neural_pim.machine()
    parts = {"rows": ROWS, "cell_bits": 4, "dac_bits": 4, "buffer_writes_per_step": 128, "buffer_arrays": 64}
    array = replace(base.array, **parts)
    return widened(replace(base, array=array), dataflow)


def made(kind: str, encoding: str, weights: Slicing, inputs: Slicing) -> tuple[Dataflow, Flow]:
    """The flow of a dataflow that loses nothing."""
    cut = Dataflow(kind, encoding=encoding, weight_slicing=weights, input_slicing=inputs)
    dataflow = lossless(cut, ROWS)
    return dataflow, schedule(dataflow, chip(dataflow), "x")


def operands(dataflow: Dataflow, seed: int) -> tuple[Array, Array, Weights, Cells]:
    """Inputs [positions, k], weights [k, n] and their cells, the largest values among them."""
    rng = np.random.default_rng(seed)
    values, x = rng.integers(-128, 128, (K, N)), rng.integers(0, 256, (4, K))
    values[:, 0], x[0] = -128, 255
    held = Weights("w", 1, K, N, ROWS, dataflow.slices, dataflow.bipolar)
    coded = (encode_differential if dataflow.bipolar else encode)(values[None], dataflow.slices, ROWS)
    return x, values, held, coded


def judge(dataflow: Dataflow, flow: Flow, seed: int) -> None:
    """The normal form covers the grid, is proved exact, and is the integer product."""
    form = check_flow(flow, chip(dataflow))
    assert [hi - lo for lo, hi in form.input_slices] == list(dataflow.input_slicing[::-1])
    assert form.weight_shifts == (0, *accumulate(dataflow.weight_slicing[::-1]))[:-1]
    x, values, held, coded = operands(dataflow, seed)
    assert conversions_exact(coded, held, form).holds
    np.testing.assert_array_equal(sliced_dot(x[:, None], coded, held, form)[:, 0], x @ values)


def test_all_108_slicings_are_tried() -> None:
    assert len(ALL) == len(set(ALL)) == 108
    assert all(sum(widths) == 8 for widths in ALL)


@pytest.mark.parametrize(("kind", "encoding"), ENCODINGS)
def test_every_slicing_of_weights_is_the_integer_product(kind: str, encoding: str) -> None:
    for n, weights in enumerate(ALL):
        judge(*made(kind, encoding, weights, ALL[(7 * n + 3) % len(ALL)]), n)


@pytest.mark.parametrize(("kind", "encoding"), ENCODINGS)
def test_every_slicing_of_inputs_is_the_integer_product(kind: str, encoding: str) -> None:
    for n, inputs in enumerate(ALL):
        judge(*made(kind, encoding, ALL[(11 * n + 5) % len(ALL)], inputs), n)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.sampled_from(ENCODINGS), st.sampled_from(ALL), st.sampled_from(ALL), st.integers(0, 2**32 - 1))
def test_the_referee_and_the_values_engine_agree(
    how: tuple[str, str], weights: Slicing, inputs: Slicing, seed: int
) -> None:
    """Also where converters are too narrow, and sums clip."""
    wide, _ = made(*how, weights, inputs)
    bits = max(4, wide.conversion_bits(ROWS) // 2)
    narrow = replace(wide, converter_bits=bits)
    for dataflow, exact in ((wide, True), (narrow, False)):
        flow = schedule(dataflow, chip(wide), "x")
        x, values, held, coded = operands(dataflow, seed)
        alone = program(held, coded, flow)
        group = Group("g", "w", "x", (0, K), (0, N), (0, 1), 1)
        step = Dots(alone, Hardware(alone)).products(group, 0, x, (0, 0, range(len(x))), Ledger())
        layer = Layer(alone, LayerPart.of(group))
        np.testing.assert_array_equal(layer.dense(x.astype(np.uint8)), step)
        if exact:
            np.testing.assert_array_equal(step, x @ values)


@pytest.mark.parametrize(("kind", "encoding"), ENCODINGS)
@pytest.mark.parametrize("width", [1, 2, 3, 4])
def test_uniform_slices_are_those_of_cells_and_dacs(kind: str, encoding: str, width: int) -> None:
    """Written out or not: the same flow, micro-operation by micro-operation."""
    low_first = [hi - lo for lo, hi in pairwise([*range(0, 8, width), 8])]
    uniform = lossless(Dataflow(kind, cell_bits=width, dac_bits=width, encoding=encoding), ROWS)
    written = replace(uniform, weight_slicing=tuple(low_first[::-1]), input_slicing=tuple(low_first[::-1]))
    assert schedule(written, chip(uniform), "x") == schedule(uniform, chip(uniform), "x")


def test_high_bits_come_first_as_papers_write_them() -> None:
    dataflow, flow = made("A", "pairs", (4, 2, 2), (4, 3, 1))
    assert flow.slices == dataflow.slices == (2, 2, 4)
    assert dataflow.input_slices == ((0, 1), (1, 4), (4, 8))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"weight_slicing": (4, 2)}, "slices 4-2 do not make up weights of 8 bits"),
        ({"input_slicing": (4, 4, 0)}, "slices 4-4-0 do not make up inputs of 8 bits"),
        ({"input_slicing": (4, 4, 4)}, "slices 4-4-4 do not make up inputs of 8 bits"),
        ({"weight_slicing": (5, 3)}, "weight slices of 5 bits do not fit 4-bit cells"),
        ({"input_slicing": (2, 6)}, "the slice does not fit the DACs"),
    ],
)
def test_slicings_that_cannot_be(fields: dict[str, Any], message: str) -> None:
    plain = Dataflow("A", converter_bits=12)
    with pytest.raises(FlowError, match=message):
        schedule(replace(plain, **fields), chip(plain), "x")
