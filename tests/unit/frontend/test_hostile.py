"""Hostile models and calibration files: refused in one to three lines, or compiled, within 10 s and 1 GB."""

from __future__ import annotations

import io
import subprocess
import sys
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest

from pimc.frontend import load_model
from pimc_isa.errors import PimcError
from tests.unit.frontend.float_models import conv_model, random
from tests.unit.frontend.hostile import HOSTILE

SHORT = [name for n, name in enumerate(HOSTILE) if n % 3 == 0 and "million" not in name]

NASTIEST = (
    *("five million empty nodes", "five million functions", "20000 Identity", "9000 Conv", "20000 readers"),
    *("Concat doubling 60 times", "loop without end", "functions that double", "quantised doubling", "500 deep"),
    *("input of 2**31 rows", "quantised input of 2**31 rows", "hidden Tile", "ConstantOfShape of 2**40", "long name"),
    *("Expand a map", "pads of 2**20", "outer sum", "Resize by 10**9", "groups unclosed"),
)


def outcome(data: bytes) -> str:
    """'' for a model that compiles, else why it is refused."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            load_model(data)
        except PimcError as error:
            return str(error)
    return ""


def judge(name: str) -> None:
    text = outcome(HOSTILE[name]())
    assert len(text.splitlines()) <= 3 or "These nodes" in text
    assert len(text) < 1500
    assert text.replace("\n", "").isprintable()
    assert "bug in pimc" not in text


@pytest.mark.parametrize("name", SHORT)
def test_some(name: str) -> None:
    judge(name)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in HOSTILE if name not in SHORT])
def test_others(name: str) -> None:
    judge(name)


BOUNDED = """
import resource, sys, time
from tests.unit.frontend.hostile import HOSTILE
from tests.unit.frontend.test_hostile import outcome
import onnxruntime, onnxruntime.quantization, onnxslim  # what a library takes before any model is not counted
made = {name: HOSTILE[name]() for name in sys.argv[1:]}
with open("/proc/self/statm") as file:
    used = int(file.read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + (1 << 30),) * 2)
for name, data in made.items():
    begin = time.process_time()
    text = outcome(data)
    print(name, round(time.process_time() - begin, 2), text[:100].replace(chr(10), " "), flush=True)
    assert text or name == "quantised doubling", name
    assert "alloc" not in text and "MemoryError" not in text, text
    assert time.process_time() - begin < 10, name
"""


def test_the_nastiest_within_a_gigabyte_and_ten_seconds() -> None:
    root = Path(__file__).parents[3]
    done = subprocess.run(
        [sys.executable, "-c", BOUNDED, *NASTIEST], capture_output=True, text=True, timeout=240, cwd=root, check=False
    )
    assert done.returncode == 0, done.stdout[-1500:] + done.stderr[-1500:]
    assert len(done.stdout.splitlines()) == len(NASTIEST)


def bomb(shape: tuple[int, ...]) -> bytes:
    """A small .npz whose only array claims a shape and holds 40 MB of zeros."""
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f4", "fortran_order": False, "shape": shape})
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.npy", header.getvalue() + b"\0" * 40_000_000)
    return file.getvalue()


def saved(*arrays: np.ndarray, **named: np.ndarray) -> bytes:
    """Arrays as a .npz file, objects too."""
    file = io.BytesIO()
    np.savez(file, *arrays, **named)  # type: ignore[arg-type]
    return file.getvalue()


NAN_IMAGE = np.full((1, 3, 8, 8), np.nan, np.float32)


@pytest.mark.parametrize(
    ("data", "part"),
    [
        (b"", "not a .npz or .npy file"),
        (b"PK\x03\x04 a zip", "not a .npz or .npy file"),
        (b"\x93NUMPY\x01\x00", "not a .npz or .npy file"),
        (b"\x93NUMPY\x09\x00" + b"\0" * 100, "format (9, 0)"),
        (bomb((10**9, 3, 8, 8)), "claims 768,000,000,000 bytes"),
        (bomb((2**62, 2**62)), "claims"),
        (bomb((-5, 3, 8, 8)), "claims"),
        (bomb((60_000, 3, 8, 8)), "damaged"),
        (saved(x=np.array([{}], object)), "holds object"),
        (saved(x=np.array(["a"])), "not numbers"),
        (saved(x=np.zeros((1, 3, 8, 8), np.complex64)), "not numbers"),
        (saved(x=NAN_IMAGE), "not finite"),
        (saved(x=np.full((1, 3, 8, 8), 1e300)), "not finite"),
        (saved(x=np.zeros((0, 3, 8, 8), np.float32)), "has shape [0, 3, 8, 8]"),
        (saved(x=np.zeros((1, 3, 8, 9), np.float32)), "has shape [1, 3, 8, 9]"),
        (saved(*[np.zeros(1)] * 1001), "1,001 arrays"),
        (saved(), "inputs are 'x'"),
    ],
)
def test_calibration_files(data: bytes, part: str, tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    path.write_bytes(data)
    with pytest.raises(PimcError) as error:
        load_model(conv_model(), calibration=path)
    assert part in str(error.value)
    assert len(str(error.value).splitlines()) <= 3


@pytest.mark.parametrize("given", [[[1, 2], [3]], np.array([None]), NAN_IMAGE, {"x": "text"}, "nowhere.npz"])
def test_calibration_arrays(given: object) -> None:
    with pytest.raises(PimcError):
        load_model(conv_model(), calibration=given)


def test_good_calibration_stays(tmp_path: Path) -> None:
    images = random(3, 3, 8, 8)
    np.savez_compressed(tmp_path / "a.npz", x=images)
    np.save(tmp_path / "a.npy", images.astype(np.float64))
    for name in ("a.npz", "a.npy"):
        found = load_model(conv_model(), calibration=tmp_path / name).calibration
        np.testing.assert_array_equal(found["x"], images)
