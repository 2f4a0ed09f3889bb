"""The raella target: its flows, the paper's example, and programs against a plain model of its arithmetic."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from pimc import driver
from pimc_backends import raella
from pimc_backends.kit.target import analog_pipeline
from pimc_backends.raella.flows import SPECULATED, all_slicings, bits_flow, flow_name, speculative_flow
from pimc_isa.crossbar.cells import decode, encode_differential
from pimc_isa.crossbar.exactness import guarded_flags, sliced_dot
from pimc_isa.engines import step
from pimc_isa.flow import check_flow, normal_form, parse_flow
from pimc_isa.operands import Weights

Array = np.ndarray
ROWS, LOWEST, HIGHEST = 512, -64, 63
MACHINE = raella.machine()


def network(weights: Array, multiplier: float, zero: int = 0) -> onnx.ModelProto:
    """A 1x1 convolution of u8 inputs by s8 weights [outputs, inputs], on images of 1 x 3 pixels."""
    outputs, inputs = weights.shape
    scalars = {
        "xs": np.float32(1),
        "xz": np.uint8(zero),
        "ws": np.float32(multiplier),
        "wz": np.int8(0),
        "ys": np.float32(1),
        "yz": np.uint8(128),
    }
    held = [numpy_helper.from_array(np.asarray(value), name) for name, value in scalars.items()]
    held.append(numpy_helper.from_array(weights.astype(np.int8)[:, :, None, None], "w"))
    node = helper.make_node("QLinearConv", ["x", "xs", "xz", "w", "ws", "wz", "ys", "yz"], ["y"])
    ports = [
        helper.make_tensor_value_info(name, TensorProto.UINT8, ["n", channels, 1, 3])
        for name, channels in (("x", inputs), ("y", outputs))
    ]
    graph = helper.make_graph([node], "layer", ports[:1], ports[1:], held)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def compiled(model: onnx.ModelProto, images: Array, flow: str, centre: str = "mean") -> driver.CompiledProgram:
    """On a chip whose layers all have this flow."""
    target = replace(raella.target(centre=centre), conv_flow=flow)
    graph = driver.lower(model.SerializeToString(), target, analog_pipeline(), calibration={"x": images})
    return driver.CompiledProgram(raella.emit(graph, target))


def plain_model(x: Array, w: Array, centre: Array, slicing: tuple[int, ...]) -> tuple[Array, dict[str, int]]:
    """Dot products [m, n] of u8 [m, k] and integers [k, n], and what is converted, in int64 with no cleverness."""
    total, converted, flagged = np.zeros((len(x), w.shape[1]), np.int64), 0, 0
    for block, top in enumerate(range(0, len(w), ROWS)):
        rows, part = slice(top, top + ROWS), x[:, top : top + ROWS].astype(np.int64)
        offset = w[rows].astype(np.int64) - centre[block]
        total += part.sum(axis=1)[:, None] * centre[block]
        for low, width in _places(slicing):
            field = np.sign(offset) * (np.abs(offset) >> low & (1 << width) - 1)
            for first, bits in _places(SPECULATED):
                sums = (part >> first & (1 << bits) - 1) @ field
                failed = (sums <= LOWEST) | (sums >= HIGHEST)
                ones = [
                    np.clip((part >> bit & 1) @ field, LOWEST, HIGHEST) << bit for bit in range(first, first + bits)
                ]
                total += np.where(failed, sum(ones), sums << first) << low
                converted += sums.size + bits * int(failed.sum())
                flagged += int(failed.sum())
    return total, {"adc_conversion": converted, "shift_add": converted - flagged + w.shape[1] * len(x) * (block + 1)}


def _places(widths: tuple[int, ...]) -> list[tuple[int, int]]:
    """Lowest bit and width of each, of widths that begin with the highest bits."""
    return [(sum(widths[n + 1 :]), width) for n, width in enumerate(widths)]


def test_there_are_108_slicings() -> None:
    found = all_slicings()
    assert len(found) == len(set(found)) == 108
    assert [sum(len(each) == n for each in found) for n in range(1, 9)] == [0, 1, 12, 31, 35, 21, 7, 1]


def test_all_flows_are_legal_and_take_eleven_or_eight_steps() -> None:
    """Two passes take twice as long."""
    for flow in raella.target().flows:
        check_flow(flow, MACHINE)
        assert flow.interval_cycles == 100 * (8 if "bits" in flow.name else 11) * (2 if flow.signed else 1)


@pytest.mark.parametrize("slicing", [(4, 2, 2), (1,) * 8])
def test_the_example_of_the_slides(slicing: tuple[int, ...]) -> None:
    """Weights 15, 10, 14, inputs 4, 2, 1, centre 13: 13 x 7 + (2 x 4 - 3 x 2 + 1) = 94."""
    images = np.array([4, 2, 1], np.uint8)[None, :, None, None].repeat(3, axis=3)
    program = compiled(network(np.array([[15, 10, 14]]), 1.0), images, flow_name(slicing, True))
    (weights,) = program.program.weights
    assert program.program.tensors[f"{weights.name}.centre"].item() == 13
    assert program.run({"x": images}).outputs["y"].ravel().tolist() == [94 + 128] * 3
    assert step.run(program.program, {"x": images}).outputs["y"].ravel().tolist() == [94 + 128] * 3


@settings(max_examples=30, deadline=None)
@given(st.sampled_from(all_slicings()), st.booleans(), st.integers(0, 2**31))
def test_a_wide_converter_loses_nothing(slicing: tuple[int, ...], speculates: bool, seed: int) -> None:
    rng = np.random.default_rng(seed)
    k, n = int(rng.integers(1, 700)), int(rng.integers(1, 4))
    flow = (speculative_flow if speculates else bits_flow)(slicing, 100, 24)
    weights = Weights("w", 1, k, n, ROWS, slicing[::-1], True)
    w = rng.integers(-128, 128, (1, k, n))
    centre = rng.integers(-127, 128, (1, -(-k // ROWS), n))
    cells = encode_differential(w, slicing[::-1], ROWS, centre=centre)
    assert (decode(cells, weights) == w).all()
    x = rng.integers(0, 256, (2, 1, k)).astype(np.uint8)
    assert (
        sliced_dot(x, cells, weights, normal_form(flow), 0.0) == np.einsum("mgk,gkn->mgn", x.astype(np.int64), w)
    ).all()


UNGUARDED = """
.flow plain input_bits=8 slices=4 step_cycles=100 interval=2 latency=8
  @0 load
  @1 drive 4:8
  @1 read pairs
  @2 convert signed 7
  @2 drive 0:4
  @2 read pairs
  @3 accumulate <<4
  @3 convert signed 7
  @4 accumulate <<0
  @5 merge
  @7 store
