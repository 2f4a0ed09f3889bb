"""New constants of a model, under names that nothing in it has."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import numpy_helper

from pimc.frontend.source import Array

__all__ = ["Constants"]


class Constants:
    """Names and stores them; ``model`` is changed in place."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self.model = model
        self._taken = {t.name for t in model.graph.initializer} | {n for v in model.graph.node for n in v.output}

    def name(self, stem: str) -> str:
        """``stem``, or with a number behind it where that is taken; taken from now on."""
        name, n = stem, 1
        while name in self._taken:
            n += 1
            name = f"{stem}.{n}"
        self._taken.add(name)
        return name

    def store(self, name: str, array: Array) -> None:
        """Make an array a constant of this name."""
        self.model.graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
