"""The reference model in onnxruntime, the votes over images and the spread over chips, on models of a few nodes."""

from __future__ import annotations

import json
import statistics

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from pimc.verify.compare import EXACT
from pimc.verify.own import renamed
from pimc.verify.reference import FLOAT, Reference, session
from pimc.verify.report import TensorReport, VerifyReport
from pimc.verify.run import _bytes_per_image, _Votes
from pimc.verify.trials import Spread, TrialsReport
from pimc_isa.errors import RunError
from pimc_isa.program import Program
from tests.unit.isa.engines.tiny import buffer, machine, tile

QUANTISED = np.dtype(np.uint8)


def model(batch: int | str = 1, width: int = 3) -> onnx.ModelProto:
    """``y = quantised(dequantised(quantised(x)) + 1)`` and a constant of its own, ``idle``."""
    scale = numpy_helper.from_array(np.array(0.5, np.float32), "s")
    zero = numpy_helper.from_array(np.array(2, np.uint8), "z")
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["d"]),
        helper.make_node("Add", ["d", "one"], ["a"]),
        helper.make_node("QuantizeLinear", ["a", "s", "z"], ["y"]),
        helper.make_node("Identity", ["one"], ["idle"]),
    ]
    given = helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, width])
    made = helper.make_tensor_value_info("y", TensorProto.UINT8, [batch, width])
    one = numpy_helper.from_array(np.ones(1, np.float32), "one")
    graph = helper.make_graph(nodes, "g", [given], [made], [scale, zero, one])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def reference(m: onnx.ModelProto, **meta: str) -> Reference:
    tensors = {"reference": np.frombuffer(m.SerializeToString(), np.uint8)}
    return Reference(Program(machine(), (tile(1, (0, 0, 0), ()),), (), (), (), (), (), tensors, meta))


def test_which_tensors_there_are_and_which_depend_on_the_input() -> None:
    ours = reference(model())
    assert ours.order == ["x", "q", "d", "a", "y", "idle"]
    assert ours.activations == ["q", "d", "a", "y"]
    assert "q" in ours
    assert "x" not in ours


def test_float_values_between_quantised_ones_are_those_of_qdq_models() -> None:
    ours = reference(model(), format="qdq")
    assert [name for name in ours.activations if ours.between(name)] == ["d", "a"]
    assert not any(reference(model(), format="qoperator").between(name) for name in ours.activations)


def test_elements_on_their_way() -> None:
    """Codes as floats; what moves them; and codes again. Not what computes."""
    ours = reference(model())
    assert [name for name in ours.activations if ours.moved(name)] == ["d"]
    m = model()
    m.graph.node.extend(
        [
            helper.make_node("Gather", ["d", "one"], ["g"]),
            helper.make_node("QuantizeLinear", ["g", "s", "z"], ["p"]),
            helper.make_node("Relu", ["g"], ["r"]),
            helper.make_node("QuantizeLinear", ["r", "s", "z"], ["s"]),
        ]
    )
    ours = reference(m)
    assert [name for name in ours.activations if ours.moved(name)] == ["d", "g", "p"]


def test_integers_are_exact_but_for_what_is_named() -> None:
    ours = reference(model(), inexact=json.dumps({"y": "QLinearAveragePool"}))
    assert ours.tolerance("q", QUANTISED) == EXACT
    assert ours.tolerance("q", np.dtype(np.int32)) == EXACT
    assert ours.tolerance("a", np.dtype(np.float32)) == FLOAT
    assert ours.tolerance("y", QUANTISED).lsb == 1
    assert "QLinearAveragePool" in str(ours.tolerance("y", QUANTISED))
    assert (FLOAT.rtol, FLOAT.atol, FLOAT.lsb) == (1e-4, 1e-5, 0)


@pytest.mark.parametrize("batch", [1, "batch"])
def test_images_run_together_or_one_by_one(batch: int | str) -> None:
    ours = reference(model(batch))
    ours.expose(["q", "y"])
    x = np.arange(12, dtype=np.float32).reshape(4, 3)
    found = ours.run({"x": x})
    assert list(found) == ["q", "y"]
    np.testing.assert_array_equal(found["q"], 2 * x + 2)
    np.testing.assert_array_equal(found["y"], 2 * x + 4)


def test_inputs_without_dimensions_have_no_batch() -> None:
    m = model("batch")
    m.graph.input.insert(0, helper.make_tensor_value_info("unused", TensorProto.FLOAT, []))
    ours = reference(m)
    ours.expose(["q"])
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    np.testing.assert_array_equal(ours.run({"unused": np.array(0, np.float32), "x": x})["q"], 2 * x + 2)


def test_a_model_that_onnxruntime_refuses_is_named() -> None:
    with pytest.raises(RunError, match="onnxruntime cannot run the toy") as raised:
        session(b"no model", {}, "the toy")
    assert "\n" not in str(raised.value)


