"""What the writer of graphs and its calibration share: the ONNX versions and the value that flows between layers."""

from __future__ import annotations

from dataclasses import dataclass

OPSET = 17
IR_VERSION = 9


@dataclass(frozen=True)
class Signal:
    """A tensor of the graph: its name and its number of channels (or features)."""

    name: str
    channels: int


def edges(height: int, width: int, pad: int | tuple[int, int] | None) -> list[int]:
    """ONNX's pads of a kernel: "same" at stride 1 (None), all sides alike, or above and left, below and right."""
    if pad is None:
        return [height // 2, width // 2] * 2
    first, last = (pad, pad) if isinstance(pad, int) else pad
    return [first, first, last, last]
