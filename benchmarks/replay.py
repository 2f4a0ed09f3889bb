"""Has a change of the code changed any result? Digests of programs, values, cycles and energy, recorded and compared.

Run: ``python benchmarks/replay.py record before.json``, change the code, ``... compare before.json``. Words, tensors,
values and cycles must be equal, energies to 1e-12 of their size; the exit code is 1 where they are not. ``--networks``
and ``--targets`` choose among those below; ``--size`` is that of the images (the Fashion network has its own).
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

NETWORKS = ("fashion", "resnet18", "mobilenet_v2", "squeezenet1_1")
TARGETS = ("isaac", "isaac-8b", "isaac-style", "cascade", "neural-pim")
ENERGY_TOLERANCE = 1e-12


def model_of(network: str, size: int) -> tuple[Any, np.ndarray]:
    """A model of 8-bit operators and two images for it."""
    from pimc_models import fashion, zoo

    rng = np.random.default_rng(0)
    if network == "fashion":
        return fashion.int8_path(), rng.random((2, 1, 28, 28)).astype(np.float32)
    return zoo.build_int8(network, size=size), rng.standard_normal((2, 3, size, size)).astype(np.float32)


def results(network: str, target: str, size: int) -> dict[str, Any]:
    """Digests and numbers of one network on one target."""
    import pimc

    model, images = model_of(network, size)
    program = pimc.compile(model, target=target, calibration=images)
    port = program.program.inputs[0]
    ran = program.executor.run({port.name: images.astype(port.dtype)}, keep=True)
    return {
        **file_digests(program),
        "values": {k: digest(v) for k, v in sorted({**ran.tensors, **ran.outputs}.items())},
        "cycles": [program.latency_cycles, program.interval_cycles, *program.timing.image_ends],
        "joules": {k: dict(v) for k, v in program.energy.layers.items()},
        "static_joules": dict(program.energy.static),
        "actions": dict(program.energy.actions),
    }


def file_digests(program: Any) -> dict[str, Any]:
    """Digests of the program file's header, code words and tensors, read with safetensors alone."""
    from safetensors import safe_open

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "p.pim"
        program.save(path)
        with safe_open(path, "numpy") as file:
            tensors = {name: digest(file.get_tensor(name)) for name in sorted(file.keys())}
        return {"file": hashlib.sha256(path.read_bytes()).hexdigest(), "tensors": tensors}


def digest(array: np.ndarray) -> str:
    """Type, shape and bytes."""
    head = f"{array.dtype} {array.shape}".encode()
    return hashlib.sha256(head + np.ascontiguousarray(array).tobytes()).hexdigest()[:16]


def differences(old: Any, new: Any, where: str) -> Iterator[str]:
    """Where two results differ."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted({*old, *new}):
            yield from differences(old.get(key), new.get(key), f"{where} / {key}")
    elif isinstance(old, float) and isinstance(new, float):
        if not math.isclose(old, new, rel_tol=ENERGY_TOLERANCE, abs_tol=0):
            yield f"{where}: {old!r} -> {new!r}"
    elif old != new:
        yield f"{where}: {old!r} -> {new!r}"


def without(programs: dict[str, Any], parts: Sequence[str]) -> dict[str, Any]:
    """Results less some of their parts."""
    return {name: {k: v for k, v in result.items() if k not in parts} for name, result in programs.items()}


def main() -> int:
    """Record or compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("mode", choices=("record", "compare"))
    parser.add_argument("file", type=Path)
    parser.add_argument("--networks", default=",".join(NETWORKS))
    parser.add_argument("--targets", default=",".join(TARGETS))
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--but", nargs="*", default=[], metavar="PART", help="parts not compared, as joules or actions")
    args = parser.parse_args()
    pairs = [(n, t) for n in args.networks.split(",") for t in args.targets.split(",")]
    new: dict[str, Any] = {}
    for network, target in pairs:
        print(f"{network} on {target}", file=sys.stderr, flush=True)
        new[f"{network} on {target}"] = results(network, target, args.size)
    new = json.loads(json.dumps(new))
    if args.mode == "record":
        args.file.write_text(json.dumps(new, indent=1, sort_keys=True) + "\n")
        return 0
    recorded = json.loads(args.file.read_text())
    both = sorted({*recorded} & {*new})
    old, now = ({name: each[name] for name in both} for each in (recorded, new))
    found = list(differences(without(old, args.but), without(now, args.but), "replay"))
    print("\n".join([*found[:50], *(f"{name}: not recorded" for name in new if name not in recorded)]))
    print(f"{len(both)} programs, {len(found)} differences")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
