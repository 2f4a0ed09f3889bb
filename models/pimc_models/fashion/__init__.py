"""The trained Fashion-MNIST network: files, images, pre-processing and accuracy.

Images are 28 x 28 grey, ten classes of garments. Pre-processing is `pixel / 255` only, so an int8 model whose
calibration saw both black and white has input scale 1/255 and zero point 0: its quantised input *is* the pixels.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from pimc_models.run import run

if TYPE_CHECKING:
    import onnx

__all__ = [
    "CLASSES",
    "DATA",
    "accuracy",
    "fp32_path",
    "int8_path",
    "load_all_test",
    "load_calibration",
    "load_test",
    "logits",
    "preprocess",
    "quantise",
]

DATA = Path(__file__).parent / "data"
"""Folder of the committed files; the same in a checkout and in an installed wheel."""

CLASSES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)


def fp32_path() -> Path:
    """Return the float32 network: opset 17, input "image" N x 1 x 28 x 28, output "logits" N x 10."""
    return DATA / "fashion_fp32.onnx"


def int8_path() -> Path:
    """Return the int8 network: QOperator, u8 activations, s8 weights per channel."""
    return DATA / "fashion_int8.onnx"


def preprocess(images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Map N x 28 x 28 pixels to N x 1 x 28 x 28 float32 in 0..1."""
    return (images.astype(np.float32) / np.float32(255.0))[:, None]


def load_test() -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """Return the first 1,000 test images (float32 NCHW, pre-processed) and their labels."""
    return _load("test_1000.npz")


def load_all_test() -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """Return all 10,000 test images (float32 NCHW, pre-processed) and their labels, from Debian's package.

    It is fetched with apt once, into the user's cache. Raises `pimc_models.fashion.package.DatasetError`.
    """
    from pimc_models.fashion.package import test_arrays

    images, labels = test_arrays()
    return preprocess(images), labels.astype(np.int64)


def load_calibration() -> npt.NDArray[np.float32]:
    """Return the first 128 training images (float32 NCHW, pre-processed)."""
    return _load("calibration_128.npz")[0]


def logits(model: onnx.ModelProto, x: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Run onnxruntime on pre-processed images; returns N x 10."""
    return np.asarray(run(model, x), np.float32)


def accuracy(model: onnx.ModelProto) -> float:
    """Return the fraction of the 1,000 test images that onnxruntime classifies correctly."""
    x, labels = load_test()
    return float((logits(model, x).argmax(1) == labels).mean())


def quantise(kind: str, calibration: npt.NDArray[np.float32] | None = None) -> onnx.ModelProto:
    """Quantise the float32 network afresh; `kind` is a key of `pimc_models.fashion.quantisation.KINDS`."""
    from pimc_models.fashion import quantisation

    return quantisation.quantise(kind, calibration)


def _load(name: str) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    with np.load(DATA / name) as arrays:
        return preprocess(arrays["images"]), arrays["labels"].astype(np.int64)
