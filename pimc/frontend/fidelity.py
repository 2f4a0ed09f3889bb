"""How well the quantised model does what the float one does: on calibration images, in every compile of a float model.

The float model is the user's own, before any clean-up; so this also judges what we did to it.
"""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import onnx

from pimc.frontend.match import match
from pimc.frontend.session import open_session, ort_config
from pimc.frontend.source import Array, Source
from pimc.frontend.unit import Unit

__all__ = ["QuantisationFidelity", "QuantisationWarning", "compare_with_float"]

Tensors = Mapping[str, Array]

IMAGES = 4
"""As many calibration images are compared."""

MOST_ELEMENTS = 1 << 26
"""Elements of all tensors of an image, above which only outputs are compared."""

POOR_DB, POOR_CLASSES = 12.0, 0.7
"""Below either, the quantised model is called poor."""


class QuantisationWarning(UserWarning):
    """The quantised model is far from the float one."""


@dataclass(frozen=True)
class QuantisationFidelity:
    """Signal over quantisation noise in dB of each output, and of the worst layer (its node's name).

    ``same_class`` is the share of images with the same class, None where outputs are no classes. None in place of a
    ratio: nothing differs, or nothing varies.
    """

    images: int
    outputs: Mapping[str, float | None]
    same_class: float | None
    worst_layer: str = ""
    worst_layer_db: float | None = None

    @property
    def is_poor(self) -> bool:
        """Whether predictions of the float model are mostly lost."""
        low = any(snr is not None and snr < POOR_DB for snr in self.outputs.values())
        return low or (self.same_class is not None and self.same_class < POOR_CLASSES)

    def __str__(self) -> str:
        """One line."""
        parts = [f"{name} {_in_db(snr)}" for name, snr in list(self.outputs.items())[:3]]
        if self.same_class is not None:
            parts.append(f"same class on {round(self.same_class * self.images)} of {self.images} images")
        if self.worst_layer:
            parts.append(f"worst layer {self.worst_layer} {_in_db(self.worst_layer_db)}")
        return ", ".join(parts)

    def to_json(self) -> str:
        """For the program's notes."""
        return json.dumps(asdict(self), sort_keys=True)

    def warn(self) -> None:
        """Warn if it is poor."""
        if self.is_poor:
            warnings.warn(
                f"The quantised model is far from the float one: {self}. "
                "Give calibration images like those it is used on, or a model that was trained for 8 bits.",
                QuantisationWarning,
                stacklevel=5,
            )


def _in_db(snr: float | None) -> str:
    return "equal" if snr is None else f"{snr:.1f} dB"


@dataclass
class _Ratio:
    """Powers of a tensor around its mean and of an error, added up over images."""

    count: int = 0
    total: float = 0.0
    squares: float = 0.0
    error: float = 0.0

    def add(self, theirs: Array, ours: Array) -> None:
        wide = theirs.astype(np.float64)
        self.count += wide.size
        self.total += float(wide.sum())
        self.squares += float(np.square(wide).sum())
        self.error += float(np.square(ours.astype(np.float64) - wide).sum())

    @property
    def db(self) -> float | None:
        power = self.squares - self.total**2 / max(1, self.count)
        if not (power > 0 and self.error > 0 and math.isfinite(power) and math.isfinite(self.error)):
            return None
        return round(10 * math.log10(power / self.error), 2)


@dataclass(frozen=True)
class _Layer:
    """An 8-bit tensor of the quantised model, what it stands for in the float one, and the layer that makes it."""

    tensor: str
    stands_for: str
    scale: np.float32
    zero: int
    node: str


@dataclass
class _Tally:
    outputs: dict[str, _Ratio] = field(default_factory=dict)
    layers: dict[str, _Ratio] = field(default_factory=dict)
    same: int = 0
    voted: int = 0


def compare_with_float(
    model: onnx.ModelProto, quantised: onnx.ModelProto, arrays: Mapping[str, Array], say: Callable[[str], None]
) -> QuantisationFidelity | None:
    """Run both on the first images of ``arrays`` (by input name, batch first), image by image; ``say`` is told which.

    None where onnxruntime cannot run one of them with its tensors exposed; what is wrong then is for others to say.
    """
    try:
        return _compared(model, quantised, arrays, say)
    except _CannotRunError:
        return None


class _CannotRunError(Exception):
    """Onnxruntime failed, with classes of its own that have no common base."""


