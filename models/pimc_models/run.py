"""Run a model in onnxruntime the way `pimc` compares with it: exact u8 x s8 products, one thread, no warnings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import onnx


def run(model: onnx.ModelProto, x: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Feed `x` to the only input and return the first output.

    `session.x64quantprecision` makes u8 x s8 kernels exact on processors without VNNI, where they saturate.
    """
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    options.add_session_config_entry("session.x64quantprecision", "1")
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    output = session.run(None, {session.get_inputs()[0].name: x})[0]
    return np.asarray(output)
