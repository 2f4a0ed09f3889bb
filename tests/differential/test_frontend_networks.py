"""Whole networks, float and quantised, against onnxruntime on every 8-bit tensor."""

from __future__ import annotations

import numpy as np
import pytest

from pimc.frontend import load_model
from pimc_models import fashion, zoo
from pimc_models.fashion.quantisation import KINDS, quantise
from tests.differential.frontend_models import differences


@pytest.mark.parametrize("kind", KINDS)
def test_fashion(kind: str) -> None:
    graph = load_model(quantise(kind))
    found, compared = differences(graph, {"image": fashion.load_test()[0][:8]})
    assert found == []
    assert compared == 19


def test_fashion_from_float() -> None:
    graph = load_model(fashion.fp32_path(), calibration=fashion.load_calibration())
    found, _ = differences(graph, {"image": fashion.load_test()[0][:8]})
    assert found == []


NETWORKS = [
    pytest.param("squeezenet1_1", 48),
    pytest.param("mobilenet_v2", 32),
    pytest.param("resnet18", 32, marks=pytest.mark.slow),
    pytest.param("googlenet", 64, marks=pytest.mark.slow),
    pytest.param("resnet50", 64, marks=pytest.mark.slow),
]


@pytest.mark.filterwarnings("ignore::pimc.frontend.fidelity.QuantisationWarning")  # random weights and inputs
@pytest.mark.parametrize(("name", "size"), NETWORKS)
def test_topology(name: str, size: int) -> None:
    x = np.random.default_rng(1).standard_normal((2, 3, size, size)).astype(np.float32)
    graph = load_model(zoo.build(name, size=size), calibration=x)
    found, _ = differences(graph, {"input": x})
    assert found == []
    assert load_model(graph.reference).constants.keys() == graph.constants.keys()


def test_shipped_network() -> None:
    """A thin ResNet-50 with real weights: channels-last input, average over the whole map, MatMul, Softmax."""
    from pimc_models import locate

    try:
        path = locate.find("opennsfw")
    except locate.NotInstalledError as error:
        pytest.skip(str(error))
    x = np.random.default_rng(1).uniform(-110, 140, (1, 224, 224, 3)).astype(np.float32)
    graph = load_model(path, calibration=x)
    name = graph.inputs[0].name
    found, _ = differences(graph, {name: x})
    assert found == []
