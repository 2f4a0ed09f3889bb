"""How fast the values engine computes every slice with every conversion, next to onnxruntime on the float model.

    python benchmarks/sliced.py [--repeats 9] [--rows raella,cascade]

Prints a table of ratios of CPU seconds, both measured in turn in this process on one thread, batch 1. For RAELLA
weights and activations are synthesised so that the share s of a layer's conversions (3/8 and what is recovered) is
that of ResNet-18 as the artifact has recorded it; a second table shows both.
"""

from __future__ import annotations

import argparse
import os
import statistics
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from values import SIDE, alternate, float_session

from pimc.driver import choose, emit, lower
from pimc.ir.ops import Conv
from pimc.passes.manager import run_passes
from pimc_isa.crossbar.cells import encode_differential
from pimc_isa.crossbar.centres import best_centres
from pimc_isa.engines.values import Executor
from pimc_isa.engines.values.executor import Result
from pimc_isa.flow import normal_form
from pimc_isa.program import Program, Tile
from pimc_models import zoo

Array = np.ndarray
#: ResNet-18 by layer in the program's order: share s, slices (high bits first), mean bit of what its results lead to.
RECORDED = (
    *((0.563, (4, 2, 2), 0.240), (0.469, (4, 2, 2), 0.166), (0.438, (4, 2, 2), 0.243)),
    *((0.445, (4, 2, 2), 0.128), (0.415, (4, 2, 2), 0.234), (0.447, (4, 2, 2), 0.120)),
    *((0.531, (4, 4), 0.142), (0.413, (4, 2, 2), 0.142), (0.424, (4, 2, 2), 0.066)),
    *((0.391, (4, 2, 2), 0.131), (0.440, (4, 2, 2), 0.095), (0.540, (4, 4), 0.116)),
    *((0.413, (4, 2, 2), 0.116), (0.431, (4, 2, 2), 0.049), (0.390, (4, 2, 2), 0.114)),
    *((0.449, (4, 2, 2), 0.049), (0.402, (4, 2, 2), 0.052), (0.385, (4, 2, 2), 0.052)),
    *((0.393, (4, 2, 2), 0.050), (0.401, (4, 2, 2), 0.060), (0.382, (1,) * 8, 0.2)),
)
BLOCK, CLOSE, MOST, SPREAD = 512, 0.015, 60, 25


@dataclass
class Layer:
    """A layer that is synthesised: deviation of its weights, factor and offset of its results, what it should do.

    ``after``: the tensor whose bits are looked at, which is that of a sum where the results are part of one.
    """

    weights: str
    result: str
    after: str
    data: str
    share: float
    bits: float
    zero: int
    sigma: float = 20.0
    factor: float = 1e-3
    offset: float = 0.0
    seen: float = 0.0
    bits_seen: float = 0.0


def compiled(network: str, target: str, **options: Any) -> Program:
    """A network from seeded weights on a target; on raella, which offers many slicings, in those recorded."""
    image = np.random.default_rng(0).standard_normal((1, 3, SIDE, SIDE)).astype(np.float32)
    chosen, steps = choose(target, **options)
    steps = tuple(step for step in steps if step.name != "choose-slices")
    graph = lower(zoo.build(network), chosen, steps[:1], calibration={"input": image})
    if target == "raella":
        end = "" if options["speculation"] == "on" else "-bits"
        for op, (_, slices, _) in zip(list(graph.of(Conv)), RECORDED, strict=True):
            graph.update(replace(op, flow="-".join(map(str, ("raella", *slices))) + end))
    return emit(run_passes(graph, steps[1:], chosen), chosen).program


