"""A float model quantised to 8 bits once, and then with weights of other widths as often as wanted."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from pimc.epitomes.codes import MOST
from pimc.epitomes.scales import Precision
from pimc.frontend.epitomes.structure import EXACT, Choice, layers_of
from pimc.frontend.errors import FrontendError
from pimc.frontend.load import lowered, opened, settle
from pimc.frontend.options import QuantiserOptions
from pimc.frontend.quantise import Prepared, is_float, prepare
from pimc.frontend.requantise import quantised_layers, requantise
from pimc.frontend.session import open_session, ort_config
from pimc.frontend.source import Array
from pimc.frontend.unshare import unshare_weights
from pimc.ir.graph import Graph

__all__ = ["WidthTrials"]


def _quiet(text: str) -> None:
    """Nobody is told."""


@dataclass(frozen=True)
class WidthTrials:
    """The model, prepared and quantised; ``unbatched``: it has no axis of images."""

    prepared: Prepared
    base: onnx.ModelProto
    unbatched: bool

    @classmethod
    def of(
        cls,
        source: str | Path | bytes | onnx.ModelProto,
        calibration: Any,
        *,
        input_shapes: Mapping[str, Sequence[int]] | None = None,
        quantiser: QuantiserOptions | None = None,
        epitome: str | Path = EXACT,
        progress: Callable[[str], None] | None = None,
    ) -> WidthTrials:
        """Prepare a float model, as `load_model` does. Raises FrontendError, for widths that are chosen already too."""
        say = progress or _quiet
        model, _, unbatched = opened(source, input_shapes)
        if not is_float(model):
            raise FrontendError("The model is quantised already: bits are chosen for the weights of a float model.")
        if quantiser is not None and quantiser.weight_bits is not None:
            raise FrontendError("Bits of weights are given, so there are none to be chosen. Leave weight_bits out.")
        choice = Choice.read(epitome)
        prepared = prepare(model, calibration, say, batch=not unbatched, options=quantiser, choice=choice)
        return cls(prepared, settle(prepared, say, unbatched=unbatched).base, unbatched)

    @cached_property
    def layers(self) -> dict[str, tuple[str, ...]]:
        """Layers whose weights may have fewer bits, by the first one's name; those of the same weights go together."""
        quantised = quantised_layers(self.base)
        together: dict[str, list[str]] = {}
        for layer in layers_of(self.prepared.model):
            if layer.name in quantised:
                together.setdefault(layer.weights, []).append(layer.name)
        return {names[0]: tuple(names) for names in together.values()}

    def precisions(self, bits: Mapping[str, int]) -> dict[str, Precision]:
        """Precisions by layer for bits by the first layer of the same weights; 8 bits as usual for others."""
        options = self.prepared.options
        how = Precision(MOST, str(options.weight_fit), self.prepared.per_channel)
        wanted = {name: replace(how, bits=b) for first, b in bits.items() for name in self.layers[first]}
        return {**self.prepared.precisions, **wanted}

    def graph(self, bits: Mapping[str, int]) -> Graph:
        """The graph with such weights."""
        made = lowered(self.prepared, self.base, self.precisions(bits), _quiet, unbatched=self.unbatched)
        return made[1].graph

    def outputs(self, bits: Mapping[str, int], images: int) -> list[Array]:
        """What the model makes of the first calibration images with such weights: onnxruntime's outputs, f64."""
        model = onnx.ModelProto()
        model.CopyFrom(self.base)
        requantise(model, self.prepared.model, self.prepared.held, self.precisions(bits))
        unshare_weights(model)
        session = open_session(model.SerializeToString(), ort_config(signed=False))
        made = [session.run(None, feed) for feed in self.prepared.feeds(images)]
        return [np.concatenate([np.asarray(part, np.float64) for part in parts]) for parts in zip(*made, strict=True)]
