"""Seeded topologies: published sizes, valid graphs, lively activations, same bytes."""

from __future__ import annotations

import subprocess
import sys
from functools import cache

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort
import pytest
from onnx import numpy_helper

from pimc_models import measure, zoo
from pimc_models.builders.calibrate import calibration_images
from pimc_models.run import run

PUBLISHED = {
    "alexnet": (61_100_840, 0.71, 4096),
    "efficientnet_lite0": (4_652_008, 0.39, 1280),
    "googlenet": (6_624_904, 1.50, 1024),
    "inception_v3": (23_834_568, 5.71, 2048),
    "mobilenet_v2": (3_504_872, 0.30, 1280),
    "resnet18": (11_689_512, 1.81, 512),
    "resnet101": (44_549_160, 7.80, 2048),
    "resnet50": (25_557_032, 4.09, 2048),
    "shufflenet_v2": (2_278_604, 0.14, 1024),
    "squeezenet1_1": (1_235_496, 0.35, 512),
    "vgg16": (138_357_544, 15.47, 4096),
    "vgg19": (143_667_240, 19.63, 4096),
}
"""torchvision's documented parameters and GMACs (1,000 classes), and the features before the classifier.

Inception v3: 27,161,264 less the 3,326,696 of the auxiliary classifier, which exists only in training.
"""

LARGE = ("vgg16", "vgg19")

SHRUNK = {"alexnet": 256 * (6 * 6 - 1) * 4096, "vgg16": 512 * (49 - 4) * 4096, "vgg19": 512 * (49 - 4) * 4096}
"""Parameters that the first dense layer loses when its feature map shrinks with the image."""

SMALL = 64


def edge(name: str) -> int:
    return max(SMALL, zoo.LEAST[name])


@cache
def small(name: str) -> onnx.ModelProto:
    return zoo.build(name, size=edge(name), classes=10)


