"""How close a program's outputs are to onnxruntime's: class by class and as a signal-to-noise ratio."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from pimc.data import batches, bind, image_count
from pimc.driver import CompiledProgram
from pimc.verify.inputs import synthetic
from pimc.verify.reference import Reference, session
from pimc_isa.errors import RunError
from pimc_isa.meta import session_entries

__all__ = ["Fidelity", "inputs_for", "measure_fidelity"]

Array = np.ndarray


@dataclass(frozen=True)
class Fidelity:
    """Outputs against the int8 model in onnxruntime.

    ``snr_db`` is the power of onnxruntime's outputs over that of the difference, ``None`` where nothing differs (or no
    output is ever other than 0). ``top1_agreement`` is the share of images with the same class, ``None`` without
    classes. ``accuracy`` and ``accuracy_int8`` are shares of images whose class is the label.
    """

    images: int
    snr_db: float | None
    exact: bool
    top1_agreement: float | None
    accuracy: float | None = None
    accuracy_int8: float | None = None


def inputs_for(compiled: CompiledProgram, data: Any, images: int, seed: int) -> dict[str, Array]:
    """The images given, bound to the program's inputs, or ``images`` synthetic ones."""
    program = compiled.program
    if data is None:
        return synthetic(Reference(program).model, program.inputs, images, seed)
    return bind(program.inputs, data, "data")


def measure_fidelity(
    compiled: CompiledProgram,
    inputs: Mapping[str, Array],
    labels: Array | None = None,
    progress: Callable[[str], None] | None = None,
) -> Fidelity:
    """Run images in both and compare the first output. Raises RunError if there are not as many labels as images."""
    images = image_count(dict(inputs))
    if labels is not None and len(labels) != images:
        raise RunError(f"{len(labels)} labels for {images} images")
    ours, theirs = _outputs(compiled, dict(inputs), progress)
    noise, power = float(np.square(theirs - ours).sum()), float(np.square(theirs).sum())
    exact = noise == 0.0
    snr = 10 * math.log10(power / noise) if power and noise else None
    if ours.shape[1] < 2 or ours.size == 0:
        return Fidelity(images, snr, exact, None)
    mine, reference = ours.argmax(axis=1), theirs.argmax(axis=1)
    agreement = float((mine == reference).mean())
    if labels is None:
        return Fidelity(images, snr, exact, agreement)
    return Fidelity(images, snr, exact, agreement, float((mine == labels).mean()), float((reference == labels).mean()))


def _outputs(
    compiled: CompiledProgram, inputs: dict[str, Array], progress: Callable[[str], None] | None
) -> tuple[Array, Array]:
    """The first output of both, as float64 [images, values]."""
    program = compiled.program
    name = program.outputs[0].name
    data = np.asarray(program.tensors["reference"], np.uint8).tobytes()
    runtime = session(data, session_entries(program), "the reference model")
    first = runtime.get_inputs()[0].shape
    size = 1 if first and first[0] == 1 else compiled.batch
    theirs = [runtime.run([name], piece)[0] for piece in batches(inputs, size)]
    ours = compiled.values(inputs, progress=progress)[name]
    return _flat(ours), _flat(np.concatenate(theirs))


def _flat(outputs: Array) -> Array:
    return outputs.reshape(len(outputs), -1).astype(np.float64)
