"""The size table of models/README.md is what the builders give."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest

from pimc_models import fashion, locate, measure, zoo
from pimc_models.__main__ import row, slim

README = (Path(__file__).parents[3] / "models" / "README.md").read_text().splitlines()


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=pytest.mark.slow) if n.startswith("vgg") else n for n in zoo.TOPOLOGIES]
)
def test_row_of_seeded_topology(name: str) -> None:
    assert row(name, zoo.build(name)) in README


def test_row_of_fashion() -> None:
    assert row("fashion", measure.with_input_shape(onnx.load(fashion.fp32_path()), (1, 1, 28, 28))) in README


@pytest.mark.parametrize("name", locate.NETWORKS)
def test_row_of_shipped_network(name: str) -> None:
    try:
        model = locate.load(name)
    except locate.NotInstalledError as error:
        pytest.skip(str(error))
    assert row(name, slim(model)) in README
