"""Labelled photographs for ImageNet networks: 158 with classes decided by hand, 32 without for calibration.

The pictures (GPL-2, Creative Commons, public domain) come out of Debian packages and scikit-image's wheel when they are
asked for; `photographs.csv` says which, and which of ImageNet's classes (ILSVRC-2012 order) are right for each. Say
"top-1 on 158 photographs", never "ImageNet accuracy": one standard error is 3 points.
"""

from __future__ import annotations

import csv
import hashlib
import io
import struct
import zlib
from dataclasses import dataclass
from importlib.resources import files
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from pimc_models.debian import DatasetError, cache_folder, files_of
from pimc_models.locate import shipped_file

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from PIL.Image import Image

__all__ = ["Photographs", "load", "qt_resources"]

#: A cut-out lies on this grey, with this margin around its visible part.
GREY, MARGIN = 200, 0.05


@dataclass(frozen=True)
class Photographs:
    """``images`` float32 [n, 3, size, size], (RGB - 127) / 128; ``classes`` that are right for each.

    Those for calibration have no class. ``names`` are paths in their packages.
    """

    images: npt.NDArray[np.float32]
    classes: tuple[frozenset[int], ...]
    calibration: npt.NDArray[np.float32]
    names: tuple[str, ...]

    def right(self, logits: npt.NDArray[np.floating]) -> npt.NDArray[np.bool_]:
        """Whether the first class of each row of logits [n, 1000] is right."""
        tops = logits.argmax(axis=1)
        return np.array([int(top) in found for top, found in zip(tops, self.classes, strict=True)])


def load(size: int) -> Photographs:
    """Return all pictures cut to ``size`` x ``size``; fetches the packages once. Needs pillow.

    Raises DatasetError, and NotInstalledError without scikit-image.
    """
    rows = list(csv.DictReader(io.StringIO((files("pimc_models") / "photographs.csv").read_text(encoding="utf-8"))))
    public = [row for row in rows if row["set"] == "public"]
    found = {package: _pictures(package, rows) for package in dict.fromkeys(row["package"] for row in rows)}
    made = {id(row): _prepared(_checked(row, found[row["package"]]), size) for row in rows}
    return Photographs(
        np.stack([made[id(row)] for row in public]),
        tuple(frozenset(map(int, row["class_ids"].split())) for row in public),
        np.stack([made[id(row)] for row in rows if row["set"] == "calibration"]),
        tuple(row["path_in_package"] for row in public),
    )


def _pictures(package: str, rows: Sequence[Mapping[str, str]]) -> dict[str, bytes]:
    """Pictures of a package by their path in it; ``FILE!PATH`` lies in a Qt resource file."""
    paths = [row["path_in_package"] for row in rows if row["package"] == package]
    outer = list(dict.fromkeys(path.partition("!")[0] for path in paths))
    place = _place(package, outer)
    held = {name: place[name].read_bytes() for name in outer}
    inner = {name: qt_resources(held[name]) for name in outer if name.endswith(".rcc")}
    return {p: inner[p.partition("!")[0]][p.partition("!")[2]] if "!" in p else held[p] for p in paths}


def _place(package: str, names: Sequence[str]) -> dict[str, Path]:
    if package == "scikit-image":
        return {name: shipped_file(package, name) for name in names}
    folder = files_of(package, names, cache_folder("photographs"), "a set of labelled photographs")
    return {name: folder / name for name in names}


def _checked(row: Mapping[str, str], pictures: Mapping[str, bytes]) -> bytes:
    data = pictures[row["path_in_package"]]
    if hashlib.sha256(data).hexdigest()[:16] != row["sha256"]:
        raise DatasetError(f"{row['package']}: {row['path_in_package']} is another picture than the labels are for")
    return data


def qt_resources(data: bytes) -> dict[str, bytes]:
    """Return the files of a Qt resource file (``.rcc``) by their path, those that are plain or deflated.

    Raises DatasetError.
    """
    try:
        magic, version, tree, payload, names = struct.unpack_from(">4s4I", data)
        if magic != b"qres":
            raise DatasetError("not a Qt resource file")
        return dict(_walk(data, (tree, payload, names, 22 if version > 1 else 14), 0, ""))
    except (struct.error, zlib.error, UnicodeDecodeError, RecursionError) as error:
        raise DatasetError(f"a damaged Qt resource file: {error}") from error


def _walk(data: bytes, parts: tuple[int, int, int, int], node: int, path: str) -> Iterator[tuple[str, bytes]]:
    """Files below a node: its name's place, flags, then for a folder its children, for a file where its bytes are."""
    tree, payload, names, node_bytes = parts
    name_at, flags, first, second = struct.unpack_from(">IHII", data, tree + node * node_bytes)
    if node:
        (length,) = struct.unpack_from(">H", data, names + name_at)
        text = data[names + name_at + 6 :][: 2 * length]
        path = f"{path}/{text.decode('utf-16-be')}"
    if flags & 2:
        for child in range(second, second + first):
            yield from _walk(data, parts, child, path)
    elif flags in (0, 1):  # 4 is zstd
        (size,) = struct.unpack_from(">I", data, payload + second)
        body = data[payload + second + 4 :][:size]
        yield path, zlib.decompress(body[4:]) if flags else body


def _prepared(data: bytes, size: int) -> npt.NDArray[np.float32]:
    from PIL import Image

    with Image.open(io.BytesIO(data)) as opened:
        picture = opened.convert("RGBA")
    opaque = picture.getchannel("A").getextrema()[0] == 255
    square = _middle(picture, size) if opaque else _on_grey(picture, size)
    return ((np.asarray(square, np.float32) - np.float32(127)) / np.float32(128)).transpose(2, 0, 1)


def _middle(picture: Image, size: int) -> Image:
    """The middle square of a whole photograph, as large a part of its short side as 224 is of 256."""
    from PIL import Image

    side = min(picture.size) * size / (size + 32)
    left, top = (picture.width - side) / 2, (picture.height - side) / 2
    box = (left, top, left + side, top + side)
    return picture.convert("RGB").resize((size, size), Image.Resampling.BICUBIC, box)


def _on_grey(picture: Image, size: int) -> Image:
    """The visible part of a cut-out in the middle of a grey square."""
    from PIL import Image

    seen = picture.crop(picture.getchannel("A").getbbox())
    side = round(max(seen.size) * (1 + 2 * MARGIN))
    square = Image.new("RGB", (side, side), (GREY,) * 3)
    square.paste(seen, ((side - seen.width) // 2, (side - seen.height) // 2), seen)
    return square.resize((size, size), Image.Resampling.BICUBIC)
