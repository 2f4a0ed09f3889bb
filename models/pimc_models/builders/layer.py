"""What the writer of graphs and its calibration share: the ONNX versions and the value that flows between layers."""

from __future__ import annotations

from dataclasses import dataclass

OPSET = 17
IR_VERSION = 9


@dataclass(frozen=True)
class Value:
    """A tensor of the graph: its name and its number of channels (or features)."""

    name: str
    channels: int
