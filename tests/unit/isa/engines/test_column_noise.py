"""Noise of column sums against closed forms, an explicit model, and the referee."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pimc_backends import cascade, isaac, isaac_style, neural_pim, raella
from pimc_backends.neural_pim.peripherals.store import load
from pimc_isa.crossbar.cells import Cells
from pimc_isa.crossbar.exactness import full_scale, guarded_flags, sliced_dot
from pimc_isa.engines.dots.columns import ColumnLayer
from pimc_isa.engines.dots.model import PREFIX, AnalogModel, analog_model
from pimc_isa.engines.kernels import strays as strays_module
from pimc_isa.engines.kernels.convert import Converter
from pimc_isa.engines.kernels.noisy import numbers
from pimc_isa.engines.kernels.strays import Strays, count_codes
from pimc_isa.engines.noise import Noise, parse_noise
from pimc_isa.engines.step.analog import Hardware
from pimc_isa.engines.step.draws import key_of, normal
from pimc_isa.errors import RunError
from pimc_isa.flow import Flow, normal_form, parse_flow
from pimc_isa.operands import Weights
from pimc_isa.peripherals import to_tensors
from tests.unit.isa.engines.test_step_dots import BUFFERED, ONE_PAIR, K, group, layer, products
from tests.unit.isa.engines.test_values_summed import program

Array = np.ndarray
SHIPPED = (
    *(isaac.flow(), isaac.flow("isaac16"), cascade.flow(), isaac_style.flow(), neural_pim.flow()),
    *(raella.flow(), raella.flow((4, 4)), raella.flow((3, 3, 2), speculates=False), ONE_PAIR, BUFFERED),
)
FLOWS = {flow.name: flow for flow in SHIPPED}


def reads(bits: int, slices: str, read: str, converter: str) -> Flow:
    """A flow that drives the input bit by bit, or both bits at once."""
    driven = [(0, bits)] if converter.endswith("once") else [(bit, bit + 1) for bit in range(bits)]
    lines = [f".flow reads input_bits={bits} slices={slices} step_cycles=1 interval=20 latency=20", "@0 load"]
    for step, (lo, hi) in enumerate(driven, 1):
        lines += [f"@{step} drive {lo}:{hi}", f"@{step} read {read}".rstrip()]
        lines += [f"@{step + 1} convert {converter.removesuffix(' once')}", f"@{step + 2} accumulate <<{lo}"]
    return parse_flow("\n".join([*lines, "@12 merge", "@13 store"]))


def noisy(flow: Flow, weights: Weights, cells: Cells, part: float, seed: int = 9) -> ColumnLayer:
    g = group(flow, 0)
    scale = full_scale(weights, flow.input_bits, g.v_max, g.gain)
    where = (0, 0, 0), (), g.v_max, g.gain
    return ColumnLayer(cells, weights, normal_form(flow), scale, where, AnalogModel("ideal", seed, None, None, part))


def first_group(cells: Cells) -> Cells:
    return Cells(cells.codes[:1], cells.polarity[:1], cells.centre[:1])


@pytest.mark.parametrize(("read", "sign"), [("pairs", "signed 16"), ("sides", "unsigned 15"), ("", "unsigned 15")])
def test_512_rows_of_two_bits_by_two_bits_at_12_percent(read: str, sign: str) -> None:
    """Every product of 0..3 and 0..3 equally often: N+ + N- = 512 * 1.5**2 = 1152, sigma = 4.07 and a rounding."""
    flow = reads(2, "2", read, f"{sign} once")
    weights = Weights("w", 1, 512, 1, 512, (2,), bool(read))
    value, x = np.divmod(np.arange(512) % 16, 4)
    codes = (value * np.where(np.arange(512) < 256, 1, -1) if read else value).astype(np.int16)
    nothing = np.zeros((1, 1, 1), np.int32)
    ours = noisy(flow, weights, Cells(codes[None, :, None], nothing.astype(np.uint8), nothing), 0.12)
    error = ours(np.tile(x.astype(np.uint8), (20_000, 1, 1)), np.arange(20_000, dtype=np.uint64)) - x @ codes
    assert np.abs(x * codes).sum() == 1152
    roundings = 2 if read == "sides" else 1
    assert error.std() == pytest.approx(np.sqrt(4.07**2 + roundings / 12), rel=0.02)
    assert abs(error.mean()) < 0.1


def test_every_read_has_a_draw_of_its_own() -> None:
    """The variance of a dot product is the sum of those of its reads, each weighed by its place."""
    flow = reads(3, "1,1,1", "pairs", "signed 16")
    weights = Weights("w", 1, 90, 2, 64, (1, 1, 1), True)
    rng = np.random.default_rng(1)
    codes, x = rng.integers(-7, 8, (1, 90, 2)).astype(np.int16), rng.integers(0, 8, 90).astype(np.uint8)
    nothing = np.zeros((1, 2, 2), np.int32)
    ours = noisy(flow, weights, Cells(codes, nothing.astype(np.uint8), nothing), 2.0)
    error = ours(np.tile(x, (20_000, 1, 1)), np.arange(20_000, dtype=np.uint64)) - x.astype(np.int64) @ codes[0]
    variance = np.zeros(2)
    for i, j in np.ndindex(3, 3):
        for rows in (slice(64), slice(64, 90)):
            added = (x[rows] >> i & 1).astype(np.int64) @ (np.abs(codes[0, rows]) >> j & 1)
            variance += 4.0 ** (i + j) * (2.0**2 * added + 1 / 12)
    np.testing.assert_allclose(error.var(axis=0), variance, rtol=0.05)


@pytest.mark.parametrize("name", FLOWS)
def test_no_noise_is_the_reference(name: str) -> None:
    flow = FLOWS[name]
    weights, cells = layer(flow, 2)
    x = np.random.default_rng(3).integers(0, 1 << min(8, flow.input_bits), (30, 1, K)).astype(np.uint8)
    ours = noisy(flow, weights, first_group(cells), 0.0)
    positions = np.arange(30, dtype=np.uint64)
    expected = sliced_dot(x, ours.cells, weights, ours.form, ours.scale)[:, 0]
    np.testing.assert_array_equal(ours(x, positions), expected.astype(np.int32))
    expected = guarded_flags(x, ours.cells, weights, ours.form, ours.scale)
    np.testing.assert_array_equal(ours.flags(x, positions), expected)
    assert expected.any() == ("raella-4" in name)


@pytest.mark.parametrize("name", FLOWS)
@pytest.mark.parametrize("part", [0.05, 1.0])
def test_the_referee_makes_the_same_draws(name: str, part: float) -> None:
    flow = FLOWS[name]
    weights, cells = layer(flow, 2)
    made, g = program(weights, cells, flow), group(flow, 0)
    x = np.random.default_rng(3).integers(0, 1 << min(8, flow.input_bits), (4, K)).astype(np.uint8)
    positions = np.array([(2 << 32) + (3 << 16) + column for column in range(4, 8)], np.uint64)
    fast = noisy(flow, weights, first_group(cells), part)(x[:, None], positions)
    slow = products(made, g, x, Hardware(made, seed=9, columns=part))
    np.testing.assert_array_equal(slow, fast)
    assert part < 1 or (slow != products(made, g, x, Hardware(made))).any()


GUARDED = """.flow guarded input_bits=2 slices=1 step_cycles=1 interval=9 latency=9
  @0 load
  @1 drive 0:2
  @1 read pairs
  @2 convert signed 3 guarded
  @3 accumulate <<0
  @2 drive 0:2
  @2 read pairs
  @3 convert signed 8 flagged
  @4 accumulate <<0
  @5 merge
  @6 store
