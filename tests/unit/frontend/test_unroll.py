"""Control flow with a constant course is written out: the same results in onnxruntime, and no control flow left."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper, parser

import pimc
from pimc.frontend.errors import FrontendError
from pimc.frontend.read import read_model
from pimc.frontend.unroll import unroll

node = helper.make_node


def model_of(text: str, **constants: Any) -> onnx.ModelProto:
    """A model from ONNX's text form; ``constants`` become initialisers."""
    model = parser.parse_model(f'<ir_version: 8, opset_import: ["" : 17]>\n{text}')
    tensors = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    model.graph.initializer.extend(tensors)
    return model


def results(model: onnx.ModelProto, x: np.ndarray) -> list[np.ndarray]:
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return list(session.run(None, {"x": x}))


def same_unrolled(model: onnx.ModelProto) -> onnx.ModelProto:
    """Write a model's control flow out, and compare both in onnxruntime."""
    onnx.checker.check_model(model)
    out = onnx.ModelProto()
    out.CopyFrom(model)
    assert unroll(out, "here")
    onnx.checker.check_model(out)
    assert not {"Loop", "If"} & {n.op_type for n in out.graph.node}
    x = np.random.default_rng(0).standard_normal((1, 3, 4, 4)).astype(np.float32)
    for theirs, ours in zip(results(model, x), results(out, x), strict=True):
        np.testing.assert_array_equal(theirs, ours)
    return out


def loop(body: onnx.GraphProto, inputs: list[str], outputs: list[str]) -> onnx.NodeProto:
    return node("Loop", inputs, outputs, "loop", body=body)


def value(name: str, kind: int = TensorProto.FLOAT, shape: Any = None) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, shape)


def counting(goes_on: str = "go", inner: list[onnx.NodeProto] | None = None) -> onnx.GraphProto:
    """v := v * w + turn; the turn's v is stacked as well."""
    nodes = [
        node("Identity", ["go"], ["go_on"]),
        node("Cast", ["turn"], ["t"], to=TensorProto.FLOAT),
        node("Mul", ["v", "w"], ["vw"], "scale"),
        node("Add", ["vw", "t"], ["v2"], "shift"),
        node("Identity", ["v2"], ["row"]),
        *(inner or []),
    ]
    return helper.make_graph(
        nodes,
        "body",
        [value("turn", TensorProto.INT64, []), value("go", TensorProto.BOOL, []), value("v", shape=[1, 3, 4, 4])],
        [value("go_on" if goes_on == "go" else goes_on, TensorProto.BOOL, []), value("v2"), value("row")],
        [numpy_helper.from_array(np.array(0.5, np.float32), "w")],
    )


def looped(body: onnx.GraphProto, turns: int | None = 3, condition: bool | None = True) -> onnx.ModelProto:
    constants = [numpy_helper.from_array(np.array(turns or 0, np.int64), "turns")]
    constants.append(numpy_helper.from_array(np.array(condition, np.bool_), "condition"))
    inputs = ["" if turns is None else "turns", "" if condition is None else "condition", "x"]
    graph = helper.make_graph(
        [loop(body, inputs, ["y", "rows"])],
        "g",
        [value("x", shape=[1, 3, 4, 4])],
        [value("y", shape=[1, 3, 4, 4]), value("rows", shape=[None, 1, 3, 4, 4])],
        constants,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.mark.parametrize("condition", [True, None])
@pytest.mark.parametrize("turns", [1, 3, 7])
def test_counted_loops(turns: int, condition: bool | None) -> None:
    out = same_unrolled(looped(counting(), turns, condition))
    assert sum(n.op_type == "Mul" for n in out.graph.node) == turns
    assert sum(t.name.endswith("/w") for t in out.graph.initializer) == 1  # weights are not copied


def test_branches() -> None:
    text = """g (float[1,3,4,4] x) => (float[1,3,4,4] y) {
        y = If (c) <
            then_branch = t () => (float[1,3,4,4] a) { a = Relu (x) },
            else_branch = e () => (float[1,3,4,4] b) { b = Neg (x) } >
    }"""
    for condition in (True, False):
        out = same_unrolled(model_of(text, c=np.bool_(condition)))
        assert ("Relu" in {n.op_type for n in out.graph.node}) == condition


def test_a_loop_within_a_branch_within_a_loop() -> None:
    inner = counting()
    inner.output[1].name, inner.output[2].name = "v2i", "rowi"
    for n in inner.node:
        for names in (n.input, n.output):
            for k, name in enumerate(names):
                names[k] = {"v2": "v2i", "row": "rowi", "vw": "vwi", "v": "vi", "t": "ti", "turn": "turni"}.get(
                    name, name
                )
                names[k] = {"go": "goi", "go_on": "go_oni", "w": "wi"}.get(names[k], names[k])
    for k, name in enumerate(["turni", "goi", "vi"]):
        inner.input[k].name = name
    inner.output[0].name = "go_oni"
    inner.initializer[0].name = "wi"
    then = helper.make_graph([loop(inner, ["turns", "condition", "v2"], ["z", "zs"])], "t", [], [value("z")])
    other = helper.make_graph([node("Neg", ["v2"], ["zn"])], "e", [], [value("zn")])
    body = counting(inner=[node("If", ["condition"], ["v3"], then_branch=then, else_branch=other)])
    body.output[1].name = "v3"
    same_unrolled(looped(body, 3))


def test_a_layer_in_a_loop_runs_on_the_chip() -> None:
    """Three turns of one convolution: three layers on crossbars."""
    rng = np.random.default_rng(1)
    weights = numpy_helper.from_array(rng.standard_normal((3, 3, 3, 3)).astype(np.float32) * 0.3, "w")
    body = helper.make_graph(
        [node("Identity", ["go"], ["on"]), node("Conv", ["v", "w"], ["v2"], pads=[1, 1, 1, 1])],
        "body",
        [value("turn", TensorProto.INT64, []), value("go", TensorProto.BOOL, []), value("v", shape=[1, 3, 8, 8])],
        [value("on", TensorProto.BOOL, []), value("v2", shape=[1, 3, 8, 8])],
        [weights],
    )
    constants = [numpy_helper.from_array(np.array(3, np.int64), "turns")]
    shape = [1, 3, 8, 8]
    graph = helper.make_graph([loop(body, ["turns", "", "x"], ["y"])], "g", [value("x", shape=shape)], [], constants)
    graph.output.append(value("y", shape=shape))
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    images = rng.standard_normal((8, 3, 8, 8)).astype(np.float32)
    program = pimc.compile(model, calibration=images)
    assert program.verify(images[:2]).verdict == "PASS"
    assert sum(bool(t.groups) for t in program.program.tiles) >= 3


@pytest.mark.parametrize(
    ("model", "why"),
    [
        (looped(counting(), None), "its number of turns is no constant"),
        (looped(counting("less", [node("Not", ["go"], ["less"])])), "it may end early, which depends on values"),
        (looped(counting(), 10**9), "1,000,000,000 turns are more than pimc writes out"),
        (looped(counting(), 0), "it never runs, and stacks what it makes"),
    ],
)
def test_other_loops_are_refused(model: onnx.ModelProto, why: str) -> None:
    with pytest.raises(FrontendError, match=rf"loop \(Loop\): {why}"):
        read_model(model)
