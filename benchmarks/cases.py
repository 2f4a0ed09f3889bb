"""A folder of small ONNX models with inputs and expected outputs: what pimc answers for each, and what verify says.

Run: ``python benchmarks/cases.py FOLDER [--target isaac] [--match TEXT] [--workers 2]``. The folder holds
``NAME.onnx``, ``NAME.in.npz``, ``NAME.out.npz`` (what onnxruntime says of the file itself) and for quantised models
``NAME.cfg.json`` (onnxruntime's session options, under which equality is owed). Float models are quantised on the
inputs; their relative error is printed beside that of onnxruntime's own QDQ quantisation.
"""

from __future__ import annotations

import argparse
import multiprocessing
import tempfile
import traceback
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

Array = np.ndarray


@dataclass(frozen=True)
class Case:
    """One model of a folder and how it is compiled."""

    folder: Path
    name: str
    target: str

    def arrays(self, part: str) -> dict[str, Array]:
        """``in`` or ``out``; nothing where there is no such file."""
        path = self.folder / f"{self.name}.{part}.npz"
        if not path.is_file():
            return {}
        with np.load(path) as held:
            return {key.replace("__SL__", "/"): held[key] for key in held.files}

    @property
    def quantised(self) -> bool:
        """Whether equality is owed."""
        return (self.folder / f"{self.name}.cfg.json").is_file()


def judge(case: Case) -> tuple[str, str]:
    """A case's name and what became of it, on one line."""
    warnings.simplefilter("ignore")
    from pimc_isa.errors import PimcError

    try:
        return case.name, _judge(case)
    except PimcError as error:
        return case.name, "refused: " + " | ".join(str(error).split("\n"))
    except Exception:
        return case.name, "TRACEBACK: " + " | ".join(traceback.format_exc().strip().split("\n")[-3:])


def _judge(case: Case) -> str:
    import pimc

    given, expected = case.arrays("in"), case.arrays("out")
    model = case.folder / f"{case.name}.onnx"
    program = pimc.compile(model, target=case.target, calibration=None if case.quantised else given)
    outputs = program.values(given)
    report = program.verify(given)
    verdict = f"verify {report.verdict}"
    if not expected:
        return f"compiled; {verdict}"
    if case.quantised:
        differ = {name: _differ(outputs[name], expected[name]) for name in expected}
        wrong = {name: text for name, text in differ.items() if text}
        return f"{f'DIFFERS {wrong}' if wrong else 'equal'}; {verdict}"
    theirs = _their_quantisation(model, given)
    errors = {}
    for name in expected:
        other = f"{relative(theirs[name], expected[name]):.4f}" if name in theirs else "-"
        errors[name] = f"{relative(outputs[name], expected[name]):.4f} (theirs {other})"
    return f"error {errors}; {verdict}"


def _differ(ours: Array, theirs: Array) -> str:
    if ours.shape != theirs.shape:
        return f"shape {ours.shape}, not {theirs.shape}"
    far = ~np.isclose(ours.astype(float), theirs.astype(float), 1e-5, 1e-6, equal_nan=True)
    return f"{far.sum()} of {far.size}, most {np.abs(ours.astype(float) - theirs).max():.3g}" if far.any() else ""


def relative(ours: Array, theirs: Array) -> float:
    """Root of the mean square of the difference over that of ``theirs``."""
    if ours.shape != theirs.shape:
        return float("inf")
    scale = np.sqrt(np.mean(np.square(theirs.astype(float))))
    return float(np.sqrt(np.mean(np.square(ours.astype(float) - theirs))) / max(scale, 1e-12))


def _one_by_one(given: dict[str, Array]) -> list[dict[str, Array]]:
    images = len(next(iter(given.values())))
    return [{name: held[n : n + 1] for name, held in given.items()} for n in range(images)]


def _their_quantisation(model: Path, given: dict[str, Array]) -> dict[str, Array]:
    """Outputs of onnxruntime's own QDQ quantisation, or nothing where it fails."""
    import onnxruntime as ort
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.left = iter(_one_by_one(given))

        def get_next(self) -> Any:
            return next(self.left, None)

    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.add_session_config_entry("session.x64quantprecision", "1")
    try:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "q.onnx"
            quantize_static(
                model, path, Reader(), QuantFormat.QDQ, per_channel=True,
                activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8,
            )  # fmt: skip
            session = ort.InferenceSession(path.read_bytes(), options, providers=["CPUExecutionProvider"])
            parts = [session.run(None, one) for one in _one_by_one(given)]
    except Exception:
        return {}
    names = [o.name for o in session.get_outputs()]
    return {name: np.concatenate([p[i] for p in parts]) for i, name in enumerate(names)}


def main() -> None:
    """Print one line for each case."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--target", default="isaac")
    parser.add_argument("--match", default="", help="only names that hold this text")
    parser.add_argument("--workers", type=int, default=2)
    given = parser.parse_args()
    names = sorted(p.stem for p in given.folder.glob("*.onnx") if given.match in p.stem)
    cases = [Case(given.folder, name, given.target) for name in names]
    with multiprocessing.get_context("spawn").Pool(given.workers) as pool:
        for name, text in pool.imap(judge, cases):
            print(f"{name:<24} {text}", flush=True)


if __name__ == "__main__":
    main()
