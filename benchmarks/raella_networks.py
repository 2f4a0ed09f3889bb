"""Networks with trained weights that RAELLA's arithmetic is tried on, in 8 bits, with pictures and right answers.

Fashion-MNIST's test set (Debian's package), EfficientNet-Lite0 on 158 photographs, opennsfw on thirteen and their
mirror images, PP-LCNet on pages drawn here and turned. Wheels and packages: see models/README.md.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import onnxruntime as ort

from pimc.frontend.load import quantised_graph
from pimc_models import fashion, locate, photographs, preprocess
from pimc_models.tasks import TASKS

__all__ = ["NETWORKS", "Trained"]

Array = np.ndarray


@dataclass(frozen=True)
class Trained:
    """An int8 model, pictures for calibration and to try, what onnxruntime makes of these, what is right of such."""

    model: bytes
    calibration: Array
    x: Array
    reference: Array
    right: Callable[[Array], Array]

    @classmethod
    def of(cls, model: bytes, calibration: Array, x: Array, right: Callable[[Array], Array]) -> Trained:
        """With the reference computed, an image at a time."""
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        options.add_session_config_entry("session.x64quantprecision", "1")
        session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        name = session.get_inputs()[0].name
        reference = np.concatenate([session.run(None, {name: image[None]})[0] for image in x])
        return cls(model, calibration, x, reference, right)


def _quantised(network: str, calibration: Array) -> bytes:
    return quantised_graph(locate.load(network), calibration, None, lambda _: None)[0].data


def _fashion() -> Trained:
    x, labels = fashion.load_all_test()
    given = fashion.int8_path().read_bytes()
    return Trained.of(
        given, fashion.load_calibration()[:64], x, lambda logits: logits.argmax(1) == labels[: len(logits)]
    )


def _lite0() -> Trained:
    held = photographs.load(locate.NETWORKS["efficientnet-lite0"].shape[2])
    return Trained.of(_quantised("efficientnet-lite0", held.calibration), held.calibration, held.images, held.right)


def _opennsfw() -> Trained:
    """Right is what the float model says."""
    photos = [picture for _, picture in locate.photos()]
    x = np.concatenate([preprocess.opennsfw(p) for photo in photos for p in (photo, photo[:, ::-1])])
    real = Trained.of(locate.load("opennsfw").SerializeToString(), x, x, lambda _: np.zeros(0)).reference
    return Trained.of(_quantised("opennsfw", x[:12:2]), x[:12:2], x, lambda y: y.argmax(1) == real[: len(y)].argmax(1))


def _orientation() -> Trained:
    task = TASKS["orientation"]
    images = task.images()
    calibration = images[::4]
    return Trained.of(_quantised("orientation", calibration), calibration, images, lambda y: task.right([y]))


#: By the name that the pages have.
NETWORKS: dict[str, Callable[[], Trained]] = {
    "fashion": _fashion,
    "lite0": _lite0,
    "opennsfw": _opennsfw,
    "orientation": _orientation,
}
