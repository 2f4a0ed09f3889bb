"""What epitomes cost: CPU time to compile a network and to run its program, over that of its dense twin.

    python benchmarks/epitome_cost.py [--network resnet50] [--size 64] [--repeats 5] [--chains] [--float]

The network's layers of 2^18 weights and more are made of windows of smaller tensors; in 8 bits, folded into constants
as exporters do, or with ``--chains`` by Slice and Concat. Compiling is from the bytes of the model to the program file;
looking for epitomes is part of ``load``. ``lift`` is the first image with what is done once, ``values`` one after that.
``--float``: the network in floating point, which is quantised first. Repeats of both networks are interleaved and
medians are taken; one JSON line.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from pimc import driver
from pimc.frontend import load_model
from pimc.passes.manager import run_passes
from pimc_isa.engines.values import Executor
from pimc_models import zoo

__all__ = ["measured", "woven"]

LARGE = 1 << 18
WEIGHTS = {"QLinearConv": 3, "Conv": 1}


def woven(model: onnx.ModelProto, *, chains: bool) -> onnx.ModelProto:
    """The model with epitomes in its large layers; ``chains``: with the operators that make their weights."""
    made = onnx.ModelProto()
    made.CopyFrom(model)
    read = {node.input[WEIGHTS[node.op_type]] for node in made.graph.node if node.op_type in WEIGHTS}
    nodes: list[onnx.NodeProto] = []
    for tensor in [t for t in made.graph.initializer if t.name in read and np.prod(t.dims) >= LARGE]:
        held = numpy_helper.to_array(tensor)
        weights, steps = _windows(held, tensor.name)
        if chains:
            made.graph.initializer.remove(tensor)
            made.graph.initializer.extend(numpy_helper.from_array(a, name) for name, a in steps[1].items())
            nodes += steps[0]
        else:
            tensor.CopyFrom(numpy_helper.from_array(weights, tensor.name))
    nodes += list(made.graph.node)
    del made.graph.node[:]
    made.graph.node.extend(nodes)
    return made


def _windows(like: np.ndarray, name: str) -> tuple[np.ndarray, tuple[list[onnx.NodeProto], dict[str, np.ndarray]]]:
    """Weights of 2 x 2 windows of an epitome that is half as wide again as one; and nodes and constants of these."""
    o, i = like.shape[0] // 2, like.shape[1] // 2
    epitome = np.ascontiguousarray(like[: o + o // 2, : i + i // 2])
    constants, nodes, rows = {f"{name}.e": epitome, f"{name}.axes": np.array([0, 1])}, [], []
    for m in (0, 1):
        parts = [(m * o // 2, n * i // 2) for n in (0, 1)]
        for n, first in enumerate(parts):
            stem = f"{name}.{m}{n}"
            ends = np.array([first[0] + o, first[1] + i])
            constants |= {f"{stem}.from": np.array(first), f"{stem}.to": ends}
            nodes.append(helper.make_node("Slice", [f"{name}.e", f"{stem}.from", f"{stem}.to", f"{name}.axes"], [stem]))
        nodes.append(helper.make_node("Concat", [f"{name}.{m}0", f"{name}.{m}1"], [f"{name}.{m}"], axis=1))
        rows.append(np.concatenate([epitome[a : a + o, b : b + i] for a, b in parts], axis=1))
    nodes.append(helper.make_node("Concat", [f"{name}.0", f"{name}.1"], [name], axis=0))
    return np.concatenate(rows), (nodes, constants)


def _timed(work: Callable[[], Any]) -> tuple[float, Any]:
    before = time.process_time()
    made = work()
    return time.process_time() - before, made


def _compiled(model: bytes, target: str, path: Path, images: Any) -> tuple[dict[str, float], driver.CompiledProgram]:
    chosen, steps = driver.choose(target)
    load, graph = _timed(lambda: load_model(model, calibration=images))
    passes, done = _timed(lambda: run_passes(graph, steps, chosen))
    emit, program = _timed(lambda: driver.emit(done, chosen))
    save, _ = _timed(lambda: program.save(path))
    parts = {"load": load, "passes": passes, "emit": emit, "save": save}
    return {**parts, "compile": sum(parts.values())}, program


def _values(program: driver.CompiledProgram, repeats: int = 3) -> dict[str, float]:
    """Of one image: the first run, which lifts the program, and the fastest of further ones."""
    (port,) = program.program.inputs
    rng = np.random.default_rng(0)
    images = [{port.name: rng.standard_normal((1, *port.shape)).astype(np.float32)} for _ in range(repeats + 1)]
    executor = Executor(program.program)
    lift, *runs = (_timed(lambda: executor.run(image))[0] for image in images)  # noqa: B023
    return {"lift": lift, "values": min(runs)}


def measured(network: str, size: int, target: str, repeats: int, *, chains: bool, in_float: bool) -> dict[str, Any]:
    """Seconds of CPU time, medians, of both networks, and their ratios."""
    dense = zoo.build(network, size=size) if in_float else zoo.build_int8(network, size=size)
    images = np.random.default_rng(1).standard_normal((4, 3, size, size)).astype(np.float32) if in_float else None
    models = {"dense": dense.SerializeToString(), "epitomes": woven(dense, chains=chains).SerializeToString()}
    times: dict[str, dict[str, list[float]]] = {kind: {} for kind in models}
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for _ in range(repeats):
            for kind, model in models.items():
                parts, program = _compiled(model, target, Path(folder) / "p.pim", images)
                for part, seconds in {**parts, **_values(program)}.items():
                    times[kind].setdefault(part, []).append(seconds)
    medians = {kind: {part: statistics.median(all_) for part, all_ in parts.items()} for kind, parts in times.items()}
    ratios = {part: medians["epitomes"][part] / medians["dense"][part] for part in medians["dense"]}
    shown = {kind: {part: round(x, 3) for part, x in parts.items()} for kind, parts in medians.items()}
    return {"network": network, "size": size, **shown, "ratio": {part: round(x, 2) for part, x in ratios.items()}}


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", default="resnet50")
    parser.add_argument("--size", type=int, default=64, help="height and width of the image")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--target", default="isaac")
    parser.add_argument("--chains", action="store_true", help="leave the operators that make weights in the model")
    parser.add_argument("--float", action="store_true", help="a float network, which is quantised")
    args = parser.parse_args()
    how = {"chains": args.chains, "in_float": args.float}
    print(json.dumps(measured(args.network, args.size, args.target, args.repeats, **how)))


if __name__ == "__main__":
    main()
