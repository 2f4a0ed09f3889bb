"""Parameters and multiply-accumulates of hand-written graphs."""

from __future__ import annotations

import onnx
import pytest

from pimc_models import measure

NETWORK = """
<ir_version: 9, opset_import: ["": 17]>
net (float[N,4,9,9] x) => (float[N,5] y)
<float[6,2,3,3] w, float[6] b, float[5,6] m, float[6] s, float[6] t, float[6] mean, float[6] var>
{
    c = Conv<group=2, strides=[2,2]>(x, w, b)
    n = BatchNormalization(c, s, t, mean, var)
    p = GlobalAveragePool(n)
    f = Flatten(p)
    y = Gemm<transB=1>(f, m)
}
"""


def network() -> onnx.ModelProto:
    """Parse the text; its typed weights become stored zeros."""
    model = onnx.parser.parse_model(NETWORK)
    for value in list(model.graph.value_info):
        dims = [d.dim_value for d in value.type.tensor_type.shape.dim]
        size = 1
        for dim in dims:
            size *= dim
        model.graph.initializer.append(onnx.helper.make_tensor(value.name, onnx.TensorProto.FLOAT, dims, [0.0] * size))
    return model


def test_parameters_leave_out_running_statistics() -> None:
    assert measure.parameters(network()) == (6 * 2 * 9 + 6) + (6 + 6) + 5 * 6


def test_macs_of_grouped_strided_convolution_and_dense_layer() -> None:
    model = measure.with_input_shape(network(), (1, 4, 9, 9))
    assert measure.macs(model) == 6 * 4 * 4 * (2 * 9) + 6 * 5


def test_open_shape_is_an_error() -> None:
    with pytest.raises(measure.UnknownShapeError, match="Conv"):
        measure.macs(network())


def test_fixing_the_shape_leaves_the_original_alone() -> None:
    model = network()
    before = model.SerializeToString()
    assert measure.with_input_shape(model, (1, 4, 9, 9)) != model
    assert model.SerializeToString() == before
