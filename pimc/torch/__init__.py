"""Layers for PyTorch whose weights are epitomes: train them, export them, and `pimc.compile` finds the structure.

An extra: ``pip install 'pimc[torch]'``.
"""

from __future__ import annotations

try:
    import torch as _torch
except ModuleNotFoundError as missing:
    raise ModuleNotFoundError(
        "pimc.torch needs PyTorch, which is not installed: pip install 'pimc[torch]'", name="torch"
    ) from missing

from pimc.torch.epitome import EpitomeConv2d, even_offsets
from pimc.torch.export import export_onnx

__all__ = ["EpitomeConv2d", "even_offsets", "export_onnx"]

del _torch
