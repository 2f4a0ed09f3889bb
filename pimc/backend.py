"""pimc behind onnx's own interface (`onnx.backend.base`), for runners that drive any backend.

    import pimc.backend
    outputs = pimc.backend.prepare(model, target="isaac").run([x])

A crossbar holds its weights: inputs that stand where an operator has its parameters (all but the first, or all but the
first two of the element-wise operators) are bound as constants when a model first runs, and a float model is quantised
on the images of that run.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper
from onnx.backend.base import Backend, BackendRep

from pimc.driver import CompiledProgram, compile
from pimc.frontend.calibration import CalibrationWarning
from pimc.frontend.fidelity import QuantisationWarning

__all__ = ["PimcBackend", "PimcRep", "prepare", "run_model", "supports_device"]

Array = np.ndarray

#: Operators all of whose inputs are data.
ALL_DATA = frozenset({"Add", "Sub", "Mul", "Div", "Max", "Min", "Sum", "Mean", "Concat", "Where"})


class PimcRep(BackendRep):
    """A model that is compiled when it first runs, for the constants of that run."""

    def __init__(self, model: onnx.ModelProto, target: str) -> None:
        self.model, self.target = model, target
        constants = {t.name for t in model.graph.initializer}
        self.names = [v.name for v in model.graph.input if v.name not in constants]
        self.program: CompiledProgram | None = None
        self._bound: dict[str, Array] = {}

    def run(self, inputs: Sequence[Any], **options: Any) -> tuple[Array, ...]:
        """Return the outputs in the model's order. Raises PimcError."""
        given = {name: np.asarray(value) for name, value in zip(self.names, inputs, strict=False)}
        data = {name for node in self.model.graph.node for name in _data(node)}
        fixed = {name: value for name, value in given.items() if name not in data}
        fed = {name: value for name, value in given.items() if name in data}
        if self.program is None or not _equal(fixed, self._bound):
            self.program, self._bound = self._compile(fixed, fed), fixed
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", (CalibrationWarning, QuantisationWarning))
            made = self.program.values(fed)
        return tuple(made[v.name] for v in self.model.graph.output)

    def _compile(self, fixed: dict[str, Array], fed: dict[str, Array]) -> CompiledProgram:
        bound = onnx.ModelProto()
        bound.CopyFrom(self.model)
        bound.graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in fixed.items())
        kept = [v for v in bound.graph.input if v.name not in fixed]
        if bound.ir_version >= 4:  # older files list constants among the inputs
            del bound.graph.input[:]
            bound.graph.input.extend(kept)
        floats = bool(fed) and all(value.dtype.kind == "f" for value in fed.values())
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", (CalibrationWarning, QuantisationWarning))
            return compile(bound, self.target, calibration=fed if floats else None)


def _data(node: onnx.NodeProto) -> Sequence[str]:
    return list(node.input) if node.op_type in ALL_DATA else list(node.input)[:1]


def _equal(a: dict[str, Array], b: dict[str, Array]) -> bool:
    return a.keys() == b.keys() and all(np.array_equal(a[name], b[name]) for name in a)


class PimcBackend(Backend):
    """onnx's Backend; ``target`` is a target of pimc."""

    @classmethod
    def prepare(cls, model: onnx.ModelProto, device: str = "CPU", target: str = "isaac", **options: Any) -> PimcRep:
        """Return a model that runs. Raises RuntimeError for another device than the CPU."""
        if not cls.supports_device(device):
            raise RuntimeError(f"device {device}: pimc interprets its programs on the CPU")
        return PimcRep(model, target)

    @classmethod
    def run_model(cls, model: onnx.ModelProto, inputs: Any, device: str = "CPU", **options: Any) -> tuple[Array, ...]:
        """Compile and run once."""
        return cls.prepare(model, device, **options).run(inputs)

    @classmethod
    def supports_device(cls, device: str) -> bool:
        """Programs are interpreted on the CPU."""
        return device.split(":")[0] == "CPU"


prepare = PimcBackend.prepare
run_model = PimcBackend.run_model
supports_device = PimcBackend.supports_device