def shares(program: Program, found: Result) -> dict[str, float]:
    """By weights: 3/8 and what is recovered, of the conversions that inputs bit by bit take."""
    recovered: dict[str, list[float]] = {}
    for (number, _), tally in found.tallies.items():
        group = program.tile[number].groups[0]
        form, weights = normal_form(program.flow[group.flow]), program.weight[group.weights]
        widths = [hi - lo for lo, hi in (form.input_slices[b.pairs[0][0]] for b in form.blocks)]
        again = sum(width * flags for width, flags in zip(widths, tally.flags, strict=True))
        outputs = (group.n[1] - group.n[0]) * -(-(group.k[1] - group.k[0]) // weights.block_rows)
        recovered.setdefault(group.weights, []).append(again)
        recovered.setdefault(f"{group.weights} all", []).append(8 * len(weights.slices) * tally.positions * outputs)
    return {w.name: 3 / 8 + sum(recovered[w.name]) / sum(recovered[f"{w.name} all"]) for w in program.weights}


def layers_of(program: Program) -> list[Layer]:
    """What is to be synthesised, in the program's order."""
    made = []
    for weights, (share, _, bits) in zip(program.weights, RECORDED, strict=True):
        at = next(n for n, t in enumerate(program.tiles) if t.groups and t.groups[0].weights == weights.name)
        tile = program.tiles[at]
        result = after = _view(tile)
        if tile.requants[0].zero and weights is not program.weights[-1]:
            after = next(_view(t) for t in program.tiles[at:] if t.elementwises)
        requant = tile.requants[0]
        made.append(Layer(weights.name, result, after, requant.data, share, bits, requant.zero))
    return made


def _view(tile: Tile) -> str:
    return next(v.tensor for b in tile.buffers for v in b.views)


def tensors(program: Program, layers: list[Layer]) -> Mapping[str, Array]:
    """The program's tensors with weights and factors as the layers have them."""
    made = dict(program.tensors)
    for n, layer in enumerate(layers):
        w = program.weight[layer.weights]
        drawn = np.random.default_rng(n).standard_normal((1, w.k, w.n)) * layer.sigma
        values = np.clip(np.rint(drawn), -127, 127).astype(np.int8)
        cells = encode_differential(values, w.slices, BLOCK, centred=True, centre=best_centres(values, w.slices, BLOCK))
        for part in ("codes", "polarity", "centre"):
            name = f"{layer.weights}.{part}"
            made[name] = getattr(cells, part).astype(made[name].dtype)
        made[f"{layer.data}.multiplier"] = np.full_like(made[f"{layer.data}.multiplier"], layer.factor)
        made[f"{layer.data}.bias"] = np.full_like(made[f"{layer.data}.bias"], layer.offset / layer.factor)
    return made


def adjust(layer: Layer, share: float, result: Array, after: Array, pace: float) -> None:
    """Change a layer so that its share, and the bits of what it leads to, come nearer to what they should be."""
    step = float(np.clip(5 * pace * (layer.share - share), -0.4, 0.4))
    layer.seen, layer.bits_seen = share, float(np.unpackbits(after.astype(np.uint8)).mean())
    layer.sigma = min(200.0, layer.sigma * np.exp(step))
    ratio = (layer.bits + 1e-3) / (layer.bits_seen + 1e-3)
    if layer.zero:
        layer.offset = float(np.clip(layer.offset + 20 * pace * np.clip(np.log(ratio), -0.5, 0.5), -90, 90))
        ratio = SPREAD / max(0.1, result.astype(np.float64).std())
    layer.factor *= float(np.clip(ratio, 1 / 30, 30)) * np.exp(-step)


def synthesised(program: Program, image: Array) -> tuple[Program, list[Layer]]:
    """The program with other weights and factors, whose layers have the recorded shares."""
    layers, port = layers_of(program), program.inputs[0].name
    for n in range(MOST):
        tried = replace(program, tensors=tensors(program, layers))
        found = Executor(tried).run(
            {port: image}, keep={name for layer in layers for name in (layer.result, layer.after)}, counts=True
        )
        seen = shares(tried, found)
        if all(abs(seen[layer.weights] - layer.share) <= CLOSE for layer in layers):
            break
        for layer in layers:
            adjust(layer, seen[layer.weights], found.tensors[layer.result], found.tensors[layer.after], 0.95**n)
    for layer in layers:
        layer.seen = seen[layer.weights]
    return tried, layers


def ratio(program: Program, network: str, repeats: int, **how: bool) -> str:
    """A row's figures."""
    executor, session = Executor(program, **how), float_session(zoo.build(network))
    image = np.random.default_rng(1).standard_normal((1, 3, SIDE, SIDE)).astype(np.float32)
    port = program.inputs[0].name
    ours, theirs = alternate(lambda: executor.run({port: image}), lambda: session.run(None, {"input": image}), repeats)
    each = statistics.median(a / b for a, b in zip(ours, theirs, strict=True))
    return f"{1e3 * statistics.median(ours):.1f} | {1e3 * statistics.median(theirs):.1f} | {each:.2f}"


def raella_rows(repeats: int) -> tuple[list[str], list[str]]:
    """Speculation with recovery, and recovery alone, on the same weights; and the table of shares."""
    image = np.random.default_rng(1).standard_normal((1, 3, SIDE, SIDE)).astype(np.float32)
    program, layers = synthesised(compiled("resnet18", "raella", speculation="on", signed="off"), image)
    bits = compiled("resnet18", "raella", speculation="off", signed="off")
    alone = replace(bits, tensors={**bits.tensors, **program.tensors})
    rows = [
        f"| ResNet-18, raella, speculation with recovery | {ratio(program, 'resnet18', repeats)} |",
        f"| ResNet-18, raella, recovery only | {ratio(alone, 'resnet18', repeats)} |",
    ]
    return rows, [
        f"| {layer.weights} | {layer.share:.3f} | {layer.seen:.3f} | {layer.sigma:.1f} | "
        f"{layer.bits_seen:.3f} of {layer.bits:.3f} |"
        for layer in layers
    ]


def other_row(network: str, target: str, says: str, prove: bool) -> Callable[[int], tuple[list[str], list[str]]]:
    """A row of a network as it is compiled."""

    def made(repeats: int) -> tuple[list[str], list[str]]:
        return [f"| {says} | {ratio(compiled(network, target), network, repeats, prove=prove)} |"], []

    return made


ROWS: dict[str, Callable[[int], tuple[list[str], list[str]]]] = {
    "raella": raella_rows,
    "cascade": other_row("resnet18", "cascade", "ResNet-18, cascade", True),
    "isaac": other_row("resnet18", "isaac", "ResNet-18, isaac, every slice", False),
    "mobilenet": other_row("mobilenet_v2", "isaac", "MobileNetV2, isaac, every slice", False),
}


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--rows", default=",".join(ROWS))
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")  # random calibration data does for timing
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    print("| what | ours, ms | onnxruntime fp32, ms | ratio |\n| --- | --- | --- | --- |", flush=True)
    told: list[str] = []
    for name in arguments.rows.split(","):
        rows, more = ROWS[name](arguments.repeats)
        print("\n".join(rows), flush=True)
        told += more
    if told:
        print(
            "\n| weights | s recorded | s here | deviation of weights | mean bit behind it |\n"
            "| --- | --- | --- | --- | --- |"
        )
        print("\n".join(told))


if __name__ == "__main__":
    main()
