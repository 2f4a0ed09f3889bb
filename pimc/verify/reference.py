"""The quantised ONNX model in onnxruntime, with the tensors that the program holds as outputs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx

from pimc.verify.compare import EXACT, Tolerance
from pimc_isa.errors import ProgramError, RunError
from pimc_isa.meta import inexact_tensors, session_entries
from pimc_isa.program import Program

__all__ = ["Reference", "session"]

Array = np.ndarray

#: What is added to the name of a tensor that a cut model makes and does not read.
_MADE = ".made"

#: Operators whose results are elements of their inputs: a chip may move those as it sends them, and hold them nowhere.
_MOVING = frozenset(
    [
        "Concat",
        "QLinearConcat",
        "Split",
        "Slice",
        "Gather",
        "Transpose",
        "Reshape",
        "Flatten",
        "Squeeze",
        "Unsqueeze",
        "Identity",
        "Expand",
        "Tile",
        "Pad",
        "DepthToSpace",
        "SpaceToDepth",
    ]
)

#: Integer tensors must be equal; float ones may differ by this.
FLOAT = Tolerance("float value", rtol=1e-4, atol=1e-5)


def session(model: bytes, entries: Mapping[str, str], what: str) -> Any:
    """Return an onnxruntime session with one thread; ``entries`` are its configuration. Raises RunError."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    try:
        for key, value in entries.items():
            options.add_session_config_entry(key, str(value))
        return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"], enable_fallback=0)
    except Exception as error:  # onnxruntime raises classes of its own, without a common base
        raise RunError(f"onnxruntime cannot run {what}: {first_line(error)}") from error


class Reference:
    """The model that a program must equal. ``order`` are its tensors as it makes them."""

    def __init__(self, program: Program) -> None:
        if "reference" not in program.tensors or not program.tensors["reference"].size:
            raise ProgramError(
                "the program holds no reference model, so there is nothing to verify against\n"
                "compile it with 'pimc compile'; hand-written programs can only be run"
            )
        self._bytes = np.asarray(program.tensors["reference"], np.uint8).tobytes()
        self.model = _parsed(self._bytes)
        self._entries = session_entries(program)
        self._qdq = program.meta.get("format") == "qdq"
        self._inexact = inexact_tensors(program)
        self._makers = {name: node for node in self.model.graph.node for name in node.output if name}
        constants = {t.name for t in self.model.graph.initializer}
        self._inputs = [v for v in self.model.graph.input if v.name not in constants]
        self.order = [*(v.name for v in self._inputs), *self._makers]
        self._session: Any = None
        self._cut: dict[frozenset[str], Any] = {}
        self._names: list[str] = []

    def __contains__(self, tensor: str) -> bool:
        return tensor in self._makers

    @property
    def activations(self) -> list[str]:
        """Return the tensors that depend on an input, in order."""
        live = {v.name for v in self._inputs}
        for node in self.model.graph.node:
            if live.intersection(node.input):
                live.update(name for name in node.output if name)
        return [name for name in self._makers if name in live]

    def between(self, tensor: str) -> bool:
        """Whether a tensor is a float value that a QDQ model has between quantised ones."""
        node = self._makers[tensor]
        return self._qdq and node.op_type != "QuantizeLinear"

    def moved(self, tensor: str) -> bool:
        """Whether a tensor holds elements on their way: moved, or 8-bit codes as floats, or those quantised again."""
        node = self._makers.get(tensor)
        if node is None:
            return False
        again = node.op_type == "QuantizeLinear" and self.moved(node.input[0])
        return again or node.op_type == "DequantizeLinear" or node.op_type in _MOVING

    def tolerance(self, tensor: str, dtype: np.dtype[Any]) -> Tolerance:
        """Return the allowance for a tensor: none, but for floats and what onnxruntime itself may compute in float."""
        if np.issubdtype(dtype, np.floating):
            return FLOAT
        if tensor in self._inexact:
            return Tolerance(f"onnxruntime may compute it in float ({self._inexact[tensor]})", lsb=1)
        return EXACT

    @property
    def inexact(self) -> set[str]:
        """Tensors that onnxruntime itself may compute in float."""
        return set(self._inexact)

    def expose(self, names: list[str]) -> None:
        """Make tensors outputs of the session; other tensors stay as they are, because exposing can undo fusions."""
        model = onnx.ModelProto.FromString(self._bytes)
        del model.graph.output[:]
        model.graph.output.extend(onnx.helper.make_empty_tensor_value_info(name) for name in names)
        self._names = names
        self._session = session(model.SerializeToString(), self._entries, "the reference model")

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Return the exposed tensors, batch first; a model of a fixed batch of one runs image by image."""
        return self._each(self._session, self._names, inputs)

    def run_from(self, inputs: Mapping[str, Array], given: Mapping[str, Array]) -> dict[str, Array]:
        """As ``run``, but what reads a tensor of ``given`` reads that; the tensor itself is what the model makes.

        So each operator behind an inexact one is judged by what it was really given.
        """
        made = {name: f"{name}{_MADE}" if name in given else name for name in self._names}
        key = frozenset(given)
        if key not in self._cut:
            self._cut[key] = session(
                self._cut_at(given, made).SerializeToString(), self._entries, "the reference model"
            )
        found = self._each(self._cut[key], list(made.values()), {**inputs, **given})
        return {name: found[other] for name, other in made.items()}

    def _cut_at(self, given: Mapping[str, Array], made: Mapping[str, str]) -> onnx.ModelProto:
        model = _parsed(self._bytes)
        for node in model.graph.node:
            node.output[:] = [f"{name}{_MADE}" if name in given else name for name in node.output]
        for name, array in given.items():
            elem = onnx.helper.np_dtype_to_tensor_dtype(array.dtype)
            model.graph.input.append(onnx.helper.make_tensor_value_info(name, elem, ["batch", *array.shape[1:]]))
        known = [v for v in model.graph.value_info if v.name not in given]
        del model.graph.value_info[:], model.graph.output[:]
        model.graph.value_info.extend(known)
        model.graph.output.extend(onnx.helper.make_empty_tensor_value_info(name) for name in made.values())
        return model

    def _each(self, session: Any, names: list[str], inputs: Mapping[str, Array]) -> dict[str, Array]:
        if not self._fixed_batch():
            return self._run(session, names, dict(inputs))
        images = len(next(iter(inputs.values())))
        each = [self._run(session, names, {k: v[n : n + 1] for k, v in inputs.items()}) for n in range(images)]
        return {name: np.concatenate([one[name] for one in each]) for name in names}

    def _fixed_batch(self) -> bool:
        return any(
            v.type.tensor_type.shape.dim and v.type.tensor_type.shape.dim[0].dim_value == 1 for v in self._inputs
        )

    def _run(self, session: Any, names: list[str], feeds: dict[str, Array]) -> dict[str, Array]:
        try:
            return dict(zip(names, session.run(names, feeds), strict=True))
        except Exception as error:  # onnxruntime raises classes of its own, without a common base
            raise RunError(f"onnxruntime cannot run the reference model: {first_line(error)}") from error


def first_line(error: BaseException) -> str:
    """The first line of a library's message, at most 300 characters."""
    return next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)[:300]


def _parsed(data: bytes) -> onnx.ModelProto:
    try:
        model: onnx.ModelProto = onnx.load_model_from_string(data)
    except Exception as error:  # protobuf raises classes of its own
        raise ProgramError(
            f"the program's reference model is damaged: {first_line(error)}\ncompile it again"
        ) from error
    return model