"""


def test_one_cell_at_its_largest_clips() -> None:
    """15 x 15 = 225 gives the code 63. Where that is a flag, bits give 15 each, and nothing is lost."""
    weights, w = Weights("w", 1, 1, 1, ROWS, (4,), True), np.full((1, 1, 1), 15)
    cells, x = encode_differential(w, (4,), ROWS), np.full((1, 1, 1), 240, np.uint8)
    plain = parse_flow(UNGUARDED)
    check_flow(plain, MACHINE)
    assert sliced_dot(x, cells, weights, normal_form(plain), 0.0).item() == 63 << 4
    form = normal_form(speculative_flow((4,), 100))
    assert sliced_dot(x, cells, weights, form, 0.0).item() == 240 * 15
    assert guarded_flags(x, cells, weights, form, 0.0).sum() == 1


def test_a_recovered_sum_that_clips_is_kept() -> None:
    """Five cells of 15 and one bit: 75, which is 63 after recovery too."""
    weights, w = Weights("w", 1, 5, 1, ROWS, (4,), True), np.full((1, 5, 1), 15)
    cells, x = encode_differential(w, (4,), ROWS), np.full((1, 1, 5), 128, np.uint8)
    form = normal_form(speculative_flow((4,), 100))
    assert sliced_dot(x, cells, weights, form, 0.0).item() == 63 << 7


@pytest.mark.parametrize(("slicing", "inputs"), list(product([(4, 2, 2), (4, 4), (2, 2, 2, 1, 1)], [40, 700])))
def test_programs_compute_what_the_plain_model_does(slicing: tuple[int, ...], inputs: int) -> None:
    rng = np.random.default_rng(inputs)
    w = np.clip(np.rint(rng.normal(rng.normal(0, 20, (3, 1)), 40, (3, inputs))), -128, 127).astype(np.int64)
    images = (rng.gamma(0.4, 60, (4, inputs, 1, 3)).clip(0, 255)).astype(np.uint8)
    multiplier = 1 / (inputs * 60)
    program = compiled(network(w, multiplier), images, flow_name(slicing, True), "best")
    (weights,) = program.program.weights
    centre = program.program.tensors[f"{weights.name}.centre"][0]
    x = images.transpose(0, 2, 3, 1).reshape(-1, inputs)
    sums, counts = plain_model(x, w.T, centre, slicing)
    ran = program.run({"x": images})
    wanted = np.clip(np.rint(sums.astype(np.float32) * np.float32(multiplier)) + 128, 0, 255)
    made = ran.outputs["y"].transpose(0, 2, 3, 1).reshape(-1, 3)
    assert (made == wanted).mean() > 0.99
    assert np.abs(made - wanted).max() <= 1
    (layer,) = (actions for actions in ran.counts.layers.values() if actions.get("adc_conversion"))
    assert {action: layer[action] for action in counts} == counts
    slow = step.run(program.program, {"x": images[:1]})
    assert (slow.outputs["y"] == ran.outputs["y"][:1]).all()
