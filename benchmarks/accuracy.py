"""What Neural-PIM's conversions, peripherals and noise cost in accuracy, measured with compiled programs.

    python benchmarks/accuracy.py [--images 10000] [--jobs 2] [--write]

Fashion-MNIST's whole test set (Debian's package, fetched once) and opennsfw on free photographs (``pimc[models]``).
``--write`` writes docs/claims/neural-pim-accuracy.md; otherwise the page goes to stdout. About 15 minutes of one core.
"""

from __future__ import annotations

import argparse
import sys
import time
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime as ort
from page_sections import kept_sections

import pimc
from pimc import driver
from pimc.report.layers import LayerReport, layer_report
from pimc_backends.kit.target import make_target
from pimc_backends.neural_pim.pipeline import dataflow_of
from pimc_isa.engines.noise import parse_noise
from pimc_isa.engines.values import Executor
from pimc_models import fashion, locate, preprocess

PAGE = Path(__file__).parents[1] / "docs" / "claims" / "neural-pim-accuracy.md"
Floats = npt.NDArray[np.float32]

#: Calibration images of Fashion-MNIST (of the 128 committed training images), and photographs of opennsfw.
CALIBRATION, PHOTOS = 64, 6
#: Points that the ideal and trained chips, and the noisy one, may lose.
QUIET_POINTS, NOISY_POINTS = 0.5, 0.7


@dataclass(frozen=True)
class Case:
    """One way to compile and run: the options, and what it is called on the page.

    ``force``: V_MAX/GAIN of every layer. ``noise`` as for ``pimc run --noise``, once for each of ``seeds``; ``images``
    of the test set (0: all).
    """

    name: str
    target: str = "neural-pim"
    ranges: str = "gain"
    centre: str = "auto"
    bits: int = 8
    peripherals: str = "ideal"
    force: str = ""
    noise: str = ""
    seeds: tuple[int, ...] = (0,)
    images: int = 0


@dataclass(frozen=True)
class Network:
    """An int8 network with its data; ``reference`` is what onnxruntime makes of ``x``."""

    model: bytes
    calibration: Floats
    x: Floats
    labels: npt.NDArray[np.int64]
    reference: Floats

    def first(self, images: int) -> Network:
        """The same with fewer images (0: all)."""
        some = slice(images or None)
        return replace(self, x=self.x[some], labels=self.labels[some], reference=self.reference[some])


CONVERSIONS = (
    Case("isaac", "isaac"),
    Case("isaac-style", "isaac-style"),
    Case("cascade (first 1,000 images)", "cascade", images=1000),
    Case("neural-pim, wide converters", ranges="wide"),
    Case("neural-pim, V_max 0.5 everywhere", force="0.5/1", centre="off"),
    Case("neural-pim, V_max 0.25 everywhere", force="0.25/1", centre="off"),
    Case("neural-pim, V_max 0.125 everywhere", force="0.125/1", centre="off"),
    Case("neural-pim, V_max 0.125, 7-bit weights' full swing", force="0.125/2.007874", centre="off"),
    *(
        Case(f"neural-pim, {bits} bits, {ranges}", ranges=ranges, bits=bits)
        for bits in (8, 7, 6)
        for ranges in ("published", "power2", "gain")
    ),
    Case("neural-pim, 8 bits, gain, without the centre", centre="off"),
    Case("neural-pim, 8 bits, published, with the centre", ranges="published", centre="on"),
)
_SEEDS, _DRAWN = (1, 2, 3), "device:cell=0,read=0,hold=0"
TRAINED = "trained peripherals as designed"
NOISY = "ideal peripherals, 50 dB"
DEVICE = "ideal peripherals, device noise (first 2,000)"
TRAINED_DEVICE = "trained peripherals, device noise (first 500)"
ANALOG = (
    Case(TRAINED, peripherals="trained"),
    Case("fitted peripherals", peripherals="fitted"),
    Case(
        "trained peripherals, drawn devices (first 2,000)",
        peripherals="trained",
        noise=_DRAWN,
        seeds=_SEEDS,
        images=2000,
    ),
    Case(NOISY, noise="sinad=50", seeds=_SEEDS),
    Case("ideal peripherals, 45 dB", noise="sinad=45", seeds=_SEEDS),
    Case("ideal peripherals, 40 dB", noise="sinad=40", seeds=_SEEDS),
    Case("ideal peripherals, 35 dB", noise="sinad=35", seeds=_SEEDS),
    Case("isaac, 50 dB", "isaac", noise="sinad=50", seeds=_SEEDS),
    Case(DEVICE, noise="device", seeds=_SEEDS, images=2000),
    Case(
        "trained peripherals, device noise (first 500)", peripherals="trained", noise="device", seeds=_SEEDS, images=500
    ),
)
FIDELITY = (
    *(case for case in CONVERSIONS if case.target != "cascade"),
    Case(TRAINED, peripherals="trained"),
    Case(NOISY, noise="sinad=50", seeds=_SEEDS),
    Case("isaac, 50 dB", "isaac", noise="sinad=50", seeds=_SEEDS),
)


