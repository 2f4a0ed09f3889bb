"""The speed promises, measured: values against onnxruntime fp32 in one process, cycles, and a compilation.

    python benchmarks/speed.py

Ratios are medians of pairs run in turn on one thread; CPU seconds are the process's own. Prints one JSON line each.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort

import pimc
from pimc.frontend import load_model
from pimc_isa.engines.cycles import simulate
from pimc_isa.engines.noise import parse_noise
from pimc_isa.engines.values import Executor
from pimc_models import zoo


def cpu_seconds(action: Callable[[], object]) -> float:
    """CPU time of one call."""
    begin = time.process_time()
    action()
    return time.process_time() - begin


def fp32_session(model: onnx.ModelProto) -> ort.InferenceSession:
    """Onnxruntime on one thread without spinning."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def values_ratio(
    name: str, repeats: int, target: str = "isaac", noise: str = "", **options: str
) -> dict[str, float | str]:
    """CPU time of one image in the values engine over onnxruntime fp32."""
    model = zoo.build(name)
    x = np.random.default_rng(0).normal(size=(1, 3, 224, 224)).astype(np.float32)
    program = pimc.compile(model, target, calibration={model.graph.input[0].name: x}, **options).program  # type: ignore[arg-type]
    session, executor = fp32_session(model), Executor(program, noise=parse_noise(0, noise) if noise else None)
    port = program.inputs[0].name
    pairs = []
    for n in range(repeats + 3):
        ours = cpu_seconds(lambda: executor.run({port: x}))
        theirs = cpu_seconds(lambda: session.run(None, {session.get_inputs()[0].name: x}))
        if n >= 3:  # the first runs load kernels and pack weights
            pairs.append((ours, theirs))
    ratio = statistics.median(a / b for a, b in pairs)
    ours, theirs = (1e3 * statistics.median(p[k] for p in pairs) for k in (0, 1))
    how = " ".join([target, *options.values(), noise]).strip()
    return {"what": f"{name} values / onnxruntime fp32, {how}", "ratio": ratio, "ours_ms": ours, "fp32_ms": theirs}


def cycles_cpu(name: str) -> dict[str, float | str]:
    """CPU seconds of the cycles engine for a stream of three images."""
    program = pimc.compile(zoo.build(name)).program
    seconds = statistics.median(cpu_seconds(lambda: simulate(program, images=3)) for _ in range(5))
    return {"what": f"{name} cycles, 3 images", "cpu_s": seconds}


def compile_cost(name: str) -> dict[str, float | str]:
    """CPU seconds and peak memory of ``pimc compile`` as a process, from the int8 model to the written file.

    The model is quantised in a process of its own: a child's peak memory counts from its parent's size on Linux.
    """
    with tempfile.TemporaryDirectory() as folder:
        source, result = Path(folder) / "model.onnx", Path(folder) / "model.pim"
        subprocess.run([sys.executable, __file__, "--quantise", name, str(source)], check=True, capture_output=True)
        command = [sys.executable, "-m", "pimc.cli.main", "compile", str(source), "-o", str(result), "--json"]
        child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert child.stdout is not None
        out = child.stdout.read()
        _, status, usage = os.wait4(child.pid, 0)
        if status:
            raise SystemExit(f"pimc compile failed: {status}")
        return {
            "what": f"{name} compile, file written",
            "cpu_s": usage.ru_utime + usage.ru_stime,
            "peak_gib": usage.ru_maxrss / 2**20,
            "instructions": json.loads(out)["instructions"],
            "file_mb": result.stat().st_size / 1e6,
        }


def quantise(name: str, path: str) -> None:
    """Write the int8 form of a network."""
    Path(path).write_bytes(load_model(zoo.build(name)).reference)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=15, help="counted runs of each pair")
    parser.add_argument("--quantise", nargs=2, metavar=("NETWORK", "FILE"), help="only write the int8 model")
    args = parser.parse_args()
    warnings.simplefilter("ignore")  # random calibration data does for timing
    if args.quantise:
        quantise(*args.quantise)
        return
    repeats = args.repeats
    print(json.dumps(compile_cost("resnet50")), flush=True)
    print(json.dumps(values_ratio("resnet18", repeats)), flush=True)
    print(json.dumps(values_ratio("resnet50", repeats)), flush=True)
    for kind in ("ideal", "fitted", "trained"):
        print(json.dumps(values_ratio("resnet18", repeats, "neural-pim", peripherals=kind)), flush=True)
    print(json.dumps(values_ratio("resnet18", 3, "neural-pim", noise="device", peripherals="ideal")), flush=True)
    print(json.dumps(values_ratio("resnet18", 3, "cascade")), flush=True)
    print(json.dumps(cycles_cpu("resnet18")), flush=True)


if __name__ == "__main__":
    main()