def test_settings_reach_onnxruntime() -> None:
    made = session(model().SerializeToString(), {"session.x64quantprecision": "1"}, "the toy")
    options = made.get_session_options()
    assert options.get_session_config_entry("session.x64quantprecision") == "1"
    assert (options.intra_op_num_threads, options.inter_op_num_threads) == (1, 1)


# ---- votes ----

OURS = np.array([[0, 9, 1], [5, 1, 1], [0, 0, 7], [3, 2, 1]])
THEIRS = np.array([[0, 9, 1], [1, 5, 1], [0, 0, 7], [1, 2, 3]])


def test_votes_by_hand() -> None:
    votes = _Votes(np.array([1, 0, 2, 2]))
    for first in (0, 2):
        votes.add("pimc", first, OURS[first : first + 2])
        votes.add("onnxruntime", first, THEIRS[first : first + 2])
        votes.add("fp32", first, OURS[first : first + 2] * 0)  # always class 0
    assert votes.agreement() == 2 / 4
    assert votes.accuracy() == {"pimc": 3 / 4, "onnxruntime": 3 / 4, "fp32": 1 / 4}


def test_votes_without_labels_only_agree() -> None:
    votes = _Votes(None)
    votes.add("pimc", 0, OURS)
    votes.add("onnxruntime", 0, THEIRS)
    assert (votes.agreement(), votes.accuracy()) == (0.5, {})


@pytest.mark.parametrize(
    ("shape", "counts"), [((2, 2), True), ((2, 5, 1, 1), True), ((2, 1), False), ((2, 2, 2), False)]
)
def test_only_one_vector_an_image_is_a_vote(shape: tuple[int, ...], counts: bool) -> None:
    votes = _Votes(np.zeros(2))
    votes.add("pimc", 0, np.ones(shape))
    votes.add("onnxruntime", 0, np.ones(shape))
    assert votes.agreement() == (1.0 if counts else None)
    assert bool(votes.accuracy()) == counts


# ---- inputs and memory ----


class Session:
    """Knows the names of its inputs, as sessions of onnxruntime do."""

    def __init__(self, *names: str) -> None:
        self.names = names

    def get_inputs(self) -> list[object]:
        """Objects with a name."""
        return [type("Input", (), {"name": n})() for n in self.names]


def test_inputs_go_to_the_float_model_by_name_or_by_order() -> None:
    a, b = np.zeros(1), np.ones(1)
    assert renamed({"a": a, "b": b}, Session("b", "a")) == {"a": a, "b": b}
    assert renamed({"a": a, "b": b}, Session("u", "v")) == {"u": a, "v": b}
    with pytest.raises(RunError, match=r"the model has inputs \['u'\], the program \['a', 'b'\]"):
        renamed({"a": a, "b": b}, Session("u"))


def test_memory_of_an_image_is_both_sides_whole_tensors() -> None:
    rings = buffer("x", 10, 3, width=4, channels=2), buffer("y", 5, 5, width=6, channels=1)
    p = Program(machine(), (tile(1, (0, 0, 0), rings),), (), (), (), (), (), {})
    assert _bytes_per_image(p) == 2 * (10 * 4 * 2 + 5 * 6)


# ---- several chips ----


def chip(right: float | None, wrong: int, elements: int = 8) -> VerifyReport:
    accuracy = {} if right is None else {"pimc": right, "onnxruntime": 0.75, "fp32": 0.8}
    return VerifyReport(4, "d", (TensorReport("t", elements, wrong, wrong, 0.0, "", wrong),), {}, right, accuracy)


def test_the_spread_over_chips_by_hand() -> None:
    assert Spread.of([None, None]) is None
    assert Spread.of([]) is None
    assert Spread.of([2.0, None]) == Spread(2.0, 0.0)
    assert Spread.of([1.0, 3.0]) == Spread(2.0, 2**0.5)
    report = TrialsReport(3, "device", (chip(0.5, 2), chip(1.0, 4), chip(0.75, 0)))
    figures = report.figures()
    assert set(figures) == {"accuracy", "top1_agreement", "elements_that_differ"}
    assert figures["accuracy"] == Spread(0.75, 0.25)
    assert figures["elements_that_differ"] == Spread(0.25, statistics.stdev([0.25, 0.5, 0.0]))
    values = report.to_dict()
    assert (values["verdict"], values["trials"], values["seed"], values["images"]) == ("LOSSY", 3, 3, 4)
    assert (values["accuracy_onnxruntime"], values["accuracy_fp32"]) == (0.75, 0.8)
    assert values["figures"]["accuracy"] == {"mean": 0.75, "deviation": 0.25}


def test_chips_pass_only_together() -> None:
    assert TrialsReport(0, "device", (chip(None, 0), chip(None, 0))).to_dict()["verdict"] == "PASS"
    assert not TrialsReport(0, "device", (chip(None, 0), chip(None, 1))).passed
    empty = TrialsReport(0, "device", (chip(None, 0, elements=0),))
    assert empty.figures() == {"elements_that_differ": Spread(0.0, 0.0)}