"""


def test_what_is_recovered_is_read_once_more() -> None:
    """Draw by draw: the same bits of the same slice, but another draw where a flag asks for them."""
    flow = parse_flow(GUARDED)
    rng = np.random.default_rng(5)
    codes, x = rng.integers(-1, 2, (1, 12, 7)).astype(np.int16), rng.integers(0, 4, (50, 12)).astype(np.uint8)
    nothing, weights = np.zeros((1, 1, 7), np.int32), Weights("w", 1, 12, 7, 16, (1,), True)
    ours = noisy(flow, weights, Cells(codes, nothing.astype(np.uint8), nothing), 0.5)
    positions = np.arange(50, dtype=np.uint64)
    p, added = (x.astype(np.float64) @ c[0].astype(np.float64) for c in (codes, np.abs(codes)))
    which = positions[:, None] * np.uint64(7) + np.arange(7, dtype=np.uint64)
    first, again = (p + 0.5 * np.sqrt(added) * normal(key_of(9, 4, "w", 0, 0, 0, 0, f), which) for f in (0, 1))
    speculated = np.clip(np.floor(first + 0.5), -4, 3)
    failed = (speculated == -4) | (speculated == 3)
    expected = np.where(failed, np.clip(np.floor(again + 0.5), -128, 127), speculated)
    np.testing.assert_array_equal(ours(x[:, None], positions), expected)
    np.testing.assert_array_equal(ours.flags(x[:, None], positions)[0, 0, :, 0], failed)
    assert 0.1 < failed.mean() < 0.9


@pytest.mark.parametrize("lo", [-4, 0])
@pytest.mark.parametrize("kind", ["all", "guarded", "flagged"])
def test_compiled_loops_are_the_numpy_form(lo: int, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(2)
    plus, minus = (rng.integers(0, 200, (50, 9)).astype(np.float32) for _ in range(2))
    strays = Strays(0.4, 99, numbers(np.arange(50, dtype=np.uint64), 9, 64, 11))
    found = []
    for loops in (True, False):
        if not loops:
            monkeypatch.setattr(strays_module, "compiled", lambda _: None)
        total, flags = np.ones((50, 9), np.int64), np.zeros((50, 9), np.bool_)
        only = np.arange(450).reshape(50, 9) % 3 == 0 if kind == "flagged" else None
        for sums in ((plus, minus), (plus[::-1], None)):
            converter, weight = Converter(3.0, lo, 27, 0.0), np.arange(-4, 5) << 3
            count_codes(sums, strays, converter, weight, total, only, flags if kind == "guarded" else None)
        found.append((total, flags))
    for fast, slow in zip(*found, strict=True):
        np.testing.assert_array_equal(fast, slow)
    assert found[0][1].any() == (kind == "guarded")
    assert len(np.unique(found[0][0])) > 20


@pytest.mark.parametrize("kind", ["fitted", "trained"])
def test_peripherals_that_are_not_ideal_are_refused(kind: str) -> None:
    flow = neural_pim.flow()
    plain = program(*layer(flow, 4), flow)
    made = replace(plain, tensors={**plain.tensors, **to_tensors(load(), PREFIX)}, meta={"peripherals": kind})
    noise = parse_noise(1, "column=0.1")
    for judge in (analog_model, Hardware.of):
        with pytest.raises(RunError, match="ideal"):
            judge(made, noise)


def test_texts() -> None:
    noise = parse_noise(3, "column=0.06")
    assert (noise, str(noise)) == (Noise(3, column=0.06), "column=0.06, seed 3")
    for text in ("column", "column=", "column=-0.1", "column=inf", "column=nan", "column=0.1:cell=0", "columns=0.1"):
        with pytest.raises(RunError, match=r"noise model .*\nwrite .*column=0\.06"):
            parse_noise(1, text)
