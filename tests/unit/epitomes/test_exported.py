"""Networks that PyTorch's two exporters wrote: their epitomes come back, whatever became of the chains."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import numpy as np
import onnx
import pytest

import pimc
from pimc.frontend import load_model
from pimc.ir.ops import Conv
from pimc.ir.verify import verify

DATA = Path(__file__).parent / "data"
IMAGES = np.random.default_rng(3).standard_normal((8, 3, 12, 12)).astype(np.float32)

#: Rows x columns of the stored matrices, and the operators that an exporter left of chain and normalisation.
KNOWN = {
    "small-torchscript": ([(164, 24), (32, 16)], {"BatchNormalization"}),
    "small-dynamo": ([(164, 24), (32, 16)], set()),
    "large-torchscript": ([(324, 24), (40, 20)], {"BatchNormalization"}),
    "large-dynamo": ([(324, 24), (40, 20)], {"BatchNormalization", "Slice", "Concat"}),
}


@pytest.mark.parametrize("name", KNOWN)
def test_structure_comes_back(name: str) -> None:
    """The epitomes' own shapes, of which the sampler uses these rows and columns; two dense layers have none."""
    path, (shapes, left) = DATA / f"{name}.onnx", KNOWN[name]
    kinds = {node.op_type for node in onnx.load(path).graph.node}
    assert kinds & {"BatchNormalization", "Slice", "Concat"} == left
    graph = load_model(path, calibration=IMAGES)
    verify(graph)
    found = [graph.constants[op.epitome].shape for op in graph.of(Conv) if op.epitome is not None]
    assert found == shapes
    assert len(list(graph.of(Conv))) == 4
    noted = json.loads(graph.meta["epitomes"])
    assert sorted(tuple(layer["stored"]) for layer in noted.values()) == sorted(shapes)
    assert all(layer["lost_db"] < 1 for layer in noted.values())


@pytest.mark.parametrize("name", ["small-dynamo", "large-dynamo"])
def test_programs_are_as_exact_as_others(name: str) -> None:
    program = pimc.compile(DATA / f"{name}.onnx", calibration=IMAGES)
    assert program.verify(images=2).verdict == "PASS"
    assert program.program.meta["epitomes"]


@pytest.mark.skipif(importlib.util.find_spec("torch") is not None, reason="torch is installed")
def test_without_torch_it_is_said_how_to_get_it() -> None:
    with pytest.raises(ModuleNotFoundError, match=r"not installed: pip install 'pimc\[torch\]'"):
        importlib.import_module("pimc.torch")


def test_both_exporters_give_the_same_epitomes() -> None:
    """8-bit cells are equal but for the roundings of folded normalisation."""
    for size in ("small", "large"):
        graphs = [load_model(DATA / f"{size}-{kind}.onnx", calibration=IMAGES) for kind in ("torchscript", "dynamo")]
        cells = [
            [graph.constants[op.weights].astype(int) for op in graph.of(Conv) if op.epitome is not None]
            for graph in graphs
        ]
        for one, other in zip(*cells, strict=True):
            assert np.abs(one - other).max() <= 1
