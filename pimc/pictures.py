"""Folders of pictures as inputs: read, turned upright, resized, cropped, normalised, in the layout a model takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pimc.arrayfile import ArrayFileError

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["ENDINGS", "FOR_CALIBRATION", "PictureFolder"]

Array = np.ndarray

ENDINGS = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp"})
"""Names of files that are pictures end so; others in the folder are passed over."""

FULL = 255.0
"""The brightest value of a picture."""

FOR_CALIBRATION = 100
"""Of a folder of calibration pictures at most so many, evenly spread over it."""


@dataclass(frozen=True)
class PictureFolder:
    """Pictures of a folder and its subfolders, in the order of their paths, and what is done to each.

    ``size``: the shorter side after resizing, or (height, width); without it pictures are resized so that they just
    cover what the model takes. ``crop``: the height and width of the middle that is kept; without it what the model
    takes. ``mean`` and ``std``: of a pixel's values, 0 to 255, for all channels or one for each; without ``std``,
    models of floats get values from 0 to 1, models of whole numbers 0 to 255. ``order``: 'rgb' or 'bgr'. ``most``: at
    most so many pictures, evenly spread over the folder. Raises ArrayFileError for settings that make no sense.
    """

    path: Path
    size: int | tuple[int, int] | None = None
    crop: int | tuple[int, int] | None = None
    mean: Sequence[float] = (0.0,)
    std: Sequence[float] | None = None
    order: str = "rgb"
    most: int | None = None

    def __post_init__(self) -> None:
        if self.order not in ("rgb", "bgr"):
            raise ArrayFileError(f"The order of a picture's channels is rgb or bgr, not {self.order!r}.")
        if self.std is not None and min(self.std) < 1:
            raise ArrayFileError(
                f"A deviation of {min(self.std):g}: mean and std are of pixels from 0 to 255.\n"
                "Those of pixels from 0 to 1 are to be multiplied by 255 (0.485 is 123.675)."
            )

    def arrays(self, shape: Sequence[int], dtype: Any) -> Array:
        """All pictures, shape images x ``shape``: three or one channels, first or last. Raises ArrayFileError."""
        height, width, channels, first = _layout(tuple(shape), self.path)
        files = self.files()
        made = np.empty((len(files), *shape), np.dtype(dtype))
        whole = made.dtype.kind in "iu"
        std = self.std or ((1.0,) if whole else (FULL,))
        for n, file in enumerate(files):
            pixels = self._prepared(file, height, width, channels)
            pixels = (pixels - _by_channel("mean", self.mean, channels)) / _by_channel("std", std, channels)
            if whole:
                limits = np.iinfo(made.dtype)
                pixels = np.clip(np.rint(pixels), limits.min, limits.max)
            made[n] = pixels.transpose(2, 0, 1) if first else pixels
        return made

    def files(self) -> list[Path]:
        """Paths of the pictures. Raises ArrayFileError if there are none."""
        try:
            found = sorted(p for p in self.path.rglob("*") if p.suffix.lower() in ENDINGS and p.is_file())
        except OSError as error:
            raise ArrayFileError(f"{self.path}: cannot be read ({error.strerror or error}).") from None
        if not found:
            raise ArrayFileError(f"{self.path}: holds no pictures ({', '.join(sorted(ENDINGS))}).")
        if self.most is None or len(found) <= self.most:
            return found
        return [found[n * len(found) // self.most] for n in range(self.most)]

    def _prepared(self, file: Path, height: int, width: int, channels: int) -> Array:
        """One picture: height x width x channels, values 0 to 255."""
        image = _opened(file, channels)
        image = _middle(self._resized(image, height, width), _pair(self.crop) or (height, width))
        pixels = np.asarray(image, np.float32).reshape(image.height, image.width, channels)
        if pixels.shape[:2] != (height, width):
            raise ArrayFileError(
                f"{file}: {pixels.shape[0]} x {pixels.shape[1]} pixels after resizing and cropping; "
                f"the model takes {height} x {width}."
            )
        return pixels[:, :, ::-1] if self.order == "bgr" else pixels

    def _resized(self, image: Image, height: int, width: int) -> Image:
        size = self.size
        if size is None:
            ratio = max(height / image.height, width / image.width)
            new = max(height, round(image.height * ratio)), max(width, round(image.width * ratio))
        elif isinstance(size, int):
            ratio = size / min(image.height, image.width)
            new = max(1, round(image.height * ratio)), max(1, round(image.width * ratio))
        else:
            new = size
        from PIL.Image import Resampling

        return image.resize((new[1], new[0]), Resampling.BILINEAR)


def _by_channel(name: str, values: Sequence[float], channels: int) -> Array:
    if len(values) not in (1, channels):
        raise ArrayFileError(f"{len(values)} values of {name} for pictures of {channels} channels.")
    return np.asarray(values, np.float32)


def _layout(shape: tuple[int, ...], path: Path) -> tuple[int, int, int, bool]:
    """Height, width, channels, and whether these come first."""
    if len(shape) == 3 and shape[0] in (1, 3):
        return shape[1], shape[2], shape[0], True
    if len(shape) == 3 and shape[2] in (1, 3):
        return shape[0], shape[1], shape[2], False
    raise ArrayFileError(f"{path}: pictures fit inputs of one or three channels; this one is {list(shape)}.")


def _pair(size: int | tuple[int, int] | None) -> tuple[int, int] | None:
    return (size, size) if isinstance(size, int) else size


def _opened(file: Path, channels: int) -> Image:
    try:
        from PIL import Image, ImageOps
    except ImportError:
        raise ArrayFileError("Pictures are read by Pillow, which is not here: pip install pillow.") from None
    try:
        with Image.open(file) as image:
            return ImageOps.exif_transpose(image).convert("L" if channels == 1 else "RGB")
    except Exception as error:  # Pillow passes on what its decoders raise
        raise ArrayFileError(
            f"{file}: no picture that Pillow reads ({type(error).__name__}); take it out of the folder."
        ) from None


def _middle(image: Image, size: tuple[int, int]) -> Image:
    top, left = (image.height - size[0]) // 2, (image.width - size[1]) // 2
    if top < 0 or left < 0:
        return image
    return image.crop((left, top, left + size[1], top + size[0]))
