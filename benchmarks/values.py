"""How fast the values engine computes a network, next to onnxruntime on the float model: one thread, one process.

Run: ``python benchmarks/values.py [--networks resnet18,resnet50] [--batch 1] [--repeats 15] [--sliced] [--json]``.
Both are measured in turn, in CPU seconds; the figure is the median of the ratios. ``--sliced`` computes every slice
with every conversion, as if nothing were proved exact.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np

SIDE = 224


def measure(network: str, batch: int, repeats: int, sliced: bool) -> dict[str, Any]:
    """Compile one network and time it: milliseconds per image and the ratio to float32 onnxruntime."""
    import pimc
    from pimc_isa.engines.values import Executor
    from pimc_models import zoo

    model = zoo.build(network)
    rng = np.random.default_rng(0)
    image = rng.standard_normal((1, 3, SIDE, SIDE)).astype(np.float32)
    program = pimc.compile(model, calibration={"input": image}).program
    begin = time.process_time()
    executor = Executor(program, prove=not sliced)
    lifting = time.process_time() - begin
    x = rng.standard_normal((batch, 3, SIDE, SIDE)).astype(np.float32)
    float_model = float_session(model)
    name = program.inputs[0].name
    ours, theirs = alternate(
        lambda: executor.run({name: x}),
        lambda: [float_model.run(None, {"input": x[n : n + 1]}) for n in range(batch)],
        repeats,
    )
    return {
        "network": network,
        "batch": batch,
        "every_slice": sliced,
        "lift_ms": round(1e3 * lifting, 1),
        "values_ms": round(1e3 * statistics.median(ours) / batch, 2),
        "onnxruntime_fp32_ms": round(1e3 * statistics.median(theirs) / batch, 2),
        "ratio": round(statistics.median(a / b for a, b in zip(ours, theirs, strict=True)), 3),
    }


def float_session(model: Any) -> Any:
    """Float32 onnxruntime on one thread."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def alternate(a: Callable[[], object], b: Callable[[], object], repeats: int) -> tuple[list[float], list[float]]:
    """CPU seconds of ``a`` and ``b`` in turn, after one warming run of each."""
    a()
    b()
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(repeats):
        for call, seconds in zip((a, b), times, strict=True):
            begin = time.process_time()
            call()
            seconds.append(time.process_time() - begin)
    return times


def main() -> None:
    """Print one line for each network."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", default="resnet18,resnet50")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--sliced", action="store_true")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    for network in arguments.networks.split(","):
        found = measure(network, arguments.batch, arguments.repeats, arguments.sliced)
        if arguments.json:
            print(json.dumps(found))
        else:
            print(
                f"{network}, batch {found['batch']}: {found['values_ms']} ms an image, onnxruntime fp32 "
                f"{found['onnxruntime_fp32_ms']} ms, ratio {found['ratio']} (lifted in {found['lift_ms']} ms)"
            )


if __name__ == "__main__":
    main()
