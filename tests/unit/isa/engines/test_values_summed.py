"""One conversion of a row block's whole sum: products of row blocks against the slow reference."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pimc_isa import jit
from pimc_isa.crossbar.cells import Cells, encode_differential
from pimc_isa.crossbar.exactness import sliced_dot
from pimc_isa.engines.dots.layer import Layer, LayerPart
from pimc_isa.engines.kernels import convert, gemm
from pimc_isa.engines.kernels.convert import add_codes, converter
from pimc_isa.engines.kernels.windows import WindowGeometry
from pimc_isa.engines.kernels.windows import taps as taps_of
from pimc_isa.flow import Block, Conversion, Flow, NormalForm, normal_form, parse_flow
from pimc_isa.operands import Weights, Window
from pimc_isa.program import Program
from tests.unit.isa.engines.tiny import machine

Array = np.ndarray


def whole_flow(bits: int = 8, ranged: bool = True, counted: bool = False) -> Flow:
    """Two input slices of four bits folded in analog, one conversion: dataflow C of Neural-PIM.

    ``counted``: with the sums of inputs for a correction.
    """
    how = f"convert signed {bits} " + ("ranged" if ranged else "step=300")
    lines = ["@0 load", "@1 drive 0:4", "@1 read pairs", "@2 drive 4:8", "@2 read pairs", "@2 fold >>4", "@3 fold >>4"]
    lines += [f"@4 {how}", "@5 merge", *(["@6 scale"] if ranged else []), "@7 store"]
    lines += ["@1 count-inputs 0:4", "@2 count-inputs 4:8", "@5 correct"] if counted else []
    head = ".flow whole input_bits=8 slices=1,1,1,1,1,1,1,1 step_cycles=120 interval=3 latency=8"
    return parse_flow("\n".join([head, *lines]))


def program(weights: Weights, cells: Cells, flow: Flow) -> Program:
    """Nothing but weights and a flow."""
    tensors = {f"w.{name}": getattr(cells, name) for name in ("codes", "polarity", "centre")}
    return Program(machine(), (), (), (flow,), (weights,), (), (), tensors)


def reference(x: Array, cells: Cells, weights: Weights, form: NormalForm, scale: float, cuts: list[int]) -> Array:
    """Crossbar group by crossbar group, each rounded on its own."""
    edges = [0, *cuts, x.shape[2]]
    total = np.zeros((x.shape[0], x.shape[1], weights.n), np.int64)
    for first, last in pairwise(edges):
        b = slice(first // weights.block_rows, -(-last // weights.block_rows))
        part = Cells(cells.codes[:, first:last], cells.polarity[:, b], cells.centre[:, b])
        total += sliced_dot(x[:, :, first:last], part, weights, form, scale)
    return total


@settings(deadline=None, max_examples=60)
@given(
    st.integers(0, 2**32 - 1),
    st.integers(1, 3),
    st.integers(1, 5),
    st.booleans(),
    st.booleans(),
    st.sampled_from([0.5, 0.25, 0.125]),
    st.floats(1, 300),
)
def test_row_blocks_by_products_are_the_reference(
    seed: int, groups: int, blocks: int, ranged: bool, centred: bool, v_max: float, gain: float
) -> None:
    rng = np.random.default_rng(seed)
    rows, n = 32, int(rng.integers(1, 20))
    k = int(rng.integers((blocks - 1) * rows + 1, blocks * rows + 1))
    values = rng.integers(-128, 128, (groups, k, n)).astype(np.int16)
    weights = Weights("w", groups, k, n, rows, (1,) * 8, True)
    cells = encode_differential(values, weights.slices, rows, centred=centred)
    flow = whole_flow(int(rng.integers(4, 10)), ranged, centred)
    cuts = sorted({int(c) * rows for c in rng.integers(1, blocks, 2)}) if blocks > 1 else []
    part = LayerPart("", "w", "whole", (0, k), (0, n), (0, groups), 1, v_max if ranged else 0.0, gain, cuts=tuple(cuts))
    layer = Layer(program(weights, cells, flow), part)
    assert layer.summed is not None
    x = rng.integers(0, 256, (7, groups, k)).astype(np.uint8)
    x[0] = 255
    scale = part.full_scale(program(weights, cells, flow))
    expected = reference(x, cells, weights, normal_form(flow), scale, cuts).reshape(7, -1)
    ours = layer.dense(x[:, 0]) if groups == 1 else layer.grouped(x)
    np.testing.assert_array_equal(ours, expected)
    np.testing.assert_array_equal(layer.sliced(x), expected)


@pytest.mark.parametrize("centred", [False, True])
@pytest.mark.parametrize("kernel", [(3, 3), (2, 1)])
def test_depthwise_layers_by_taps_are_the_reference(centred: bool, kernel: tuple[int, int]) -> None:
    """Padding counts as an input: the sums of inputs have it too."""
    rng = np.random.default_rng(7)
    taps, chans = kernel[0] * kernel[1], 5
    values = rng.integers(-128, 128, (chans, taps, 1)).astype(np.int16)
    weights = Weights("w", chans, taps, 1, 32, (1,) * 8, True)
    cells = encode_differential(values, weights.slices, 32, centred=centred)
    flow = whole_flow(8, True, centred)
    part = LayerPart("", "w", "whole", (0, taps), (0, 1), (0, chans), 1, 0.25, 40.0)
    layer = Layer(program(weights, cells, flow), part)
    assert layer.is_depthwise(taps)
    x = rng.integers(0, 256, (2, 6, 7, chans)).astype(np.uint8)
    window = Window("w", kernel, (1, 2), (1, 1, 1, 1), pad_value=77)
    out = (6 + 2 - kernel[0] + 1, (7 + 2 - kernel[1]) // 2 + 1)
    g = WindowGeometry.of(window, (0, 1, out[0]), (0, out[1]), (0, 0), (0, chans))
    seen = taps_of(x, g).transpose(0, 1, 2, 4, 3).reshape(-1, chans, taps)
    scale = part.full_scale(program(weights, cells, flow))
    expected = reference(seen, cells, weights, normal_form(flow), scale, [])
    np.testing.assert_array_equal(layer.depthwise_sums(x, g).reshape(expected.shape[:2]), expected[..., 0])


@settings(deadline=None)
@given(st.floats(0.01, 1e6), st.integers(3, 10), st.integers(0, 2**32 - 1))
def test_codes_by_multiplication_are_those_by_division(scale: float, bits: int, seed: int) -> None:
    top = (1 << bits - 1) - 1
    c = converter(Conversion(-top - 1, top, 1, True), scale)
    edges = np.floor(np.random.default_rng(seed).integers(-top, top, 50) * (scale / top) + scale / top / 2)
    sums = np.concatenate([edges, edges + 1, edges - 1, [0, 1, -1, 2**23, -(2**23)]]).astype(np.int32)
    codes = np.zeros(len(sums), np.int32)
    add_codes(sums, c, codes)
    np.testing.assert_array_equal(codes, np.clip(np.floor(sums / (scale / top) + 0.5), -top - 1, top))


def test_an_inverse_that_gives_other_codes_is_not_used() -> None:
    """The tie 1/2 at every odd sum of step 2 is safe; steps whose inverse rounds down lose it somewhere."""
    assert converter(Conversion(-128, 126, 2), 0.0).inverse == 0.5
    unsafe = [s for s in range(2, 2000) if not convert._same_codes(float(2 * s), 1.0 / (2 * s), -128, 127)]
    for step in unsafe[:20]:
        c = converter(Conversion(-128 * 2 * step, 127 * 2 * step, 2 * step), 0.0)
        assert c.inverse == 0.0


def test_without_compiled_loops_and_without_onnxruntime(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(5)
    values = rng.integers(-128, 128, (1, 70, 6)).astype(np.int16)
    weights = Weights("w", 1, 70, 6, 32, (1,) * 8, True)
    cells = encode_differential(values, weights.slices, 32)
    part = LayerPart("", "w", "whole", (0, 70), (0, 6), (0, 1), 1, 0.25, 3.0)
    x = rng.integers(0, 256, (5, 70)).astype(np.uint8)
    fast = Layer(program(weights, cells, whole_flow()), part).dense(x)
    monkeypatch.setattr(gemm, "_onnxruntime", lambda: None)
    monkeypatch.setattr(convert, "compiled", lambda _: None)
    slow = Layer(program(weights, cells, whole_flow()), part).dense(x)
    assert jit.numba_or_none() is not None
    np.testing.assert_array_equal(slow, fast)


def test_other_forms_keep_the_reference() -> None:
    """A part of the pairs, a buffer cell, or two conversions: the product would be wrong."""
    values = np.ones((1, 4, 1), np.int16)
    weights = Weights("w", 1, 4, 1, 4, (1,) * 8, True)
    cells = encode_differential(values, weights.slices, 4)
    form = normal_form(whole_flow())
    from pimc_isa.engines.dots.summed import converts_whole_sums

    block = form.blocks[0]
    assert converts_whole_sums(cells, form)
    assert not converts_whole_sums(cells, replace(form, blocks=(replace(block, cell=Conversion(0, 63)),)))
    assert not converts_whole_sums(cells, replace(form, blocks=(block, Block((), (), 0, None))))
    exponents = (block.exponents[0] + 1, *block.exponents[1:])
    assert not converts_whole_sums(cells, replace(form, blocks=(replace(block, exponents=exponents),)))
    assert converts_whole_sums(replace(cells, centre=cells.centre + 1), form)  # corrected in digital, behind it
