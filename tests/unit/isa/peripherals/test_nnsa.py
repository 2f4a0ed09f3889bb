"""The exact recursion and the network evaluated two ways."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pimc_isa.errors import ProgramError
from pimc_isa.peripherals import Columns, exact_sums, nnsa, nnsa_ideal
from pimc_isa.peripherals.devices import saturate, transfer
from tests.unit.isa.peripherals.devices import cells, curves, nnsa_design

Array = np.ndarray


def dot_and_sums(rng: np.random.Generator, dac_bits: int) -> tuple[Array, Array]:
    """Dot products of 8-bit inputs and weights, and the column sums of their slices and bits [3, slices, 8, 5]."""
    x = rng.integers(0, 256, (3, 128))
    w = rng.integers(-255, 256, (128, 5))
    bits = np.stack([(np.abs(w) >> j & 1) * np.sign(w) for j in range(8)])
    slices = np.stack([x >> lo & ((1 << dac_bits) - 1) for lo in range(0, 8, dac_bits)])
    return x @ w, np.einsum("ipr,jro->pijo", slices, bits)


@pytest.mark.parametrize("dac_bits", [1, 2, 4, 8])
def test_recursion_is_the_dot_product(dac_bits: int) -> None:
    dot, p = dot_and_sums(np.random.default_rng(dac_bits), dac_bits)
    held = np.zeros(dot.shape)
    for i in range(p.shape[1]):
        held = nnsa_ideal(np.moveaxis(p[:, i], 1, 2), held, dac_bits)
    alpha = 255 / (1 - 2.0**-dac_bits)
    np.testing.assert_allclose(held * alpha * 2.0 ** (8 - dac_bits), dot, rtol=1e-12)
    np.testing.assert_array_equal(exact_sums(p, dac_bits), dot)


@given(st.integers(1, 8), st.lists(st.floats(-1, 1), min_size=9, max_size=9))
def test_recursion_stays_in_range(dac_bits: int, inputs: list[float]) -> None:
    x = np.array(inputs)
    assert abs(nnsa_ideal(x[:8], x[8], dac_bits)) <= 1 + 1e-12


def test_columns_are_passive_dividers() -> None:
    columns = cells([[7, -3, 0], [1, 1, 1]], 2)
    np.testing.assert_allclose(columns.weights()[1], [1 / 15, 1 / 15, 1 / 15])
    np.testing.assert_allclose(columns.weights()[0], [7 / 18, -3 / 18, 0])
    assert (np.abs(columns.weights()).sum(axis=1) <= 1).all()


@pytest.mark.parametrize(("up", "low"), [([[8]], [[0]]), ([[0]], [[0]]), ([[1, 1]], [[1]])])
def test_impossible_cells_are_refused(up: list[list[int]], low: list[list[int]]) -> None:
    with pytest.raises(ProgramError, match="peripheral cells"):
        Columns(np.array(up, np.uint8), np.array(low, np.uint8))


def test_curve_is_odd_monotone_and_ends_at_the_rails() -> None:
    z = np.linspace(-2, 2, 4001)
    y = saturate(z)
    np.testing.assert_allclose(y, -y[::-1], atol=1e-15)
    assert (np.diff(y) >= 0).all()
    assert y[0] == -1
    assert y[-1] == 1
    u = np.array([0.01 - 1e-6, 0.01 + 1e-6])
    slope = np.diff(transfer(u, np.array(5.0), np.array(0.01), np.array(1.2))) / 2e-6
    assert slope == pytest.approx(5.0, rel=1e-6)


def test_instance_is_the_network_written_out() -> None:
    design = nnsa_design()
    rng = np.random.default_rng(1)
    x, held = rng.uniform(-0.5, 0.5, (50, 8)), rng.uniform(-0.5, 0.5, 50)
    inputs = np.concatenate([x, held[:, None], np.full((50, 1), 1.2)], axis=1)
    hidden = transfer(inputs @ design.hidden.weights().T, *design.inverters.nominal(12))
    gain, offset = design.driver()
    expected = gain * (hidden @ design.output.weights()[0]) + offset
    np.testing.assert_allclose(nnsa(design.nominal(), x, held), expected, atol=2e-6)


def test_trimming_removes_gain_and_offset() -> None:
    design = nnsa_design()
    x = np.random.default_rng(2).uniform(-0.5, 0.5, (2000, 9))
    truth = design.ideal(x[:, :8], x[:, 8])
    errors = [
        np.mean((nnsa(design.draw(5, number, trimmed), x[:, :8], x[:, 8]) - truth) ** 2)
        for trimmed in (True, False)
        for number in range(8)
    ]
    assert np.mean(errors[:8]) < np.mean(errors[8:])


def test_draws_depend_on_seed_and_number_only() -> None:
    design = nnsa_design()
    first, again = design.draw(3, 1), design.draw(3, 1)
    np.testing.assert_array_equal(first.hidden, again.hidden)
    assert not np.array_equal(first.hidden, design.draw(3, 2).hidden)
    assert not np.array_equal(first.hidden, design.draw(4, 1).hidden)


def test_spread_of_drawn_weights() -> None:
    columns = cells(np.full((200, 10), 7))
    ratio = columns.drawn(0.025, 1, 2) / columns.weights()
    assert np.log(ratio).std() == pytest.approx(0.025, rel=0.05)
    picks = curves(4.0).drawn(4000, 1)[0]
    assert len(np.unique(picks)) == 16
