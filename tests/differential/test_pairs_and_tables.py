"""Sub, Max, Min, Sum of two tensors, and tables of each channel, on the chip: equal to onnxruntime, in all engines."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

import pimc
from pimc.frontend import check_model
from pimc.ir.ops import Lut
from pimc_isa import numerics
from pimc_isa.engines import step
from pimc_isa.errors import ProgramError
from pimc_isa.instructions import Max, Min, PerPair, Sub, Sum
from tests.differential.frontend_models import Net, Tensor, check, session_run
from tests.differential.test_numerics_ort import PAIRS, Tally, pair_constants

Array = np.ndarray
REAL: dict[str, type[PerPair]] = {"Sub": Sub, "Max": Max, "Min": Min, "Sum": Sum}


def real(op: str, a: Array, b: Array, constants: dict[str, Array]) -> Array:
    """DequantizeLinear, the operator, QuantizeLinear, in onnxruntime."""
    node, info = helper.make_node, helper.make_tensor_value_info
    nodes = [
        node("DequantizeLinear", ["a", "as", "az"], ["ra"]),
        node("DequantizeLinear", ["b", "bs", "bz"], ["rb"]),
        node(op, ["ra", "rb"], ["ry"]),
        node("QuantizeLinear", ["ry", "ys", "yz"], ["y"]),
    ]
    inputs = [info(n, TensorProto.UINT8, x.shape) for n, x in (("a", a), ("b", b))]
    stored = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "pair", inputs, [info("y", TensorProto.UINT8, None)], stored)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return session_run(model.SerializeToString(), {"a": a, "b": b}, {})[0]


@pytest.mark.parametrize("op", REAL)
def test_every_pair_of_bytes(op: str) -> None:
    rng, tally = np.random.default_rng(11), Tally()
    a, b = PAIRS
    for _ in range(20):
        constants, scales = pair_constants(rng)
        tally.compare(REAL[op].compute(a, b, scales), real(op, a, b, constants))
    tally.check()


def branches(op: str, seed: int, *, signed: bool, gate: bool, after: str = "") -> Net:
    """Two convolutions of one input (one of them averaged to a value per channel), the pair, another convolution."""
    net = Net(seed, qdq=True, signed=signed)
    x = net.input(3, 7, 6)
    a, b = net.conv(x, 5, (3, 3), pads=[1, 1, 1, 1]), net.conv(x, 5, (1, 1))
    b = net.global_average(b) if gate else b
    y = net.result(a.shape, (a.scale + b.scale) * 0.6)
    y = net._finish(net.node(op, [net.dq(a), net.dq(b)]), after, y)
    net.output(net.conv(y, 4, (1, 1)))
    return net


@pytest.mark.parametrize("after", ["", "Relu"])
@pytest.mark.parametrize("gate", [False, True])
@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("op", REAL)
def test_pairs_run_on_the_chip(op: str, signed: bool, gate: bool, after: str) -> None:
    net = branches(op, 3, signed=signed, gate=gate, after=after)
    graph = check(net)
    assert [o.kind for o in graph.ops()].count(f"q.{op.lower()}") == 1
    program = pimc.compile(net.model())
    x = np.random.default_rng(4).normal(0, 4, (2, *graph.inputs[0].shape)).astype(np.float32)
    ours, slow = program.values(x), step.run(program.program, {graph.inputs[0].name: x}, 2)
    assert all((slow.outputs[name] == array).all() for name, array in ours.items())
    assert any(type(i) is REAL[op] for t in program.program.tiles for i in t.code)
    assert program.verify(x).verdict == "PASS"


def test_what_is_no_pair_is_the_hosts() -> None:
    """Three operands, and a first operand that is broadcast in a difference."""
    net = Net(5, qdq=True)
    x = net.input(3, 6, 6)
    parts = [net.conv(x, 4, (1, 1)) for _ in range(3)]
    three = net.quantise(net.node("Sum", [net.dq(p) for p in parts]), net.result(parts[0].shape, 0.1))
    swapped = net.node("Sub", [net.dq(net.global_average(parts[0])), net.dq(parts[1])])
    other = net.quantise(swapped, net.result(parts[0].shape, 0.1))
    net.output(net.conv(net.concat(three, other), 4, (1, 1)))
    places = {(n.op_type, n.where) for n in check_model(net.model()).nodes}
    assert {("Sum", "host"), ("Sub", "host")} <= places
    assert pimc.compile(net.model()).verify(images=2).verdict == "PASS"


def with_constant(op: str, shape: tuple[int, ...], channels: int = 5, *, signed: bool = False) -> Net:
    net = Net(7, qdq=True, signed=signed)
    x = net.conv(net.input(3, 6, 4), channels, (3, 3), pads=[1, 1, 1, 1])
    value = net.const(net.rng.uniform(-1.5, 1.5, shape).astype(np.float32))
    y = net.quantise(net.node(op, [net.dq(x), value]), net.result(x.shape, x.scale * 1.4))
    net.output(net.conv(y, 4, (1, 1)))
    return net


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize(
    ("op", "shape"),
    [("PRelu", (5, 1, 1)), ("PRelu", (1, 5, 1, 1)), ("Mul", (5, 1, 1)), ("Add", (1, 5, 1, 1)), ("Max", (5, 1, 1))],
)
def test_a_table_for_each_channel(op: str, shape: tuple[int, ...], signed: bool) -> None:
    net = with_constant(op, shape, signed=signed)
    graph = check(net)
    tables = [graph.constants[o.table] for o in graph.ops() if isinstance(o, Lut)]
    assert [t.shape for t in tables] == [(5, 256)]
    program = pimc.compile(net.model())
    x = np.random.default_rng(4).normal(0, 4, (2, *graph.inputs[0].shape)).astype(np.float32)
    slow = step.run(program.program, {graph.inputs[0].name: x}, 2)
    assert all((slow.outputs[name] == array).all() for name, array in program.values(x).items())
    assert program.verify(x).verdict == "PASS"


def test_tables_over_many_tiles() -> None:
    """600 channels, which several tiles share out: each takes the tables of its own."""
    program = pimc.compile(with_constant("PRelu", (600, 1, 1), 600).model())
    assert program.verify(images=2).verdict == "PASS"


@pytest.mark.parametrize("shape", [(6, 1), (6, 4), (5, 6, 4)])
def test_constants_by_place_are_the_hosts(shape: tuple[int, ...]) -> None:
    net = with_constant("Mul", shape)
    node = next(n for n in check_model(net.model()).nodes if n.op_type == "Mul")
    assert node.where == "host"
    assert pimc.compile(net.model()).verify(images=2).verdict == "PASS"


def test_one_value_of_a_vector_makes_one_table() -> None:
    net = with_constant("Mul", (1, 1, 1))
    graph = check(net)
    assert [graph.constants[o.table].shape for o in graph.ops() if isinstance(o, Lut)] == [(256,)]


def test_vectors_have_tables_of_each_channel_too() -> None:
    net = Net(9, qdq=True)
    x: Tensor = net.gemm(net.input(12), 7)
    value = net.const(net.rng.uniform(-1, 1, 7).astype(np.float32))
    y = net.quantise(net.node("Mul", [net.dq(x), value]), net.result(x.shape, x.scale))
    net.output(net.gemm(y, 3))
    graph = check(net)
    assert [graph.constants[o.table].shape for o in graph.ops() if isinstance(o, Lut)] == [(7, 256)]


def test_tables_that_lack_channels_are_illegal() -> None:
    from pimc_isa.check import check as judge

    program = pimc.compile(with_constant("PRelu", (5, 1, 1)).model()).program
    name = next(n for n, t in program.tensors.items() if t.shape == (5, 256))
    for wrong, why in ((4, "has 4 channels, but channels up to 5"), (0, "has 0 channels")):
        tensors = {**program.tensors, name: program.tensors[name][:wrong]}
        with pytest.raises(ProgramError, match=why):
            judge(replace(program, tensors=tensors))


def test_entries_of_channels() -> None:
    table = np.arange(3 * 256).reshape(3, 256) % 251
    x = np.random.default_rng(0).integers(0, 256, (2, 4, 2))
    found = numerics.entries_of(table, x, (1, 3))
    assert (found[..., 0] == table[1][x[..., 0]]).all()
    assert (found[..., 1] == table[2][x[..., 1]]).all()
