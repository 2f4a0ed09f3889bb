"""The figures of RAELLA's artifact in benchmarks/data: layers with their recorded statistics, and energy bars."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

__all__ = ["DESIGNS", "NETWORKS", "Layer", "bars", "layers"]

_DATA = Path(__file__).parent / "data"

#: The ablation's designs: from the baseline to all three techniques.
DESIGNS = ("isaac", "center_offset", "center_offset_aws", "raella")

#: Networks as the artifact names them, with the topologies of `pimc_models.zoo` that have their shapes (BERT has none).
NETWORKS: Mapping[str, str | None] = {
    "qdqbert": None,
    "googlenet": "googlenet",
    "inceptionv3": "inception_v3",
    "resnet18": "resnet18",
    "resnet50": "resnet50",
    "mobilenetv2": "mobilenet_v2",
    "shufflenet1_0": "shufflenet_v2",
}


@dataclass(frozen=True)
class Layer:
    """One layer: names and columns are those of benchmarks/data/README.md."""

    network: str
    layer: str
    C: int
    R: int
    S: int
    M: int
    P: int
    Q: int
    G: int
    signed: int
    slices: int
    s: float
    cell: float
    pulses_spec: float
    pulses_nospec: float
    isaac_cell: float
    isaac_cell_modelled: float
    isaac_pulses: float

    @property
    def length(self) -> int:
        """Rows of a dot product."""
        return self.C * self.R * self.S

    @property
    def outputs(self) -> int:
        """Elements of the layer's output."""
        return self.P * self.Q * self.M * self.G

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one image or token."""
        return self.length * self.outputs


@cache
def _all() -> tuple[Layer, ...]:
    with (_DATA / "raella_layers.csv").open(encoding="utf-8", newline="") as file:
        return tuple(_layer(row) for row in csv.DictReader(file))


def _layer(row: Mapping[str, str]) -> Layer:
    kinds = {"str": str, "int": int, "float": float}
    return Layer(**{name: kinds[str(kind)](row[name]) for name, kind in Layer.__annotations__.items()})


def layers(network: str) -> tuple[Layer, ...]:
    """The layers of a network, in the artifact's order."""
    return tuple(layer for layer in _all() if layer.network == network)


@cache
def bars() -> Mapping[tuple[str, str], Mapping[str, float]]:
    """Bars by workload and design: parts in mJ (``adc_mj``, ``total_mj``, ...) and the ``batch`` they are of."""
    with (_DATA / "raella_energy_mj.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    texts = ("workload", "design", "batch_unit")
    return {
        (row["workload"], row["design"]): {name: float(text) for name, text in row.items() if name not in texts}
        for row in rows
    }