def compiled(network: Network, case: Case) -> driver.CompiledProgram:
    """Compile a network for a case."""
    if case.target != "neural-pim":
        return pimc.compile(network.model, case.target)
    passes = f"choose-ranges{{force={case.force}}}" if case.force else ""
    options = {"ranges": case.ranges, "peripherals": case.peripherals}
    target, steps = driver.choose(case.target, passes, centre=case.centre, **options)
    if case.bits != 8:
        dataflow, flow = dataflow_of(case.ranges, case.centre)
        target = make_target(target.name, target.machine, replace(dataflow, converter_bits=case.bits), flow, **options)
    return driver.emit(driver.lower(network.model, target, steps, calibration=network.calibration), target)


def results(network: Network, case: Case) -> list[Floats]:
    """The only output for all images, once for each seed of a noisy case."""
    program = compiled(network, case).program
    (port,) = program.inputs
    noises = [parse_noise(seed, case.noise) for seed in case.seeds] if case.noise else [None]
    runs = [Executor(program, noise=noise).run({port.name: network.x}) for noise in noises]
    return [np.asarray(run.outputs[program.outputs[0].name], np.float32) for run in runs]


def onnxruntime(model: bytes, x: Floats) -> Floats:
    """What onnxruntime computes, image by image where the model's batch is fixed."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    port = session.get_inputs()[0]
    size = 1 if port.shape[0] == 1 else 256
    parts = [session.run(None, {port.name: x[at : at + size]})[0] for at in range(0, len(x), size)]
    return np.concatenate(parts)


@cache
def fashion_network(images: int) -> Network:
    """The committed int8 network and the first ``images`` test images."""
    model = fashion.int8_path().read_bytes()
    x, labels = fashion.load_all_test()
    x, labels = x[:images], labels[:images]
    return Network(model, fashion.load_calibration()[:CALIBRATION], x, labels, onnxruntime(model, x))


@cache
def nsfw_network() -> Network:
    """The thin ResNet-50, quantised on six photographs; inputs are all thirteen, as they are and mirrored."""
    from pimc.frontend import load_model

    photos = [picture for _, picture in locate.photos()]
    x = np.concatenate([preprocess.opennsfw(p) for photo in photos for p in (photo, photo[:, ::-1])])
    calibration = x[: 2 * PHOTOS : 2]
    model = load_model(locate.load("opennsfw"), calibration=calibration).reference
    reference = onnxruntime(model, x)
    return Network(model, calibration, x, reference.argmax(1), reference)


@dataclass(frozen=True)
class Score:
    """Top-1 of a case: its mean and deviation over seeds, points over int8 on the same images, and what changed."""

    name: str
    top1: float
    deviation: float | None
    points: float
    lost: float
    won: float
    same: float

    def row(self) -> str:
        """One line of a table; figures are means over seeds."""
        spread = "" if self.deviation is None else f" +- {100 * self.deviation:.2f}"
        changed = f"{self.lost:.0f} / {self.won:.0f}"
        top1, same = f"{100 * self.top1:.2f}{spread} %", f"{100 * self.same:.2f} %"
        return f"| {self.name} | {top1} | {self.points:+.2f} | {changed} | {same} |"


def score(network: Network, name: str, outputs: Sequence[Floats]) -> Score:
    """Compare classes with labels and with onnxruntime int8."""
    theirs = network.reference.argmax(1)
    ours = np.array([y.argmax(1) for y in outputs])
    right, before = ours == network.labels, theirs == network.labels
    seeds, top1 = len(ours), right.mean(axis=1)
    return Score(
        name,
        float(top1.mean()),
        float(top1.std(ddof=1)) if seeds > 1 else None,
        100 * float(top1.mean() - before.mean()),
        float((before & ~right).sum() / seeds),
        float((right & ~before).sum() / seeds),
        float((ours == theirs).mean()),
    )


def accuracy(images: int, case: Case) -> Score:
    """Run a case on Fashion-MNIST."""
    begin = time.perf_counter()
    network = fashion_network(images).first(case.images)
    found = score(network, case.name, results(network, case))
    print(f"{found.row()} {time.perf_counter() - begin:.1f} s", file=sys.stderr, flush=True)
    return found


def margins(y: Floats) -> npt.NDArray[np.float64]:
    """Log of the first class's probability over the second's."""
    p = np.maximum(y.astype(np.float64), 1e-12)
    return np.asarray(np.log(p[:, 0] / p[:, 1]))


def fidelity(case: Case) -> str:
    """Run a case on opennsfw: same class, largest and mean difference of a probability, SNR, error of margins."""
    network = nsfw_network()
    outputs, reference = np.stack(results(network, case)), network.reference.astype(np.float64)
    error = outputs - reference
    same = np.mean(outputs.argmax(2) == network.labels)
    noise = float(np.mean(error**2))
    ratio = f"{10 * np.log10(np.mean(reference**2) / noise):.1f} dB" if noise else "exact"
    margin = np.sqrt(np.mean([(margins(y) - margins(network.reference)) ** 2 for y in outputs]))
    largest, mean = np.abs(error).max(), np.abs(error).mean()
    row = f"| {case.name} | {100 * same:.1f} % | {largest:.4f} | {mean:.4f} | {ratio} | {margin:.2f} |"
    print(row, file=sys.stderr, flush=True)
    return row


def plan_rows(layers: Sequence[LayerReport]) -> Iterator[str]:
    """The range of every layer."""
    for layer in layers:
        if layer.v_max is not None:
            values: tuple[Any, ...] = (layer.largest_sum, layer.v_max, layer.gain, layer.sqnr_db, layer.error_lsb)
            yield "| {} | {} | {:g} | {:.3g} | {} | {:.2f} |".format(layer.name, *values)


def verdicts(scores: Sequence[Score]) -> Iterator[str]:
    """What was asked for, and what came out."""
    found = {s.name: s.points for s in scores}
    asked = (
        ("isaac equals int8", "isaac", 0.0),
        ("ideal peripherals, gain, at most 0.5 points below int8", "neural-pim, 8 bits, gain", QUIET_POINTS),
        ("trained peripherals, gain, at most 0.5 points below int8", TRAINED, QUIET_POINTS),
        ("noise of 50 dB SINAD, at most 0.7 points below int8", NOISY, NOISY_POINTS),
        ("device noise, ideal peripherals, at most 0.7 points below int8", DEVICE, NOISY_POINTS),
        ("device noise, trained peripherals, at most 0.7 points below int8", TRAINED_DEVICE, NOISY_POINTS),
        ("the published ranges alone, at most 0.5 points below int8", "neural-pim, 8 bits, published", QUIET_POINTS),
    )
    for what, name, allowed in asked:
        yield f"* {what}: {'**yes**' if found[name] >= -allowed else '**no**'} ({found[name]:+.2f} points)"


def page(images: int, jobs: int) -> str:
    """The whole page."""
    network, nsfw = fashion_network(images), nsfw_network()
    with ProcessPoolExecutor(jobs) as pool:
        long = pool.map(partial(accuracy, images), ANALOG)  # the slowest first
        close = pool.map(fidelity, FIDELITY)
        quick = pool.map(partial(accuracy, images), CONVERSIONS)
        analog, fidelities, conversions = list(long), list(close), list(quick)
    gain = compiled(network, Case("gain"))
    layers = layer_report(gain.program, gain.timing, gain.energy, gain.interval_cycles)
    fp32 = score(network, "onnxruntime float32", [onnxruntime(fashion.fp32_path().read_bytes(), network.x)])
    int8 = score(network, "onnxruntime int8", [network.reference])
    return TEXT.format(
        ort=ort.__version__,
        images=len(network.x),
        calibration=CALIBRATION,
        photos=PHOTOS,
        inputs=len(nsfw.x),
        spread=margins(nsfw.reference).std(),
        verdict="\n".join(verdicts([*conversions, *analog])),
        rows="\n".join(s.row() for s in (fp32, int8, *conversions)),
        analog="\n".join(s.row() for s in analog),
        close="\n".join(fidelities),
        plan="\n".join(plan_rows(layers)),
    )


def main() -> None:
    """Measure and print, or write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=10_000, help="test images of Fashion-MNIST")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--write", action="store_true", help=f"write {PAGE.name}")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    text = page(options.images, options.jobs)
    if options.write:
        PAGE.parent.mkdir(parents=True, exist_ok=True)
        PAGE.write_text(text + kept_sections(PAGE, ("photographs",)), encoding="utf-8")
    else:
        print(text, end="")


