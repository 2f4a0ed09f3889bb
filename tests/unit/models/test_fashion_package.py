"""The full Fashion-MNIST test set: file format, cache, and what is said when it cannot be had."""

from __future__ import annotations

import gzip
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pimc_models import debian
from pimc_models.fashion import package


def idx(array: np.ndarray) -> bytes:
    sizes = b"".join(n.to_bytes(4, "big") for n in array.shape)
    return gzip.compress(b"\x00\x00\x08" + bytes([array.ndim]) + sizes + array.tobytes())


def put(place: Path, images: int = 10_000) -> None:
    folder = place / package.FOLDER
    folder.mkdir(parents=True)
    pixels = np.arange(images * 784, dtype=np.uint32).astype(np.uint8).reshape(images, 28, 28)
    for name, array in zip(package.FILES, (pixels, pixels[:, 0, 3] % 10), strict=True):
        (folder / name).write_bytes(idx(array))


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, and no package installed."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(package, "FOLDER", Path("nowhere/fashion-mnist"))
    return debian.cache_folder("fashion-mnist")


def test_files_in_the_cache_are_read(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(cache)
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: pytest.fail("fetched what was there"))
    images, labels = package.test_arrays()
    assert (images.shape, labels.shape) == ((10_000, 28, 28), (10_000,))
    assert images[1, 0, 3] == (784 + 3) % 256


def test_fetched_once(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commands: list[str] = []

    def run(command: list[str], cwd: str, **_: Any) -> subprocess.CompletedProcess[str]:
        commands.append(command[0])
        if command[0] == "apt-get":
            (Path(cwd) / "dataset-fashion-mnist_1_all.deb").write_bytes(b"")
        else:
            put(Path(cwd) / "unpacked")
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(shutil, "which", lambda name: name)
    monkeypatch.setattr(subprocess, "run", run)
    first, again = package.test_arrays(), package.test_arrays()
    assert commands == ["apt-get", "dpkg-deb"]
    assert np.array_equal(first[0], again[0])
    assert sorted(p.name for p in (cache / package.FOLDER).iterdir()) == sorted(package.FILES)


def test_no_apt(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: None)
    with pytest.raises(package.DatasetError, match="apt is not here\ninstall dataset-fashion-mnist, or put"):
        package.test_arrays()


def test_apt_fails(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    failed = subprocess.CompletedProcess([], 100, "", "E: Unable to locate package\n")
    monkeypatch.setattr(shutil, "which", lambda name: name)
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: failed)
    with pytest.raises(
        package.DatasetError, match="apt-get download dataset-fashion-mnist failed: E: Unable to locate"
    ):
        package.test_arrays()
    assert not cache.exists()


@pytest.mark.parametrize(
    "data",
    [b"", b"not gzip", gzip.compress(b"\x00\x00\x08\x01\x00\x00\x00\x09abc"), gzip.compress(b"IDX")],
    ids=["empty", "not gzip", "too short", "no header"],
)
def test_damaged_files(cache: Path, data: bytes) -> None:
    put(cache)
    (cache / package.FOLDER / package.FILES[0]).write_bytes(data)
    with pytest.raises(package.DatasetError, match="delete it, and it is fetched again"):
        package.test_arrays()


def test_wrong_size(cache: Path) -> None:
    put(cache, 10)
    with pytest.raises(package.DatasetError, match="instead of 10,000 images"):
        package.test_arrays()
