"""Epitomes from ONNX to onnxruntime's bits on every target whose conversions lose nothing: chains, exports, ResNets."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import safetensors

from pimc import driver
from pimc.frontend import load_model
from pimc.ir.graph import Graph
from pimc.ir.ops import Conv
from pimc.passes.manager import run_passes
from pimc.passes.plan_file import PlanFile
from pimc_models import zoo
from pimc_models.builders.net import Net as FloatNet
from tests.differential.epitome_models import FORMS, chained, five_layers, layers_in
from tests.differential.frontend_models import Net
from tests.differential.test_epitomes import TARGETS, lossless

DATA = Path(__file__).parents[1] / "unit" / "epitomes" / "data"
EXPORTS = ("small-torchscript", "small-dynamo", "large-torchscript", "large-dynamo")


def cases(names: tuple[str, ...]) -> list[Any]:
    """Every target with every name; by default each target with one of them, and isaac with all."""
    made = []
    for number, target in enumerate(TARGETS):
        for place, name in enumerate(names):
            default = target == "isaac" or place == number % len(names)
            made.append(pytest.param(target, name, marks=[] if default else [pytest.mark.slow]))
    return made


def compiled(graph: Graph, name: str, *, fold: bool = True) -> driver.CompiledProgram:
    """The program of a graph; ``fold``: on small crossbars, every epitome folded even where that saves nothing."""
    target, passes = lossless(name, (128 if "raella" in name else 32) if fold else 0)
    layers = [op.name for op in graph.of(Conv) if op.epitome is not None]
    assert layers
    plan = PlanFile({}, {"fold-epitomes": {op: {"folded": True} for op in layers}} if fold else {})
    done = run_passes(graph, passes, target, plan=plan)
    folded = [op.name for op in done.of(Conv) if op.rounds is not None]
    assert (folded == layers) if fold else folded
    return driver.emit(done, target)


def images(shape: tuple[int, ...], count: int = 2) -> np.ndarray:
    """Seeded normal images."""
    return np.random.default_rng(7).normal(0, 1, (count, *shape)).astype(np.float32)


@cache
def exported(name: str) -> Graph:
    """What one of PyTorch's exporters wrote, quantised."""
    return load_model(DATA / f"{name}.onnx", calibration=images((3, 12, 12), 8))


@pytest.mark.parametrize(("target", "exporter"), cases(EXPORTS))
def test_exported_networks(target: str, exporter: str) -> None:
    report = compiled(exported(exporter), target).verify(images((3, 12, 12)))
    assert report.verdict == "PASS", report


@cache
def eight_bit(form: str) -> onnx.ModelProto:
    """A chain of every form, one of them in groups, before DequantizeLinear or QLinearConv."""
    net = Net(5, qdq=form == "QDQ")
    five_layers(net)
    model = net.model()
    forms = [*FORMS, "slices"]
    return chained(model, dict(zip(layers_in(model), forms, strict=True)), seed=3)


@cache
def loaded(form: str) -> Graph:
    """The graph of `eight_bit`, with calibration data."""
    graph = load_model(eight_bit(form).SerializeToString())
    graph.calibration = {graph.inputs[0].name: images((6, 5, 4), 4)}
    return graph


@pytest.mark.parametrize(("target", "form"), cases(("QOperator", "QDQ")))
def test_chains_in_8_bit_models(target: str, form: str) -> None:
    """Every tensor is onnxruntime's, and the outputs those of the model that was given, chains and all."""
    model, graph = eight_bit(form), loaded(form)
    assert sum(op.epitome is not None for op in graph.of(Conv)) == 5
    feeds = {model.graph.input[0].name: images((6, 5, 4))}
    report = compiled(graph, target).verify(feeds, own=model.SerializeToString())
    assert report.verdict == "PASS", report


@cache
def normalised() -> Graph:
    """Float layers with chains, batch normalisation behind each, a shortcut; quantised."""
    net = FloatNet("folds", 2, 12)
    x = net.input
    for number, (outputs, kernel) in enumerate(((16, 3), (24, 1), (24, 3), (32, 1))):
        y = net.relu(net.bn(net.conv(x, f"c{number}", outputs, kernel), f"b{number}"), f"r{number}")
        x = net.add(x, y, f"a{number}") if outputs == x.channels else y
    model = net.finish(net.gemm(net.global_average(x), "fc", 10))
    forms = dict(zip(layers_in(model), ("tile", "slices", "gather", "wrapped"), strict=True))
    return load_model(chained(model, forms), calibration=images((3, 12, 12), 8))


@pytest.mark.parametrize("target", TARGETS)
def test_float_chains_behind_normalisation(target: str) -> None:
    graph = normalised()
    assert sum(op.epitome is not None for op in graph.of(Conv)) == 4
    report = compiled(graph, target).verify(images((3, 12, 12)))
    assert report.verdict == "PASS", report


def test_layers_that_share_weights_share_them_in_the_file(tmp_path: Path) -> None:
    """One chain makes the weights of two layers: each has crossbars of its own, the program file one copy."""
    net = Net(2, qdq=False)
    x = net.input(24, 6, 6)
    net.output(net.conv(net.conv(x, 24, (3, 3), pads=[1, 1, 1, 1]), 24, (3, 3), pads=[1, 1, 1, 1]))
    model = net.model()
    first, second = layers_in(model)
    last = next(n for n in model.graph.node if second in n.input)
    last.input[3] = first
    shared = load_model(chained(model, {first: "slices"}).SerializeToString())
    feeds = {model.graph.input[0].name: images((24, 6, 6))}
    program = compiled(shared, "isaac")
    assert program.verify(feeds).verdict == "PASS"
    program.save(tmp_path / "p.pim")
    with safetensors.safe_open(tmp_path / "p.pim", framework="np") as file:
        held, same = set(file.keys()), json.loads(file.metadata()["pimc"])["same"]
    assert same["w2.codes"] == "w1.codes"
    assert {name.removeprefix("w2") for name in same if name.startswith("w2")} <= {".codes", ".centre", ".polarity"}
    assert any(name.startswith("r") for name in same)
    assert "w2.codes" not in held
    assert driver.load(tmp_path / "p.pim").verify(feeds).verdict == "PASS"


def resnet50(model: onnx.ModelProto) -> onnx.ModelProto:
    """With Slice and Concat in its large layers, 3x3 and 1x1."""
    large = {name for name, shape in layers_in(model).items() if np.prod(shape) >= 1 << 18}
    assert len(large) > 20
    return chained(model, dict.fromkeys(sorted(large), "slices"))


@pytest.mark.slow
@pytest.mark.parametrize("target", TARGETS)
def test_resnet50_in_8_bits(target: str) -> None:
    graph = load_model(resnet50(zoo.build_int8("resnet50", size=32)).SerializeToString())
    (port,) = graph.inputs
    data = images(port.shape, 1)
    graph.calibration = {port.name: data}
    program = compiled(graph, target, fold=False)
    assert program.verify(data).verdict == "PASS"


@cache
def float_resnet50() -> Graph:
    """With normalisation behind every layer, quantised."""
    return load_model(resnet50(zoo.build("resnet50", size=32)), calibration=images((3, 32, 32), 8))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The quantised model is far from the float one")
@pytest.mark.parametrize("target", ["isaac", "raella"])
def test_resnet50_in_float_with_normalisation(target: str) -> None:
    """Random calibration images: the loss against the float model is not looked at."""
    graph = float_resnet50()
    assert sum(op.epitome is not None for op in graph.of(Conv)) > 20
    assert compiled(graph, target, fold=False).verify(images((3, 32, 32), 1)).verdict == "PASS"
