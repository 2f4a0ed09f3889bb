"""Export to ONNX so that `pimc.compile` can take it: any number of images, one input, one output."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import torch

__all__ = ["export_onnx"]


def export_onnx(module: Any, images: Any, path: str | Path) -> None:
    """Write a module as an ONNX file; ``images`` [N, C, H, W] are an example of its input.

    With onnxscript installed by torch's newer exporter, which keeps the windows of large epitomes; else by the older
    one, which makes constants of them, in whose values they are found again.
    """
    was_training = module.training
    module.eval()
    newer = importlib.util.find_spec("onnxscript") is not None
    try:
        with torch.no_grad():
            if newer:
                program = torch.onnx.export(
                    module, (images,), dynamo=True, input_names=["x"], output_names=["y"], dynamic_shapes=({0: "n"},)
                )
                program.save(str(path), external_data=False)
            else:
                names: dict[str, Any] = {"input_names": ["x"], "output_names": ["y"]}
                axes = {"x": {0: "n"}, "y": {0: "n"}}
                torch.onnx.export(module, (images,), str(path), dynamo=False, dynamic_axes=axes, **names)
    finally:
        module.train(was_training)
