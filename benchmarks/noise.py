"""Accuracy over the noise of column sums, ``sigma = E sqrt(N+ + N-)``: RAELLA and the ISAACs (RAELLA, section 7.2).

    python benchmarks/noise.py [--measure [CASE ...]] [--images N] [--seed S]

Writes docs/claims/raella-noise.md and its figure from docs/claims/raella-noise.json. ``--measure`` first runs the cases
named (or all) on the first N test images of Fashion-MNIST (Debian's package, fetched once) and renews their
rows: per image and E about 25 ms of one core for raella, 40 for isaac, 100 for isaac-style.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx

sys.path.insert(0, str(Path(__file__).parent))

from noise_page import figure, page

import pimc
from pimc_isa.engines.noise import parse_noise
from pimc_isa.engines.values import Executor
from pimc_models import fashion

Array = np.ndarray
FOLDER = Path(__file__).parents[1] / "docs" / "claims"
DATA, PAGE, FIGURE = (FOLDER / f"raella-noise.{kind}" for kind in ("json", "md", "svg"))
PERCENT = (0, 2, 4, 6, 8, 10, 12)
BATCH = 100


@dataclass(frozen=True)
class Case:
    """A chip: a target with options."""

    target: str
    options: dict[str, str] = field(default_factory=dict)


CASES = {
    "raella": Case("raella", {"signed": "off"}),
    "raella, recovery only": Case("raella", {"speculation": "off", "signed": "off"}),
    "raella, zero + offset": Case("raella", {"centre": "zero", "signed": "off"}),
    "isaac": Case("isaac"),
    "isaac-style": Case("isaac-style"),
}


def measure(program: Any, percent: int, seed: int, x: Array, labels: Array, int8: Array) -> dict[str, int]:
    """Images right, those that became wrong and right, and those of the class of int8."""
    found = _classes(program, percent, seed, x)
    right, theirs = found == labels, int8 == labels
    return {
        "right": int(right.sum()),
        "lost": int((theirs & ~right).sum()),
        "won": int((~theirs & right).sum()),
        "same": int((found == int8).sum()),
    }


def _compiled(case: Case) -> Any:
    calibration = fashion.load_calibration()[:64]
    return pimc.compile(fashion.int8_path(), case.target, calibration=calibration, target_options=case.options).program


def _classes(program: Any, percent: int, seed: int, x: Array) -> Array:
    """Classes of all images on one noisy chip."""
    executor = Executor(program, noise=parse_noise(seed, f"column={percent / 100}"))
    port, name = program.inputs[0].name, program.outputs[0].name
    parts = [executor.run({port: x[n : n + BATCH]}, first=n).outputs[name] for n in range(0, len(x), BATCH)]
    return np.asarray(np.concatenate(parts).reshape(len(x), -1).argmax(1))


def _slices(program: Any) -> list[str]:
    """How the weights of every layer are sliced, high bits first."""
    return ["-".join(map(str, w.slices[::-1])) for w in program.weights]


def _renew(data: dict[str, Any], names: list[str], images: int, seed: int) -> None:
    """Measure cases; what is done is kept after every E."""
    x, labels = (part[:images] for part in fashion.load_all_test())
    int8 = fashion.logits(onnx.load(fashion.int8_path()), x).argmax(1)
    data["int8"] = {"images": len(x), "right": int((int8 == labels).sum())}
    for name in names:
        program = _compiled(CASES[name])
        row: dict[str, Any] = {"images": len(x), "seed": seed, "slices": _slices(program), "percent": {}}
        data.setdefault("cases", {})[name] = row
        for percent in PERCENT:
            begin = time.perf_counter()
            row["percent"][str(percent)] = measure(program, percent, seed, x, labels, int8)
            DATA.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
            print(f"{name}, {percent} %: {time.perf_counter() - begin:.0f} s", file=sys.stderr, flush=True)


def main() -> None:
    """Measure, if asked to, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--measure", nargs="*", metavar="CASE", choices=[*CASES, []], help="renew rows, or all")
    parser.add_argument("--images", type=int, default=10_000, metavar="N")
    parser.add_argument("--seed", type=int, default=1, metavar="S")
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    data: dict[str, Any] = json.loads(DATA.read_text(encoding="utf-8")) if DATA.exists() else {}
    if given.measure is not None:
        _renew(data, given.measure or list(CASES), given.images, given.seed)
    PAGE.write_text(page(data), encoding="utf-8")
    FIGURE.write_text(figure(data), encoding="utf-8")


if __name__ == "__main__":
    main()