TEXT = """# Accuracy of Neural-PIM's conversions

Rows are made by `python benchmarks/accuracy.py --write`; do not edit. Every row but onnxruntime's is a program
compiled by pimc and run by its values engine; nothing is retrained. onnxruntime {ort}.

{verdict}

## Fashion-MNIST, {images:,} test images

Calibration: {calibration} training images. "Points" is the difference to onnxruntime int8; "lost / won" counts images
that became wrong / right; "same class" compares classes with onnxruntime int8, right or wrong. The standard error of a
difference is about the square root of (lost + won), in images.

| | top-1 | points | lost / won | same class |
| --- | --- | --- | --- | --- |
{rows}

* `isaac`, `isaac-style` and wide converters are exact: every tensor equals onnxruntime's, bit for bit.
* `published`: the paper's three ranges alone, full scale = V_max x 128 x 255 x 255, each layer with the best of the
  three. All layers choose the smallest one, 0.125: their sums reach only a few percent of the full swing.
* "7-bit weights' full swing": the full swing read as 128 x 255 x 127, because an int8 weight leaves the eighth column
  all but empty: a finer reading of the published ranges.
* `power2`, `gain`: an array gain for each layer in front of the converter, restricted to powers of two or free. **The
  gain is ours**: the paper says nothing of one, and without it its claim of no accuracy loss does not hold here.
* `cascade`: 6-bit buffer cells and 10-bit converters as the paper lists them; "points" compares the same images.

### Trained peripherals and noise

All with ranges `gain` and 8 bits; means over seeds, +- the standard deviation between them.

| | top-1 | points | lost / won | same class |
| --- | --- | --- | --- | --- |
{analog}

* Trained: the approximator networks of the NNS+A and the NNADC run for every conversion. "As designed": nominal weights
  and curves; "drawn": varied devices, a new chip for each seed, one NNS+A and one NNADC for each layer.
* dB: the paper's lumped model (section 5.3, eq. 13): Gaussian noise of max|x| / 10^(SINAD/20) on every layer's sums.
* Device noise: varied cells (sigma 0.025), noise of reads and holds (our figures), and drawn devices where trained.

## opennsfw (thin ResNet-50), fidelity on {inputs} inputs

Thirteen free photographs, each also mirrored; quantisation and ranges from {photos} of them. No labels: rows compare
the two class probabilities with onnxruntime int8. All inputs belong to one class, so "same class" says little; "margin"
does more: the root mean square error of log(p0 / p1), whose spread over the inputs is {spread:.2f}.

| | same class | largest difference | mean difference | SNR | margin error |
| --- | --- | --- | --- | --- | --- |
{close}

## Ranges of the Fashion-MNIST network, `gain`, 8 bits

"SQNR": of the layer's sums. "Error": root mean square error of the layer's result, in steps of its 8-bit tensor, before
rounding and before its own clipping. Both on calibration images with exact inputs. Sums are those of weights less the
mean of their column (the centre).

| layer | largest partial sum | V_max | gain | SQNR, dB | error, steps |
| --- | --- | --- | --- | --- | --- |
{plan}

V_max below 0.125 means: converter 0.25 or 0.125 behind the NNS+A of gain 4, where bit lines would otherwise leave their
range of 0.5 VDD.

## What these numbers assume

* A code is a signed 8-bit two's complement number of the differential sum (W+ minus W- columns), before bias, zero
  point and ReLU. The paper does not say how a negative sum is coded.
* Each row block of 128 rows is converted once; codes of a layer's row blocks are added, and their sum is multiplied by
  the step once, in digital.
* The range of a layer minimises the mean square error of its output, before its own clipping, over all outputs of the
  calibration images. Every layer is looked at with the inputs that exact layers before it would give; errors of earlier
  layers are not compensated.
* `gain` and `power2` convert sums of weights less the mean of their column; that mean times the sum of the inputs is
  added in digital (the centre, **ours**; `centre=off` is the paper's hardware). `published` does without.
* Calibration images are from the training set, never from the test set; opennsfw's are among its inputs.
"""

if __name__ == "__main__":
    main()