def _compared(
    model: onnx.ModelProto, quantised: onnx.ModelProto, arrays: Mapping[str, Array], say: Callable[[str], None]
) -> QuantisationFidelity:
    images = min(IMAGES, *(len(a) for a in arrays.values()))
    names = [v.name for v in model.graph.output]
    layers = _layers(model, quantised)
    floats = _Runner(model, {}, [*names, *(layer.stands_for for layer in layers)])
    ints = _Runner(quantised, ort_config(signed=False), [*names, *(layer.tensor for layer in layers)])
    tally = _Tally()
    for n in range(images):
        say(f"comparing with the float model: image {n + 1} of {images}")
        feed = {name: array[n : n + 1] for name, array in arrays.items()}
        theirs, ours = floats.run(feed), ints.run(feed)
        _add(tally, names, layers, theirs, ours)
        if n == 0 and sum(a.size for a in theirs.values()) > MOST_ELEMENTS:
            break
    known = {name: ratio.db for name, ratio in tally.layers.items()}
    worst = min((n for n, db in known.items() if db is not None), key=lambda n: known[n] or 0.0, default="")
    same = tally.same / tally.voted if tally.voted else None
    return QuantisationFidelity(n + 1, {k: r.db for k, r in tally.outputs.items()}, same, worst, known.get(worst))


def _add(tally: _Tally, names: list[str], layers: list[_Layer], theirs: Tensors, ours: Tensors) -> None:
    for name in names:
        if theirs[name].dtype.kind == "f":
            tally.outputs.setdefault(name, _Ratio()).add(theirs[name], ours[name])
    for layer in layers:
        real = (ours[layer.tensor].astype(np.int32) - layer.zero) * layer.scale
        if real.size == theirs[layer.stands_for].size:
            tally.layers.setdefault(layer.node, _Ratio()).add(theirs[layer.stands_for].reshape(real.shape), real)
    vector = theirs[names[0]]
    if vector.size > 1 and vector.dtype.kind == "f" and max(vector.shape) == vector.size:
        tally.voted += 1
        tally.same += int(vector.argmax() == ours[names[0]].argmax())


def _layers(model: onnx.ModelProto, quantised: onnx.ModelProto) -> list[_Layer]:
    """Operators of the quantised model whose result the user's model has too, under the name without the ending."""
    source = Source(model)
    found = []
    for _, unit in match(Source(quantised)):
        name = unit.output.tensor.removesuffix("_quantized") if isinstance(unit, Unit) else ""
        if isinstance(unit, Unit) and unit.output.scale is not None and name in source.producer:
            out, node = unit.output, unit.node.name.removesuffix("_quant") or name
            found.append(_Layer(out.tensor, _limited(source, name), out.one_scale, out.one_zero, node))
    return found


def _limited(source: Source, tensor: str) -> str:
    """The tensor behind a Relu or Clip that alone reads ``tensor``: the quantiser takes it into the range."""
    while source.private(tensor) and source.readers(tensor)[0].op_type in ("Relu", "Clip"):
        tensor = source.readers(tensor)[0].output[0]
    return tensor


class _Runner:
    """A model with some tensors as outputs, one image at a time."""

    def __init__(self, model: onnx.ModelProto, config: Mapping[str, str], tensors: list[str]) -> None:
        self.tensors = list(dict.fromkeys(tensors))
        copy = onnx.ModelProto()
        copy.CopyFrom(model)
        del copy.graph.output[:]
        copy.graph.output.extend(onnx.helper.make_empty_tensor_value_info(name) for name in self.tensors)
        self.inputs = {v.name for v in copy.graph.input}
        self.session = _opened(copy.SerializeToString(), config)

    def run(self, feed: Mapping[str, Array]) -> dict[str, Array]:
        given = {name: array for name, array in feed.items() if name in self.inputs}
        try:
            return dict(zip(self.tensors, self.session.run(self.tensors, given), strict=True))
        except Exception as error:
            raise _CannotRunError from error


def _opened(model: bytes, config: Mapping[str, str]) -> Any:
    """A session; a float model's without optimisation where that stumbles over the exposed tensors.

    Without it 8-bit products may saturate, so a quantised model's is not opened then.
    """
    for optimise in (True,) if config else (True, False):
        try:
            return open_session(model, config, optimise=optimise)
        except Exception as error:
            failure = error
    raise _CannotRunError from failure
