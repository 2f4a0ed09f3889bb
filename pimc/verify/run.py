"""The verification itself: the program on the values engine, the model in onnxruntime, tensor by tensor, in batches.

Hardware whose conversions are proved exact must give onnxruntime's tensors bit for bit; a single differing element is a
bug of the compiler. The few exceptions are named in `pimc.verify.reference`. Other programs are lossy: they are
measured in the same way, but claim nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from pimc.data import batches, bind, image_count
from pimc.verify.compare import Counter
from pimc.verify.inputs import synthetic
from pimc.verify.losses import largest_losses
from pimc.verify.own import OwnModel, float_session, renamed
from pimc.verify.reference import Reference
from pimc.verify.report import VerifyReport
from pimc_isa.engines.noise import Noise
from pimc_isa.engines.step import unrefereed
from pimc_isa.errors import RunError
from pimc_isa.program import Program

__all__ = ["verify"]

Array = np.ndarray
Say = Callable[[str], None]

#: Bytes of tensors kept at once for the comparison (ours and onnxruntime's).
BATCH_BYTES = 192 << 20


def verify(
    program: Program,
    data: Mapping[str, Array] | Array | None = None,
    labels: Array | None = None,
    *,
    images: int = 4,
    seed: int = 0,
    fp32: str | Path | bytes | None = None,
    own: str | Path | bytes | None = None,
    batch: int | None = None,
    noise: Noise | None = None,
    progress: Say | None = None,
) -> VerifyReport:
    """Run ``data`` through the program and through onnxruntime and compare every tensor that the program holds.

    Without ``data``, ``images`` seeded random images are run. ``labels`` (one class an image) gives the accuracy of
    both, and of the float model ``fp32`` if there is one. ``noise`` makes it one noisy chip. ``own`` is the user's own
    model: the outputs are compared with those of a plain session on it as well, which must be equal if it is quantised.
    Memory does not grow with the number of images.
    """
    reference = Reference(program)
    if data is None:
        if labels is not None:
            raise RunError("labels without data: give the images they belong to")
        inputs = synthetic(reference.model, program.inputs, images, seed)
        said = f"{images} synthetic images (uniform random, seed {seed})"
    else:
        inputs = bind(program.inputs, data, "data")
        said = f"{image_count(inputs)} images given"
    if labels is not None and len(labels) != image_count(inputs):
        raise RunError(f"{len(labels)} labels for {image_count(inputs)} images")
    run = _Run(program, reference, labels, fp32, noise)
    run.own = None if own is None else OwnModel(program, own)
    size = batch or max(1, BATCH_BYTES // max(1, _bytes_per_image(program)))
    done = 0
    for piece in batches(inputs, size):
        run.add(piece, done)
        done += image_count(piece)
        if progress:
            progress(f"{done} of {image_count(inputs)} images compared")
    return run.report(done, said)


def _bytes_per_image(program: Program) -> int:
    """Activations of one image in the program's buffers, twice: ours and onnxruntime's."""
    return 2 * sum(b.rows * b.row_elements * b.element.dtype.itemsize for tile in program.tiles for b in tile.buffers)


class _Run:
    """State of one verification over its batches."""

    def __init__(
        self, program: Program, reference: Reference, labels: Array | None, fp32: Any, noise: Noise | None
    ) -> None:
        from pimc_isa.engines.values import Executor

        self.program, self.reference, self.labels = program, reference, labels
        self.executor, self.noise = Executor(program, noise=noise), noise
        self.output = Counter(program.outputs[0].name)
        self.counters: dict[str, Counter] = {}
        self.held: list[str] = []
        self.votes = _Votes(labels)
        self.float_model = None if fp32 is None else float_session(fp32)
        self.own: OwnModel | None = None

    def add(self, piece: dict[str, Array], first: int) -> None:
        """Compare one batch, the images from number ``first`` on."""
        result = self.executor.run(piece, keep=True, first=first)
        whole = {name: array for name, array in result.tensors.items() if name not in result.partial}
        ours = {**whole, **result.outputs}
        if not self.held:
            self.held = [name for name in self.reference.order if name in ours and name in self.reference]
            self.reference.expose(self.held)
        theirs = self.reference.run(piece)
        judged = self._judged(piece, ours, theirs)
        for name in self.held:
            counter = self.counters.get(name)
            if counter is None:
                counter = Counter(name, self.reference.tolerance(name, theirs[name].dtype))
                self.counters[name] = counter
            counter.add(ours[name], judged[name])
        name = self.program.outputs[0].name
        self.output.add(result.outputs[name], theirs[name])
        self.votes.add("pimc", first, result.outputs[name])
        self.votes.add("onnxruntime", first, theirs[name])
        if self.float_model is not None:
            self.votes.add("fp32", first, self.float_model.run(None, renamed(piece, self.float_model))[0])
        if self.own is not None:
            self.own.add(piece, result.outputs)

    def _judged(self, piece: dict[str, Array], ours: dict[str, Array], theirs: dict[str, Array]) -> dict[str, Array]:
        """What our tensors are compared with: where one differs that may, the rest is computed from ours."""
        allowed = [name for name in self.held if name in self.reference.inexact]
        if self.executor.lossy or all(np.array_equal(ours[name], theirs[name]) for name in allowed):
            return theirs
        return self.reference.run_from(piece, {name: ours[name] for name in allowed})

    def report(self, images: int, said: str) -> VerifyReport:
        """Return everything that was counted."""
        tensors = tuple(self.counters[name].report() for name in self.held)
        return VerifyReport(
            images=images,
            data=said,
            tensors=tensors,
            losses=largest_losses(self.reference.model, tensors) if self.executor.lossy else (),
            skipped=_skipped(self.program, self.reference, self.held),
            top1_agreement=self.votes.agreement(),
            accuracy=self.votes.accuracy(),
            lossy=self.executor.lossy,
            noise=str(self.noise) if self.noise else "",
            output_snr_db=self.output.snr_db(),
            unrefereed=unrefereed(self.program),
            own=None if self.own is None else self.own.report(),
        )


class _Votes:
    """Classes by who computed them; outputs that are not one vector an image have none."""

    def __init__(self, labels: Array | None) -> None:
        self.labels = labels
        self.agree = self.seen = 0
        self.right: dict[str, int] = {}
        self.last: Array | None = None

    def add(self, who: str, first: int, output: Array) -> None:
        """Add a batch of outputs [images, classes]; pimc's comes first, onnxruntime's is compared with it."""
        flat = output.reshape(len(output), -1)
        if flat.shape[1] < 2 or max(output.shape[1:]) != flat.shape[1]:
            return
        chosen = flat.argmax(axis=1)
        if self.labels is not None:
            wanted = self.labels[first : first + len(chosen)]
            self.right[who] = self.right.get(who, 0) + int((chosen == wanted).sum())
        if who == "onnxruntime" and self.last is not None:
            self.agree += int((chosen == self.last).sum())
            self.seen += len(chosen)
        self.last = chosen if who == "pimc" else None

    def agreement(self) -> float | None:
        """Share of images for which both chose the same class."""
        return self.agree / self.seen if self.seen else None

    def accuracy(self) -> dict[str, float]:
        """Share of images whose class is the label."""
        return {who: count / self.seen for who, count in self.right.items()} if self.seen else {}


def _skipped(program: Program, reference: Reference, held: Iterable[str]) -> dict[str, str]:
    """Tensors of the model that no buffer of the program holds, and why: a gap would be a "held by no buffer"."""
    inside: set[str] = set()
    for tile in program.tiles:
        for call in tile.calls:
            model = onnx.load_model_from_string(np.asarray(program.tensors[call.model], np.uint8).tobytes())
            inside |= {name for node in model.graph.node for name in node.output}
    found: dict[str, str] = {}
    for name in reference.activations:
        if name in inside:
            found[name] = "inside a host call"
        elif reference.between(name):
            found[name] = "a float value between 8-bit ones"
        elif reference.moved(name):
            found[name] = "moved on its way"
        else:
            found[name] = "held by no buffer"
    for name in held:
        found.pop(name, None)
    return found