def images(seed: int, count: int, size: int = SMALL) -> npt.NDArray[np.float32]:
    coarse = np.random.default_rng(seed).standard_normal((count, 3, -(-size // 8), -(-size // 8)), np.float32)
    return np.kron(coarse, np.ones((8, 8), np.float32)).astype(np.float32)[:, :, :size, :size]


def test_table_is_complete() -> None:
    assert set(PUBLISHED) == set(zoo.TOPOLOGIES)


@pytest.mark.parametrize("name", [name for name in PUBLISHED if name not in LARGE])
def test_published_size(name: str) -> None:
    model = zoo.build(name)
    parameters, giga_macs, _ = PUBLISHED[name]
    assert measure.parameters(model) == parameters
    assert round(measure.macs(model) / 1e9, 2) == giga_macs
    assert [d.dim_value for d in model.graph.output[0].type.tensor_type.shape.dim] == [1, 1000]


@pytest.mark.slow
@pytest.mark.parametrize("name", LARGE)
def test_published_size_of_large_networks(name: str) -> None:
    model = zoo.build(name)
    parameters, giga_macs, _ = PUBLISHED[name]
    assert measure.parameters(model) == parameters
    assert round(measure.macs(model) / 1e9, 2) == giga_macs


@pytest.mark.parametrize("name", PUBLISHED)
def test_small_size_in_closed_form(name: str) -> None:
    published, _, features = PUBLISHED[name]
    expected = published - (1000 - 10) * (features + 1)
    assert measure.parameters(small(name)) == expected - SHRUNK.get(name, 0)


@pytest.mark.parametrize("name", PUBLISHED)
def test_valid_graph_with_every_shape(name: str) -> None:
    model = small(name)
    onnx.checker.check_model(model, full_check=True)
    assert (model.ir_version, [(o.domain, o.version) for o in model.opset_import]) == (9, [("", 17)])
    shapes = {v.name: [d.dim_value for d in v.type.tensor_type.shape.dim] for v in model.graph.value_info}
    assert set(shapes) | {"input", model.graph.output[0].name} >= {out for n in model.graph.node for out in n.output}
    assert all(all(shape) for shape in shapes.values())
    indices = {name for n in model.graph.node if n.op_type == "Gather" for name in n.input[1:]}
    kinds = {(t.data_type, t.name in indices) for t in model.graph.initializer}
    assert kinds <= {(onnx.TensorProto.FLOAT, False), (onnx.TensorProto.INT64, True)}


def outputs_of(model: onnx.ModelProto, names: list[str], x: npt.NDArray[np.float32]) -> list[npt.NDArray[np.float32]]:
    """Run once with the tensors `names` exposed."""
    exposed = onnx.ModelProto()
    exposed.CopyFrom(model)
    del exposed.graph.output[:]
    exposed.graph.output.extend(onnx.helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, None) for n in names)
    session = ort.InferenceSession(exposed.SerializeToString(), providers=["CPUExecutionProvider"])
    return [np.asarray(y, np.float32) for y in session.run(names, {"input": x})]


@pytest.mark.parametrize("name", PUBLISHED)
def test_activations_neither_vanish_nor_explode(name: str) -> None:
    model = small(name)
    layers = [n.output[0] for n in model.graph.node if n.op_type in ("Conv", "BatchNormalization", "Add", "Gemm")]
    for layer, y in zip(layers, outputs_of(model, layers, images(5, 1, edge(name))), strict=True):
        assert 0.1 < float(y.std()) < 10, layer


@pytest.mark.parametrize("name", PUBLISHED)
def test_logits_depend_on_the_image_and_the_class(name: str) -> None:
    logits = np.concatenate([run(small(name), image[None]) for image in images(7, 4, edge(name))])
    assert logits.shape == (4, 10)
    assert np.isfinite(logits).all()
    assert len(np.unique(logits)) == logits.size
    assert (logits.std(0) > 1e-3).all()


@pytest.mark.parametrize("name", ["googlenet", "mobilenet_v2", "resnet18", "resnet50", "resnet101"])
def test_normalisations_normalise_the_calibration_images(name: str) -> None:
    """Each normalisation's output has its own shift as mean and scale as deviation, per channel."""
    model = measure.with_input_shape(small(name), (8, 3, 96, 96))
    stored = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    norms = [n for n in model.graph.node if n.op_type == "BatchNormalization"]
    outputs = outputs_of(model, [n.output[0] for n in norms], calibration_images(3, seed=0))
    for norm, y in zip(norms, outputs, strict=True):
        scale, shift, _, variance = (stored[part] for part in norm.input[1:])
        epsilon = onnx.helper.get_node_attr_value(norm, "epsilon")
        np.testing.assert_allclose(y.mean((0, 2, 3)), shift, atol=1e-3)
        loud = variance > 0.0101  # below, the builder holds the variance at 0.01
        expected = scale * np.sqrt(variance / (variance + epsilon))
        np.testing.assert_allclose(y.std((0, 2, 3))[loud], expected[loud], rtol=1e-3)
        assert loud.mean() > 0.9


def test_shufflenet_shuffles_as_published() -> None:
    """Its channels are dealt out in turn: reshaped to groups, transposed, flattened."""
    model = small("shufflenet_v2")
    joined, shuffled = outputs_of(model, ["stage2.0.concat", "stage2.0.shuffle"], images(4, 1))
    rows, columns = joined.shape[2:]
    expected = joined.reshape(1, 2, -1, rows, columns).transpose(0, 2, 1, 3, 4).reshape(joined.shape)
    assert (shuffled == expected).all()
    left, right = outputs_of(model, ["stage2.1.split.0", "stage2.1.split.1"], images(4, 1))
    assert (np.concatenate([left, right], axis=1) == shuffled).all()


def test_options_are_the_builders_own() -> None:
    wide = zoo.build("shufflenet_v2", size=SMALL, classes=10, stages=(120, 240, 480))
    assert measure.parameters(wide) > measure.parameters(small("shufflenet_v2"))
    stem = [n for n in zoo.build_int8("inception_v3", size=224, padded_stem=True).graph.node if n.op_type == "MaxPool"]
    kernels = [onnx.helper.get_node_attr_value(n, "kernel_shape") for n in stem[:2]]
    assert kernels == [[3, 3], [5, 5]]
    with pytest.raises(TypeError, match="stages"):
        zoo.build("resnet18", size=SMALL, stages=(1,))


def test_same_arguments_same_bytes() -> None:
    again = zoo.build("mobilenet_v2", size=SMALL, classes=10)
    assert again.SerializeToString(deterministic=True) == small("mobilenet_v2").SerializeToString(deterministic=True)
    assert zoo.build("mobilenet_v2", seed=1, size=SMALL, classes=10) != again


def test_weights_do_not_depend_on_the_image_size() -> None:
    larger = zoo.build("squeezenet1_1", size=96, classes=10)
    assert [t.raw_data for t in larger.graph.initializer] == [
        t.raw_data for t in small("squeezenet1_1").graph.initializer
    ]
    wide, narrow = (zoo.build("resnet18", size=size, classes=10) for size in (32, SMALL))
    assert [t.raw_data for t in wide.graph.initializer] == [t.raw_data for t in narrow.graph.initializer]


def test_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(zoo.UnknownTopologyError, match=r"'resnet19'.*resnet18"):
        zoo.build("resnet19")


def test_importing_the_table_imports_no_onnx() -> None:
    code = "import sys, pimc_models.zoo, pimc_models.fashion, pimc_models.locate; sys.exit('onnx' in sys.modules)"
    assert (
        subprocess.run([sys.executable, "-c", code], env={"PYTHONPATH": ":".join(sys.path)}, check=False).returncode
        == 0
    )
