"""onnx's own backend tests through `pimc.backend`, compared within the tolerances that 8 bits have.

Chosen are the cases with operators of convolutional networks on numbers; `EXPECTED` are
those that do not pass, and why.
"""

from __future__ import annotations

import unittest
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx.backend.test.loader import load_model_tests
from onnx.backend.test.runner import Runner

import pimc.backend

OPERATORS = frozenset(
    [
        *("Add", "AveragePool", "BatchNormalization", "Clip", "Concat", "Constant", "Conv", "ConvInteger"),
        *("ConvTranspose", "DepthToSpace", "DequantizeLinear", "Div", "DynamicQuantizeLinear", "Elu"),
        *("Flatten", "Gemm", "GlobalAveragePool", "GlobalMaxPool", "HardSigmoid", "HardSwish", "Identity"),
        *("InstanceNormalization", "LRN", "LeakyRelu", "LogSoftmax", "MatMul", "MatMulInteger", "MaxPool"),
        *("Mul", "PRelu", "Pad", "QLinearConv", "QLinearMatMul", "QuantizeLinear", "ReduceMean", "Relu"),
        *("Reshape", "Resize", "Sigmoid", "Slice", "Softmax", "SpaceToDepth", "Split", "Squeeze", "Sub"),
        *("Tanh", "Transpose", "Unsqueeze"),
    ]
)
TYPES = frozenset(getattr(onnx.TensorProto, kind) for kind in ("FLOAT", "INT8", "UINT8", "INT32", "INT64"))
OF_THE_RANGE = 0.01

EXPECTED = {
    "test_batchnorm_example_training_mode": "statistics of the batch are outputs too",
    "test_batchnorm_epsilon_training_mode": "statistics of the batch are outputs too",
    "test_convinteger_with_padding": "onnxruntime has no kernel for it",
    "test_matmul_1d_3d": "8 bits: 2.0 % of the range where terms cancel",
    "test_reshape_allowzero_reordered": "a tensor without elements",
    "test_resize_downsample_scales_cubic_align_corners": "onnxruntime differs from the specification",
    "test_resize_downsample_scales_linear_align_corners": "onnxruntime differs from the specification",
    "test_slice_start_out_of_bounds": "a tensor without elements",
    "test_spacetodepth_crd_mode_example": "operator set 28, which onnxruntime refuses and onnx cannot convert",
    "test_split_zero_size_splits_opset13": "a tensor without elements",
    "test_split_zero_size_splits_opset18": "a tensor without elements",
}


def _is_chosen(model: onnx.ModelProto) -> bool:
    ports = [v.type for v in (*model.graph.input, *model.graph.output)]
    typed = all(t.HasField("tensor_type") and t.tensor_type.elem_type in TYPES for t in ports)
    return typed and {node.op_type for node in model.graph.node} <= OPERATORS


class EightBits(Runner):
    """onnx's runner with a comparison that allows a hundredth of the range."""

    @classmethod
    def assert_similar_outputs(
        cls, ref_outputs: Any, outputs: Any, rtol: float, atol: float, model_dir: str | None = None
    ) -> None:
        assert len(ref_outputs) == len(outputs)
        for wanted, found in zip(map(np.asarray, ref_outputs), outputs, strict=True):
            assert (found.dtype, found.shape) == (wanted.dtype, wanted.shape)
            if wanted.dtype.kind != "f":
                np.testing.assert_array_equal(found, wanted)
                continue
            span = max(wanted.max(initial=0), 0) - min(wanted.min(initial=0), 0) or 1.0
            np.testing.assert_allclose(found, wanted, 0, OF_THE_RANGE * span, equal_nan=True)


def _chosen() -> set[str]:
    """Names of the chosen cases."""
    found = set()
    for kind in ("node", "simple", "pytorch-converted", "pytorch-operator"):
        for test in load_model_tests(kind=kind):
            model = test.model or onnx.load(Path(str(test.model_dir)) / "model.onnx")
            if _is_chosen(model):
                found.add(test.name)
    return found


def test_onnx_runs_its_own_tests() -> None:
    """At least 375 of the cases that come without large networks; what does not pass is expected not to."""
    passed, failed = 0, {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of onnx's own generators
        chosen, cases = _chosen(), EightBits(pimc.backend.PimcBackend, __name__).test_cases
    for case in cases.values():
        for name in sorted(n.removesuffix("_cpu") for n in dir(case) if n.endswith("_cpu")):
            if name not in chosen:
                continue
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                result = unittest.TestResult()
                case(f"{name}_cpu").run(result)
            if result.wasSuccessful():
                passed += 1
            else:
                failed[name] = (result.errors or result.failures)[0][1].strip().splitlines()[-1]
    assert not failed.keys() - EXPECTED.keys(), {n: failed[n] for n in failed.keys() - EXPECTED.keys()}
    assert not EXPECTED.keys() - failed.keys()
    assert passed >= 375
