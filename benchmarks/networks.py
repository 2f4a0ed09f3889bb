"""Real networks on every target: what runs where, and whether they still do what they are for.

    python benchmarks/networks.py [--write] [NETWORK ...]     prints the table; --write makes docs/networks.md

Needs the wheels that `tests/differential/test_real_networks.py` names.
"""

from __future__ import annotations

import sys
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort

import pimc
from pimc_models.locate import NETWORKS, load
from pimc_models.tasks import TASKS

TARGETS = ("isaac", "isaac-style", "neural-pim", "cascade")
OTHERS = ("mtcnn-p", "layout", "glyph-detector")
PAGE = Path(__file__).parents[1] / "docs" / "networks.md"

TEXT = """# Real networks

Networks out of wheels, each compiled for every target from its float file and calibrated on the task's own images
(`python benchmarks/networks.py --write`). *isaac* and *isaac-style* are exact, so their column is what 8 bits cost;
*neural-pim* and *cascade* convert with loss. Every program of an exact target is verified: 0 differences in every
tensor of the chip, given the results of the host's own calls; those lie within one step of the reference's.
Tasks are small and drawn or cut here: read the shares as "does it still work", not as accuracy.
"""


def outputs(program: Any, images: np.ndarray) -> list[np.ndarray]:
    """Outputs in the model's order."""
    made = program.values(images)
    return [made[port.name] for port in program.program.outputs]


def float_outputs(model: Any, images: np.ndarray) -> list[np.ndarray]:
    """Those of the float model, image by image."""
    session = ort.InferenceSession(model.SerializeToString())
    name = session.get_inputs()[0].name
    each = [session.run(None, {name: image[None]}) for image in images]
    return [np.concatenate(column) for column in zip(*each, strict=True)]


def row(name: str) -> list[str]:
    """One network's row of the table."""
    task = TASKS.get(name)
    model = task.model() if task else load(name)
    random = np.random.default_rng(0).random((2, *NETWORKS[name].shape[1:]), dtype=np.float32)
    images = task.images() if task else random
    floats = float_outputs(model, images)
    cells = [name, task.says if task else "(seeded images)", ""]
    cells.append(f"{task.right(floats).sum()} of {len(images)}" if task else "")
    for target in TARGETS:
        begin = time.process_time()
        program = pimc.compile(model, target, calibration=images)
        spent = time.process_time() - begin
        verdict = program.verify(images[:2]).verdict
        said = outputs(program, images)
        if task:
            answer = str(task.right(said).sum())
        else:
            answer = f"{min(snr(f, s) for f, s in zip(floats, said, strict=True)):.0f} dB"
        if target == "isaac":
            islands = sum(t.kind == "host" for t in program.program.tiles) - 1
            share = float(program.program.meta["crossbar_macs_share"])
            cells[2] = f"{100 * share:.4g} %, {islands} calls, {len(program.program.tiles)} tiles, {spent:.1f} CPU-s"
        cells.append(f"{answer} ({verdict})")
        print(name, target, cells[-1], f"{spent:.1f} s", flush=True)
    return cells


def snr(wanted: np.ndarray, found: np.ndarray) -> float:
    """Signal to noise of an output, in dB."""
    power = float((wanted.astype(np.float64) ** 2).sum())
    return float(10 * np.log10(power / max(1e-30, float(((wanted - found).astype(np.float64) ** 2).sum()))))


def main() -> None:
    """Print the table; write the page where asked."""
    warnings.simplefilter("ignore")
    names = [a for a in sys.argv[1:] if not a.startswith("--")] or [*TASKS, *OTHERS]
    head = [
        "network",
        "right means",
        "products on crossbars, host calls between layers, size, compile",
        "float",
        *TARGETS,
    ]
    rows = [head, ["---"] * len(head), *(row(name) for name in names)]
    table = "\n".join(f"| {' | '.join(cells)} |" for cells in rows)
    print(table)
    if "--write" in sys.argv:
        PAGE.write_text(f"{TEXT}\n{table}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
