"""Seeded inputs: the range of whatever quantises an input, else the type's range or a normal distribution."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from pimc.verify.inputs import synthetic
from pimc_isa.program import Port

Array = np.ndarray


def model(zero: Array | None, *before: onnx.NodeProto, source: str = "x") -> onnx.ModelProto:
    """Quantises ``source`` with scale 0.5; ``zero`` None leaves the zero point out."""
    constants = [numpy_helper.from_array(np.array(0.5, np.float32), "s")]
    if zero is not None:
        constants.append(numpy_helper.from_array(zero, "z"))
    names = [source, "s"] + (["z"] if zero is not None else [])
    nodes = [*before, helper.make_node("QuantizeLinear", names, ["q"])]
    given = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 4])
    made = helper.make_tensor_value_info("q", TensorProto.UINT8, [1, 4])
    return helper.make_model(helper.make_graph(nodes, "g", [given], [made], constants))


def drawn(m: onnx.ModelProto, dtype: str = "float32", shape: tuple[int, ...] = (100, 10)) -> Array:
    found = synthetic(m, (Port("x", dtype, shape),), 8, 3)["x"]
    assert (found.shape, found.dtype) == ((8, *shape), np.dtype(dtype))
    return found


@pytest.mark.parametrize(
    ("zero", "low", "high"),
    [
        (np.array(0, np.uint8), 0.0, 127.5),
        (np.array(100, np.uint8), -50.0, 77.5),
        (np.array(-28, np.int8), -50.0, 77.5),
        (np.array([7, 9], np.uint8), -3.5, 124.0),
        (None, 0.0, 127.5),
    ],
)
def test_a_quantised_input_covers_its_range_and_a_little_more(zero: Array | None, low: float, high: float) -> None:
    x = drawn(model(zero))
    beyond = (high - low) / 32
    assert low - beyond <= x.min() < low - beyond * 0.9
    assert high + beyond * 0.9 < x.max() <= high + beyond
    assert abs(x.mean() - (low + high) / 2) < 2


def test_the_quantiser_is_the_one_behind_the_input() -> None:
    other = helper.make_node("QuantizeLinear", ["y", "s"], ["p"])
    assert drawn(model(np.array(0, np.uint8), other, helper.make_node("Relu", ["x"], ["r"]))).max() > 120
    behind = helper.make_node("Relu", ["x"], ["r"])
    for m in (model(None, behind, source="r"), model(np.array(0.0, np.float32))):
        x = drawn(m)
        assert abs(x.mean()) < 0.05
        assert abs(x.std() - 1) < 0.05


def test_a_scale_that_is_computed_says_nothing() -> None:
    computed = model(None, helper.make_node("Identity", ["s"], ["t"]))
    computed.graph.node[-1].input[1] = "t"
    assert abs(drawn(computed).std() - 1) < 0.05


def test_integers_and_flags_use_their_whole_range() -> None:
    m = model(None)
    flags = drawn(m, "bool")
    assert abs(flags.mean() - 0.5) < 0.03
    for dtype in ("uint8", "int8"):
        x = drawn(m, dtype)
        assert (x.min(), x.max()) == (np.iinfo(dtype).min, np.iinfo(dtype).max)
