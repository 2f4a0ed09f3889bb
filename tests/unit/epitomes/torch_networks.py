"""Networks with epitomes in PyTorch (random, seeded), and their exports in ``data``, which tests use without torch.

``python -m tests.unit.epitomes.torch_networks`` writes those anew: needs torch 2.13 and onnxscript.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx
import torch
from torch import nn

from pimc.torch import EpitomeConv2d

DATA = Path(__file__).parent / "data"
SHAPE = (2, 3, 12, 12)

NETWORKS: dict[str, tuple[Any, ...]] = {
    "small": (24, 32, (24, 16, 4, 4), (16, 8), (16, 32, 1, 1)),  # the newer exporter folds it, and BatchNormalization
    "large": (48, 40, (32, 36, 3, 3), (24, 16), (20, 40, 1, 1)),  # the newer exporter keeps Slice and Concat
}


class Net(nn.Module):  # type: ignore[misc, unused-ignore]  # untyped where torch is not installed
    """A dense layer, one of an epitome with batch normalisation, a wrapped one, and a dense one."""

    def __init__(self, first: int, second: int, epitome: Any, block: Any, wrapped: Any) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, first, 3, padding=1)
        self.fold = EpitomeConv2d(first, second, 3, epitome, block=block, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(second)
        self.wrap = EpitomeConv2d(second, second, 1, wrapped)
        self.head = nn.Linear(second, 10)

    def forward(self, x: Any) -> Any:
        """Ten numbers for each image."""
        x = torch.relu(self.norm(self.fold(torch.relu(self.stem(x)))))
        return self.head(torch.relu(self.wrap(x)).mean((2, 3)))


def network(name: str) -> Any:
    """One of `NETWORKS` with random weights and statistics."""
    torch.manual_seed(1)
    made = Net(*NETWORKS[name])
    with torch.no_grad():
        made.norm.weight.uniform_(0.5, 1.5)
        made.norm.bias.normal_(0, 0.1)
        made.norm.running_mean.normal_(0, 0.1)
        made.norm.running_var.uniform_(0.5, 2)
    return made.eval()


def export(made: Any, path: Path, *, newer: bool) -> None:
    """Write a network with the newer exporter or the older one, both as they are by default."""
    images = torch.zeros(SHAPE)
    if newer:
        program = torch.onnx.export(
            made, (images,), dynamo=True, input_names=["x"], output_names=["y"], dynamic_shapes=({0: "n"},)
        )
        program.save(str(path), external_data=False)
        _strip(path)
        return
    axes = {"x": {0: "n"}, "y": {0: "n"}}
    names: dict[str, Any] = {"input_names": ["x"], "output_names": ["y"]}
    torch.onnx.export(made, (images,), str(path), dynamo=False, dynamic_axes=axes, **names)


def _strip(path: Path) -> None:
    """Take notes of where code was traced out of a file."""
    model = onnx.load(path)
    for node in model.graph.node:
        node.ClearField("metadata_props")
        node.ClearField("doc_string")
    for value in (*model.graph.value_info, *model.graph.input, *model.graph.output):
        value.ClearField("metadata_props")
    onnx.save(model, path)


if __name__ == "__main__":
    for name in NETWORKS:
        export(network(name), DATA / f"{name}-torchscript.onnx", newer=False)
        export(network(name), DATA / f"{name}-dynamo.onnx", newer=True)
