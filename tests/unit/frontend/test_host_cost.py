"""Operations of host calls, counted by hand; and what they do to the time of a call."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import pimc
from pimc.frontend.host_cost import operations_of
from pimc_isa.check import check
from pimc_isa.engines import step
from pimc_isa.engines.cycles import simulate
from pimc_isa.errors import ProgramError
from pimc_isa.program import Program
from pimc_models import fashion


def model(nodes: list[onnx.NodeProto], shape: tuple[int | str, ...], **constants: np.ndarray) -> onnx.ModelProto:
    ports = [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape), helper.make_tensor_value_info("y", 1, None)]
    stored = [numpy_helper.from_array(array, name) for name, array in constants.items()]
    graph = helper.make_graph(nodes, "g", ports[:1], ports[1:], stored)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def node(op: str, *more: str, **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(op, ["x", *more], ["y"], **attributes)


IMAGE = ("N", 3, 8, 6)
PIXELS = 3 * 8 * 6
CASES = {
    "relu": (model([node("Relu")], IMAGE), PIXELS),
    "sigmoid": (model([node("Sigmoid")], IMAGE), 4 * PIXELS),
    "softmax": (model([node("Softmax", axis=1)], IMAGE), 7 * PIXELS),
    "reshape is free": (model([node("Flatten")], IMAGE), 0),
    "transpose moves": (model([node("Transpose", perm=[0, 2, 3, 1])], IMAGE), PIXELS),
    "max pool 2x2": (model([node("MaxPool", kernel_shape=[2, 2], strides=[2, 2])], IMAGE), 3 * 4 * 3 * 4),
    "global average": (model([node("GlobalAveragePool")], IMAGE), PIXELS),
    "convolution": (
        model([node("Conv", "w")], IMAGE, w=np.zeros((5, 3, 3, 3), np.float32)),
        2 * (5 * 6 * 4) * 27,
    ),
    "dense": (
        model([node("Gemm", "w")], ("N", 12), w=np.zeros((12, 7), np.float32)),
        2 * 7 * 12,
    ),
    "resize": (
        model([node("Resize", "", "s", mode="linear")], IMAGE, s=np.array([1, 1, 2, 2], np.float32)),
        8 * 4 * PIXELS,
    ),
    "two": (
        model([helper.make_node("Exp", ["x"], ["e"]), helper.make_node("Add", ["e", "e"], ["y"])], IMAGE),
        5 * PIXELS,
    ),
    "unknown to onnx": (model([helper.make_node("Strange", ["x"], ["y"], domain="elsewhere")], IMAGE), 1),
}


@pytest.mark.parametrize("name", CASES)
def test_operations_are_those_counted_by_hand(name: str) -> None:
    made, wanted = CASES[name]
    assert operations_of(made) == wanted


def slow_host(program: Program, operations: int) -> Program:
    host = program.tile[0]
    calls = tuple(replace(call, operations=operations) for call in host.calls)
    return replace(program, tiles=(replace(host, calls=calls), *program.tiles[1:]))


def test_a_call_takes_the_longer_of_elements_and_operations() -> None:
    program = pimc.compile(fashion.int8_path()).program
    head, tail = program.tile[0].calls
    assert (head.operations, tail.operations) == (28 * 28, 10)
    slower = slow_host(program, 16 * 5000)
    longest = {t.tile: (t.end - t.start).max() for t in simulate(slower, 1).tiles}[0]
    assert longest == 5000 > {t.tile: (t.end - t.start)[:, 0] for t in simulate(program, 1).tiles}[0].max()
    x = {program.inputs[0].name: fashion.load_test()[0][:1]}
    slow, fast = step.run(slower, x, 1).timing, simulate(slower, 1)
    for one, other in zip(slow.tiles, fast.tiles, strict=True):
        assert (one.start == other.start).all()
        assert (one.end == other.end).all()


@pytest.mark.parametrize(("operations", "message"), [(-1, "does -1 operations"), (1 << 50, "the ISA's limit")])
def test_operations_that_cannot_be_are_refused(operations: int, message: str) -> None:
    program = pimc.compile(fashion.int8_path()).program
    with pytest.raises(ProgramError, match=message):
        check(slow_host(program, operations))
