"""Dot products of the referee against those of the other engines, which share no code with it: ideal, then noisy."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pimc_backends import cascade, isaac, isaac_style, neural_pim
from pimc_backends.neural_pim.peripherals.store import load
from pimc_isa.crossbar.cells import Cells, encode, encode_differential
from pimc_isa.crossbar.exactness import full_scale, sliced_dot
from pimc_isa.engines import step
from pimc_isa.engines.dots.analog import AnalogLayer
from pimc_isa.engines.dots.model import PREFIX, AnalogModel
from pimc_isa.engines.noise import DeviceNoise
from pimc_isa.engines.step.actions import Ledger
from pimc_isa.engines.step.analog import QUIET, Hardware
from pimc_isa.engines.step.dots import Dots
from pimc_isa.engines.step.flows import read_flow
from pimc_isa.flow import Flow, normal_form, parse_flow
from pimc_isa.instructions import Mvm, Quant, Recv, Send
from pimc_isa.operands import Channel, Group, Requant, RowExpr, Slab, Weights
from pimc_isa.peripherals import from_tensors, to_tensors
from pimc_isa.program import Program
from tests.unit.isa.engines.nets import I, each_row, host, ring, tile
from tests.unit.isa.engines.nets import layer as matrix
from tests.unit.isa.engines.nets import program as net
from tests.unit.isa.engines.test_values import REQUANT, SAME3, conv3, images, requantised
from tests.unit.isa.engines.test_values_summed import program

Array = np.ndarray
CENTRED = neural_pim.target(centre="on").flows[0]
SHIPPED = (isaac.flow(), isaac.flow("isaac16"), cascade.flow(), isaac_style.flow(), neural_pim.flow(), CENTRED)
FLOWS = {flow.name: flow for flow in SHIPPED}
GROUPS, K, N, ROWS = 2, 40, 5, 16


def layer(flow: Flow, seed: int, block_rows: int = ROWS) -> tuple[Weights, Cells]:
    bits = sum(flow.slices)
    values = np.random.default_rng(seed).integers(-(1 << bits - 1) + 1, 1 << bits - 1, (GROUPS, K, N))
    weights = Weights("w", GROUPS, K, N, block_rows, flow.slices, flow.bipolar)
    if not flow.bipolar:
        return weights, encode(values, flow.slices, block_rows)
    centred = bool(normal_form(flow).unit_conversions)
    cells = encode_differential(values, flow.slices, block_rows, centred=centred)
    assert cells.centre.any() == centred
    return weights, cells


def group(flow: Flow, number: int, k: tuple[int, int] = (0, K), n: tuple[int, int] = (0, N)) -> Group:
    ranged = any(op.op == "scale" for op in flow.ops)
    return Group("g", "w", flow.name, k, n, (number, number + 1), 1, 0.25 if ranged else 0.0, 8.0)


#: The whole input and the whole weight in one conversion, corrected by a centre: one pair, which keeps its own draw.
ONE_PAIR = parse_flow(
    """
    .flow one input_bits=8 slices=8 step_cycles=1 interval=9 latency=9
      @0 load
      @1 drive 0:8
      @1 read
      @2 convert unsigned 20
      @3 accumulate <<0
      @3 sum-inputs <<0
      @4 correct
      @4 merge
      @5 store
    """
)


#: The same through a buffer cell in front of the converter, whose noise is not that of the sum.
BUFFERED = parse_flow(
    """
    .flow buffered input_bits=8 slices=8 step_cycles=1 interval=9 latency=9
      @0 load
      @1 drive 0:8
      @1 read
      @1 count-inputs 0:8
      @2 buffer <<0 20
      @3 convert signed 21
      @4 accumulate <<0
      @5 merge
      @5 correct
      @6 store
    """
)


def products(made: Program, g: Group, x: Array, hardware: Hardware) -> Array:
    return Dots(made, hardware).products(g, g.groups[0], x, (2, 3, range(4, 4 + len(x))), Ledger())


@pytest.mark.parametrize("name", FLOWS)
@pytest.mark.parametrize(("k", "n"), [((0, K), (0, N)), ((16, 32), (1, 4)), ((32, K), (2, N))])
def test_ideal_crossbars_compute_the_normal_form(name: str, k: tuple[int, int], n: tuple[int, int]) -> None:
    flow = FLOWS[name]
    weights, cells = layer(flow, 1)
    made = program(weights, cells, flow)
    for number in range(GROUPS):
        g = group(flow, number, k, n)
        x = np.random.default_rng(number).integers(0, 1 << flow.input_bits, (4, k[1] - k[0]))
        blocks = slice(k[0] // ROWS, -(-k[1] // ROWS))
        part = Cells(
            cells.codes[number : number + 1, slice(*k), slice(*n)],
            cells.polarity[number : number + 1, blocks, slice(*n)],
            cells.centre[number : number + 1, blocks, slice(*n)],
        )
        scale = full_scale(weights, flow.input_bits, g.v_max, g.gain)
        expected = sliced_dot(x[:, None], part, weights, normal_form(flow), scale)[:, 0]
        assert np.ptp(expected) > 0
        np.testing.assert_array_equal(products(made, g, x, Hardware(made)), expected.astype(np.int32))


@pytest.mark.parametrize("name", ["isaac8", "isaac16"])
def test_converters_of_isaac_lose_nothing(name: str) -> None:
    """The integer dot product itself, for the flow that claims it."""
    flow = FLOWS[name]
    weights = Weights("w", GROUPS, K, N, ROWS, flow.slices, flow.bipolar)
    bits = sum(flow.slices)
    values = np.random.default_rng(5).integers(-(1 << bits - 1), 1 << bits - 1, (GROUPS, K, N))
    made = program(weights, encode(values, flow.slices, ROWS), flow)
    x = np.random.default_rng(6).integers(0, 1 << 8, (3, K))
    for number in range(GROUPS):
        want = (x @ values[number]).astype(np.int32)
        np.testing.assert_array_equal(products(made, group(flow, number), x, Hardware(made)), want)


@pytest.mark.parametrize("name", [*FLOWS, "one", "buffered"])
@pytest.mark.parametrize(
    "noise",
    [DeviceNoise(0.4, 0.0, 0.0, 0.0), DeviceNoise(0.0, 0.04, 0.03, 0.0), DeviceNoise(0.2, 0.03, 0.05, 0.0)],
    ids=["cell", "sums", "both"],
)
def test_noisy_crossbars_make_the_draws_of_the_other_engine(name: str, noise: DeviceNoise) -> None:
    flow = {**FLOWS, "one": ONE_PAIR, "buffered": BUFFERED}[name]
    weights, cells = layer(flow, 2)
    made = program(weights, cells, flow)
    g = group(flow, 0)
    x = np.random.default_rng(3).integers(0, 1 << min(8, flow.input_bits), (4, K)).astype(np.uint8)
    one = Cells(cells.codes[:1], cells.polarity[:1], cells.centre[:1])
    scale = full_scale(weights, flow.input_bits, g.v_max, g.gain)
    model = AnalogModel("ideal", 9, None, noise)
    positions = np.array([(2 << 32) + (3 << 16) + column for column in range(4, 8)], np.uint64)
    fast = AnalogLayer(one, weights, normal_form(flow), scale, ((0, 0, 0), (), g.v_max, g.gain), model)(
        x[:, None], positions
    )
    slow = products(made, g, x, Hardware(made, seed=9, noise=noise))
    ideal = products(made, g, x, Hardware(made, noise=QUIET))
    np.testing.assert_array_equal(slow, fast)
    assert (slow != ideal).any()


@pytest.mark.parametrize(("centre", "polarity"), [(0, 0), (3, 0), (0, 1), (3, 1)])
def test_a_flip_of_one_column_alone_ends_the_single_draw(centre: int, polarity: int) -> None:
    """Without one, noise is one draw on the sum, whatever is corrected behind it; with one, one for each read."""
    weights, cells = layer(ONE_PAIR, 2)
    cells = Cells(cells.codes, np.zeros_like(cells.polarity), np.zeros_like(cells.centre))
    cells.centre[0, 1, 2], cells.polarity[0, 2, 3] = centre, polarity
    made, g = program(weights, cells, ONE_PAIR), group(ONE_PAIR, 0)
    x = np.random.default_rng(3).integers(0, 256, (4, K)).astype(np.uint8)
    one = Cells(cells.codes[:1], cells.polarity[:1], cells.centre[:1])
    noise = DeviceNoise(0.0, 0.04, 0.03, 0.0)
    model = AnalogModel("ideal", 9, None, noise)
    positions = np.array([(2 << 32) + (3 << 16) + column for column in range(4, 8)], np.uint64)
    scale = full_scale(weights, 8, g.v_max, g.gain)
    fast = AnalogLayer(one, weights, normal_form(ONE_PAIR), scale, ((0, 0, 0), (), g.v_max, g.gain), model)
    slow = products(made, g, x, Hardware(made, seed=9, noise=noise))
    np.testing.assert_array_equal(slow, fast(x[:, None], positions))


def test_convolution_groups_see_their_own_channels() -> None:
    """Three groups of two channels each."""
    values = np.random.default_rng(8).integers(-128, 128, (3, 9 * 2, 2), dtype=np.int8)
    weights, tensors = matrix("w3", values, block_rows=16)
    rings = [ring("x", (5, 6, 6)), ring("acc", (5, 6, 6), dtype="i32"), ring("y", (5, 6, 6))]
    acc, y = Slab("acc", I, None, (0, 6)), Slab("y", I, None, (0, 6))
    code = each_row(
        5,
        Recv(dst=Slab("x", RowExpr()), channel="x", until=RowExpr(1, 2)),
        Mvm(dst=acc, src="x", window="w", group="g"),
        Quant(dst=y, src=acc, requant="q"),
        Send(channel="back", src=y),
    )
    body = tile(
        1, rings, code, windows=(SAME3,), requants=(Requant("q", "q", 9),),
        groups=(Group("g", "w3", "bits", (0, 18), (0, 2), (0, 3)),),
    )  # fmt: skip
    front = host((5, 6, 6), (5, 6, 6), [("x", None)], "back")
    channels = [Channel("x", 0, (1,), 5), Channel("back", 1, (0,), 5)]
    p = net([front, body], channels, {**tensors, **REQUANT}, [weights])
    x = images(5, 6, 6)
    made = step.run(p, {"x": x}, 3).outputs["y"]
    for number in range(3):
        mine = slice(2 * number, 2 * number + 2)
        np.testing.assert_array_equal(made[..., mine], requantised(conv3(x[..., mine], values[number])))


@pytest.mark.parametrize("kind", ["fitted", "trained"])
@pytest.mark.parametrize("v_max", [0.5, 0.25, 0.125, 0.0625, 0.03125])
@pytest.mark.parametrize("flow", [neural_pim.flow(), CENTRED], ids=lambda flow: flow.name)
def test_peripherals_that_are_not_ideal(flow: Flow, kind: str, v_max: float) -> None:
    """Every range has networks of its own, with noise of reads and of holds."""
    many = 4 if kind == "trained" else 60
    weights, cells = layer(flow, 4)
    held = to_tensors(load(), PREFIX)
    plain = program(weights, cells, flow)
    made = replace(plain, tensors={**plain.tensors, **held}, meta={"peripherals": kind})
    g = replace(group(flow, 0), v_max=v_max)
    x = np.random.default_rng(5).integers(0, 256, (many, K)).astype(np.uint8)
    one = Cells(cells.codes[:1], cells.polarity[:1], cells.centre[:1])
    scale = full_scale(weights, flow.input_bits, g.v_max, g.gain)
    positions = np.array([(2 << 32) + (3 << 16) + column for column in range(4, 4 + many)], np.uint64)
    noise = DeviceNoise(0.0, 0.02, 0.03, 1.0)
    fast = AnalogLayer(
        one,
        weights,
        normal_form(flow),
        scale,
        ((0, 0, 0), (), g.v_max, g.gain),
        AnalogModel(kind, 9, from_tensors(held, PREFIX), noise),
    )
    slow = products(made, g, x, Hardware(made, seed=9, noise=noise, kind=kind))
    np.testing.assert_array_equal(slow, fast(x[:, None], positions))
    assert (slow != products(made, g, x, Hardware(made))).any()


TWICE = """.flow twice input_bits=4 slices=1,1 step_cycles=1 interval=4 latency=9
  @0 load
  @1 drive 0:1
  @1 read
  @2 fold >>1
  @2 drive 1:2
  @2 read
  @3 fold >>1
  @3 drive 2:3
  @3 read
  @4 convert unsigned 8
  @4 fold >>1
  @4 drive 3:4
  @4 read
  @5 accumulate <<0
  @5 fold >>1
  @6 convert unsigned 8
  @7 accumulate <<2
  @8 merge
  @8 store
"""


def test_each_conversion_of_folds_sees_those_since_the_last() -> None:
    """Folds of the next conversion run while the first one converts: they are not its own."""
    flow = parse_flow(TWICE)
    reading, form = read_flow(flow), normal_form(flow)
    assert tuple(bits[:2] for bits in reading.slices) == form.input_slices == ((0, 1), (1, 2), (2, 3), (3, 4))
    ours = [(tuple((i, j) for i, j, _ in g.pairs), tuple(p for _, _, p in g.pairs), g.shift) for g in reading.groups]
    assert ours == [(b.pairs, b.exponents, b.shift) for b in form.blocks]
    assert [shift for _, _, shift in ours] == [0, 2]
    assert [len(pairs) for pairs, _, _ in ours] == [4, 4]
