"""Weights of few bits: what options and plans ask for reaches codes, and programs equal onnxruntime bit for bit."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

import pimc
from pimc.epitomes.codes import largest_code
from pimc.frontend import FrontendError, QuantiserOptions, load_model
from pimc.frontend.fidelity import QuantisationWarning
from pimc.frontend.planned import planned
from pimc.ir.graph import Graph
from pimc.ir.ops import Conv
from pimc.passes.base import PassError
from tests.unit.cli.run import pimc as command
from tests.unit.frontend.float_models import float_model, random
from tests.unit.frontend.test_epitomes import IMAGES as EPITOME_IMAGES
from tests.unit.frontend.test_epitomes import float_net
from tests.unit.frontend.test_quantiser_options import images, two_layers

pytestmark = pytest.mark.filterwarnings(f"ignore::{QuantisationWarning.__module__}.{QuantisationWarning.__name__}")


def loaded(model: onnx.ModelProto | None = None, **options: Any) -> Graph:
    return load_model(model or two_layers(), calibration={"x": images()}, quantiser=QuantiserOptions(**options))


def bits_of(graph: Graph) -> list[int | None]:
    return [op.bits for op in graph.of(Conv)]


@pytest.mark.parametrize("scales", ["channel", "tensor"])
@pytest.mark.parametrize("bits", [8, 7, 5, 3])
def test_codes_and_scales_by_hand(bits: int, scales: str) -> None:
    """The second layer's weights are the model's own: divided by the largest of the channel, or of all, and rounded."""
    graph = loaded(weight_bits=bits, weight_scales=scales)
    assert bits_of(graph) == [bits, bits]
    op = list(graph.of(Conv))[1]
    (given,) = (numpy_helper.to_array(t) for t in two_layers().graph.initializer if t.name == "v")
    most = np.abs(given).max(axis=(1, 2, 3), keepdims=True) if scales == "channel" else np.abs(given).max()
    top = largest_code(bits)
    want = np.rint(given.astype(np.float64) / (most / top)).transpose(0, 2, 3, 1)
    np.testing.assert_array_equal(graph.constants[op.weights], want)


@pytest.mark.parametrize("fit", ["largest", "squares"])
@pytest.mark.parametrize("options", [{}, {"encoder": "differential"}])
def test_programs_equal_onnxruntime(options: dict[str, str], fit: str) -> None:
    quantiser = QuantiserOptions(weight_bits={"first": 3, "*": 5}, weight_fit=fit)
    program = pimc.compile(
        two_layers(),
        calibration={"x": images()},
        quantiser=quantiser,
        target_options={**options, "replication": "none"},
    )
    usual = "isaac8s" if options else "isaac8"
    assert [flow.name for flow in program.program.flows] == [f"{usual}-w3", f"{usual}-w5"]
    assert program.verify(images=2).verdict == "PASS"


def test_blocks_are_exact_and_take_the_cells_of_8_bits() -> None:
    quantiser = QuantiserOptions(weight_bits=3, weight_scales="tensor", weight_blocks=(9, 2))
    program = pimc.compile(two_layers(), calibration={"x": images()}, quantiser=quantiser, replication="none")
    assert [flow.name for flow in program.program.flows] == ["isaac8"]
    assert json.loads(program.program.meta["weight_bits"]) == {"c": 3, "second": 3}
    assert program.verify(images=2).verdict == "PASS"
    graph = loaded(weight_bits=3, weight_scales="tensor", weight_blocks=(9, 2))
    codes = {abs(int(code)) for op in graph.of(Conv) for code in np.unique(graph.constants[op.weights])}
    assert max(codes) > 3
    assert codes <= {q << k for q in range(4) for k in range(6)}


def test_nothing_changes_unless_asked() -> None:
    assert bits_of(loaded()) == [None, None]
    a, b = loaded(), loaded(weight_bits=8)
    for x, y in zip(a.of(Conv), b.of(Conv), strict=True):
        np.testing.assert_array_equal(a.constants[x.weights], b.constants[y.weights])
        np.testing.assert_array_equal(a.constants[x.multiplier], b.constants[y.multiplier])
        np.testing.assert_array_equal(a.constants[x.bias], b.constants[y.bias])


def test_epitomes_keep_their_cells() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", QuantisationWarning)
        graph = load_model(
            float_net(), calibration=EPITOME_IMAGES, quantiser=QuantiserOptions(weight_bits=3, weight_fit="squares")
        )
    (op,) = graph.of(Conv)
    assert op.epitome is not None
    assert (op.bits, graph.constants[op.epitome].shape) == (3, (54, 12))
    assert set(np.unique(graph.constants[op.epitome])) <= set(range(-3, 4))


def test_layers_by_name_pattern_and_plan() -> None:
    """The first name that fits counts; normalisation behind a layer does not hide it."""
    assert bits_of(loaded(weight_bits={"second": 4})) == [None, 4]
    assert bits_of(loaded(weight_bits={"sec*": 4, "*": 6})) == [6, 4]
    options = planned({"weight_bits": 5}, {"first": {"weight_bits": 3}}, None)
    assert options is not None
    assert options.weight_bits == {"first": 3, "*": 5}
    assert planned({}, {}, None) is None
    kept = planned({}, {"first": {"weight_bits": 3}}, QuantiserOptions(weight_bits=7, percentile=99.0))
    assert kept == QuantiserOptions(weight_bits={"first": 3, "*": 7}, percentile=99.0)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"weight_bits": 9}, "Weights of 9 bits cannot be. Give 2 to 8"),
        ({"weight_bits": 1}, "Weights of 1 bits cannot be"),
        ({"weight_bits": {"secnd": 3}}, r"no layer 'secnd' .* did you mean 'second'\?"),
        ({"weight_bits": {"norm": 3}}, "no layer 'norm'"),
        ({"weight_fit": "best"}, "weight_fit='best' does not exist. Choose largest or squares"),
        ({"weight_bits": 3, "weight_blocks": (0, 2)}, "are no blocks"),
        ({"weight_blocks": (9, 2)}, "need weights of fewer than 8 bits: give weight_bits, too"),
        ({"weight_scales": "row"}, "weight_scales='row' does not exist. Choose channel or tensor"),
    ],
)
def test_what_cannot_be_is_said(options: dict[str, Any], said: str) -> None:
    with pytest.raises(FrontendError, match=said):
        loaded(**options)


def test_layers_that_share_weights_share_bits() -> None:
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"], "one", pads=[1] * 4),
        helper.make_node("Conv", ["a", "w"], ["y"], "two", pads=[1] * 4),
    ]
    model = float_model(nodes, {"w": random(3, 3, 3, 3, seed=1)}, ("n", 3, 8, 8))
    assert bits_of(loaded(model, weight_bits=4)) == [4, 4]
    with pytest.raises(FrontendError, match="'one' and 'two' share their weights"):
        loaded(model, weight_bits={"one": 4})


def test_a_written_plan_does_the_same_again(tmp_path: Path) -> None:
    onnx.save(two_layers(), tmp_path / "net.onnx")
    np.savez(tmp_path / "x.npz", x=images())
    given = ["compile", str(tmp_path / "net.onnx"), "--calibration", str(tmp_path / "x.npz"), "-q"]
    first, again, plan = tmp_path / "a.pim", tmp_path / "b.pim", tmp_path / "plan.toml"
    done = command(*given, "-o", str(first), "--weight-bits", "3", "--write-plan", str(plan))
    assert "weights: 3 bits in 2 layers" in done.out
    assert '[quantise."second"]\nweight_bits = 3\n' in plan.read_text()
    command(*given, "-o", str(again), "--plan", str(plan))
    assert again.read_bytes() == first.read_bytes()
    plan.write_text('[quantise]\nwidth = 3\n[quantise."first"]\nweight_bits = 3\n')
    wrong = command(*given, "-o", str(again), "--plan", str(plan))
    assert "the quantiser; it may have weight_bits" in wrong.err


def test_a_quantised_model_has_the_bits_that_it_has() -> None:
    """They are not changed, but found where that is asked for."""
    model = loaded(weight_bits=3).reference or b""
    with pytest.raises(FrontendError, match="quantised already"):
        load_model(model, quantiser=QuantiserOptions(weight_bits=3))
    program = pimc.compile(model, passes="choose-flows{weight_bits=fit}", replication="none")
    assert [flow.name for flow in program.program.flows] == ["isaac8-w3"]
    assert program.verify(images=2).verdict == "PASS"
    with pytest.raises(PassError, match="target raella has no flows for weights of 3 bits"):
        pimc.compile(model, "raella", passes="choose-flows{weight_bits=fit}", calibration={"x": images()})
