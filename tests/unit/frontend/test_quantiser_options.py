"""What users decide of a float model's quantisation: calibration method, nodes kept in float, folders of pictures."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import pimc
from pimc.frontend import FrontendError, QuantiserOptions, check_model, load_model
from pimc.frontend.fidelity import QuantisationWarning
from pimc.frontend.macs import HostLayersWarning


def two_layers() -> onnx.ModelProto:
    """Conv, BatchNormalization, Relu, Conv, of floats."""
    rng = np.random.default_rng(3)
    weights = [
        numpy_helper.from_array(rng.standard_normal(s).astype(np.float32), n)
        for n, s in (("w", (4, 3, 3, 3)), ("v", (5, 4, 3, 3)), ("s", (4,)), ("b", (4,)), ("m", (4,)))
    ]
    weights.append(numpy_helper.from_array(np.ones(4, np.float32), "var"))
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], "first", pads=[1, 1, 1, 1]),
        helper.make_node("BatchNormalization", ["c", "s", "b", "m", "var"], ["n"], "norm"),
        helper.make_node("Relu", ["n"], ["r"], "relu"),
        helper.make_node("Conv", ["r", "v"], ["y"], "second", pads=[1, 1, 1, 1]),
    ]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, 8, 8])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    graph = helper.make_graph(nodes, "two", [x], [y], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def images(outlier: float = 1.0) -> np.ndarray:
    made = np.random.default_rng(4).standard_normal((8, 3, 8, 8)).astype(np.float32)
    made[0, 0, 0, 0] *= outlier
    return made


@pytest.mark.parametrize(("method", "outlier", "narrower"), [("percentile", 1000.0, 50), ("entropy", 10.0, 1.5)])
def test_outliers_are_cut(method: str, outlier: float, narrower: float) -> None:
    """One value is far from the others: MinMax gives it the whole range."""
    scales = {}
    for chosen in ("minmax", method):
        options = QuantiserOptions(method=chosen, percentile=99.0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", QuantisationWarning)  # the outlier's own loss
            graph = load_model(two_layers(), calibration={"x": images(outlier)}, quantiser=options)
        model = onnx.load_from_string(graph.reference or b"")
        first = next(n for n in model.graph.node if n.op_type == "QuantizeLinear")
        scale = next(t for t in model.graph.initializer if t.name == first.input[1])
        scales[chosen] = float(numpy_helper.to_array(scale))
    assert scales["minmax"] > narrower * scales[method]


def test_kept_nodes_run_on_the_host_in_float() -> None:
    """Kept though BatchNormalization is folded into it; the rest stays exact, given the host's results."""
    options = QuantiserOptions(keep_float=("first",))
    with pytest.warns(HostLayersWarning):
        program = pimc.compile(two_layers(), calibration={"x": images()}, quantiser=options)
    assert program.verify(images=2).verdict == "PASS"
    report = check_model(two_layers(), calibration={"x": images()}, quantiser=options)
    assert {n.op_type: n.where for n in report.nodes}["Conv"] == "host"
    assert 0.3 < report.on_chip_macs_fraction < 0.7


def test_what_cannot_be_kept_is_said() -> None:
    with pytest.raises(FrontendError, match="no node 'secnd' to be kept in float; did you mean 'second'"):
        load_model(two_layers(), calibration={"x": images()}, quantiser=QuantiserOptions(keep_float=("secnd",)))
    with pytest.raises(FrontendError, match="'norm' cannot be kept in float: it is folded"):
        load_model(two_layers(), calibration={"x": images()}, quantiser=QuantiserOptions(keep_float=("norm",)))


def test_quantised_models_take_no_options() -> None:
    graph = load_model(two_layers(), calibration={"x": images()})
    with pytest.raises(FrontendError, match="quantised already"):
        load_model(graph.reference or b"", quantiser=QuantiserOptions(method="entropy"))


def test_folder_is_the_array_of_its_pictures(tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    for n in range(3):
        pixels = np.random.default_rng(n).integers(0, 256, (8, 8, 3)).astype(np.uint8)
        image.fromarray(pixels).save(tmp_path / f"{n}.png")
    folder = pimc.PictureFolder(tmp_path)
    array = folder.arrays((3, 8, 8), np.float32)
    kept = load_model(two_layers(), calibration=folder)
    assert kept.reference == load_model(two_layers(), calibration={"x": array}).reference
    assert kept.reference == load_model(two_layers(), calibration=tmp_path).reference
