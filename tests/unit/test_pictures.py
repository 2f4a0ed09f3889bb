"""Folders of pictures: resized, cropped and normalised as asked; against Pillow's own operations and closed forms."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pimc.arrayfile import ArrayFileError
from pimc.pictures import PictureFolder

Image = pytest.importorskip("PIL.Image")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Four plain pictures of 40 x 30 in two subfolders, and a file that is none."""
    for n, colour in enumerate([(255, 0, 0), (0, 255, 0), (0, 0, 255), (10, 20, 30)]):
        place = tmp_path / f"class{n % 2}"
        place.mkdir(exist_ok=True)
        Image.new("RGB", (40, 30), colour).save(place / f"{n}.png")
    (tmp_path / "notes.txt").write_text("no picture")
    return tmp_path


def test_plain_colours_in_path_order(folder: Path) -> None:
    made = PictureFolder(folder).arrays((3, 16, 16), np.float32)
    colours = made[:, :, 0, 0] * 255
    assert made.shape == (4, 3, 16, 16)
    np.testing.assert_allclose(colours, [(255, 0, 0), (0, 0, 255), (0, 255, 0), (10, 20, 30)], atol=1e-4)
    assert (made == made[:, :, :1, :1]).all()


def test_bgr_mean_std_and_channels_last(folder: Path) -> None:
    pictures = PictureFolder(folder, mean=(1, 2, 3), std=(2, 4, 8), order="bgr")
    made = pictures.arrays((8, 8, 3), np.float32)
    np.testing.assert_allclose(made[3, 5, 5], [(30 - 1) / 2, (20 - 2) / 4, (10 - 3) / 8])


def test_whole_numbers_are_the_pixels(folder: Path) -> None:
    made = PictureFolder(folder).arrays((3, 8, 8), np.uint8)
    assert made.dtype == np.uint8
    assert list(made[3, :, 0, 0]) == [10, 20, 30]
    signed = PictureFolder(folder, mean=(128,)).arrays((3, 8, 8), np.int8)
    assert list(signed[0, :, 0, 0]) == [127, -128, -128]


def test_grey_is_the_luma(folder: Path) -> None:
    made = PictureFolder(folder, std=(1,)).arrays((1, 8, 8), np.float32)
    assert abs(made[0, 0, 0, 0] - 0.299 * 255) <= 1


def test_size_and_crop_keep_the_middle(tmp_path: Path) -> None:
    pixels = np.zeros((60, 120, 3), np.uint8)
    pixels[20:40, 50:70] = 200  # the middle
    Image.fromarray(pixels).save(tmp_path / "a.png")
    whole = PictureFolder(tmp_path, size=60, crop=20, std=(1,)).arrays((3, 20, 20), np.float32)
    assert (whole == 200).all()
    squeezed = PictureFolder(tmp_path, size=(30, 30), crop=30, std=(1,)).arrays((3, 30, 30), np.float32)
    assert squeezed[0, 0, 15, 15] == 200
    assert squeezed[0, 0, 0, 0] == 0


def test_turned_upright_by_its_tag(tmp_path: Path) -> None:
    image = Image.new("RGB", (20, 10))
    image.paste((255, 255, 255), (0, 0, 10, 10))  # the left half
    exif = image.getexif()
    exif[0x0112] = 6  # to be turned clockwise by a quarter
    image.save(tmp_path / "a.png", exif=exif)
    made = PictureFolder(tmp_path, size=(20, 10)).arrays((3, 20, 10), np.float32)
    assert made[0, 0, 2, 5] == 1  # left became top
    assert made[0, 0, 17, 5] == 0


def test_most_are_spread_over_the_folder(folder: Path) -> None:
    assert [p.name for p in PictureFolder(folder, most=2).files()] == ["0.png", "1.png"]
    assert len(PictureFolder(folder, most=9).files()) == 4


def test_what_cannot_be_is_said(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ArrayFileError, match=r"one or three channels; this one is \[4, 8, 8\]"):
        PictureFolder(folder).arrays((4, 8, 8), np.float32)
    with pytest.raises(ArrayFileError, match=r"4 x 4 pixels after resizing and cropping; the model takes 8 x 8"):
        PictureFolder(folder, crop=4).arrays((3, 8, 8), np.float32)
    with pytest.raises(ArrayFileError, match=r"0\.485 is 123\.675"):
        PictureFolder(folder, mean=(0.485,), std=(0.229,))
    with pytest.raises(ArrayFileError, match="rgb or bgr, not 'gbr'"):
        PictureFolder(folder, order="gbr")
    with pytest.raises(ArrayFileError, match="2 values of mean for pictures of 3 channels"):
        PictureFolder(folder, mean=(1, 2)).arrays((3, 8, 8), np.float32)
    (folder / "class0" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nrest")
    with pytest.raises(ArrayFileError, match=r"broken.png: no picture that Pillow reads"):
        PictureFolder(folder).arrays((3, 8, 8), np.float32)
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(ArrayFileError, match="holds no pictures"):
        PictureFolder(empty).arrays((3, 8, 8), np.float32)
