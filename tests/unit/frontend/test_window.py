"""Windows from ONNX attributes: size and pads must be what onnxruntime makes of the same attributes."""

from __future__ import annotations

from random import Random
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper

from pimc.frontend.errors import NotOnChipError
from pimc.frontend.lower.window import Sliding, sliding

Array = np.ndarray


def pooled(x: Array, attributes: dict[str, Any]) -> Array:
    """Largest element of each window in onnxruntime; padding never wins."""
    node = helper.make_node("MaxPool", ["x"], ["y"], **attributes)
    given = helper.make_tensor_value_info("x", TensorProto.FLOAT, list(x.shape))
    made = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    graph = helper.make_graph([node], "g", [given], [made])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    return np.asarray(ort.InferenceSession(model.SerializeToString(), options).run(None, {"x": x})[0])


def by_hand(x: Array, window: Sliding) -> Array:
    """The same from the resolved window alone: every output element from its taps."""
    y = np.full((1, 1, *window.size), -np.inf, np.float32)
    rows, columns = x.shape[2:]
    for out in np.ndindex(window.size):
        for tap in np.ndindex(window.kernel):
            at = [out[d] * window.stride[d] - window.pads[d] + tap[d] * window.dilation[d] for d in (0, 1)]
            if 0 <= at[0] < rows and 0 <= at[1] < columns:
                y[0, 0, *out] = max(y[0, 0, *out], x[0, 0, at[0], at[1]])
    return y


def drawn(rng: Random) -> tuple[int, int, dict[str, Any]]:
    """Rows, columns and attributes of a pool; pads smaller than the kernel, as onnxruntime demands."""
    kernel = [rng.randint(1, 4), rng.randint(1, 4)]
    attributes: dict[str, Any] = {"kernel_shape": kernel, "strides": [rng.randint(1, 4), rng.randint(1, 4)]}
    mode = rng.choice(["NOTSET", "NOTSET", "NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER"])
    if mode == "NOTSET":
        attributes["pads"] = [rng.randint(0, k - 1) for k in (*kernel, *kernel)]
        attributes["ceil_mode"] = rng.randint(0, 1)
        attributes["dilations"] = [rng.randint(1, 2), rng.randint(1, 2)]
    else:
        attributes["auto_pad"] = mode
        attributes["strides"] = [rng.randint(1, k) for k in kernel]  # onnxruntime refuses pads below 0
    return rng.randint(4, 11), rng.randint(4, 11), attributes


@pytest.mark.parametrize("seed", range(40))
def test_windows_see_what_onnxruntime_sees(seed: int) -> None:
    rng = Random(seed)
    for _ in range(5):
        rows, columns, attributes = drawn(rng)
        try:
            window = sliding(attributes, tuple(attributes["kernel_shape"]), rows, columns)
        except NotOnChipError:
            continue
        x = np.random.default_rng(seed).permutation(rows * columns).astype(np.float32).reshape(1, 1, rows, columns)
        theirs = pooled(x, attributes)
        assert window.size == theirs.shape[2:], attributes
        np.testing.assert_array_equal(by_hand(x, window), theirs, err_msg=str(attributes))
        for d, length in enumerate((rows, columns)):  # the padded map ends where the last window ends, or later
            reach = (window.kernel[d] - 1) * window.dilation[d] + 1
            left = length + window.pads[d] + window.pads[d + 2] - (window.size[d] - 1) * window.stride[d] - reach
            assert 0 <= left < window.stride[d]


@pytest.mark.parametrize(
    ("length", "kernel", "stride", "pad", "size"),
    [
        (5, 2, 2, 0, 3),  # a last window over row 4 only
        (4, 2, 2, 0, 2),  # nothing is left over
        (4, 1, 4, 0, 1),  # the next window would start at row 4, behind the map
        (5, 1, 4, 0, 2),
        (6, 2, 4, 1, 2),  # a third would start at padded row 8, of 7 that count
        (7, 3, 4, 1, 2),  # a third would start at padded row 8, which is the pad behind the map
        (8, 3, 4, 1, 3),  # padded row 8 is the last row of the map
    ],
)
def test_a_last_window_of_ceil_mode_must_start_in_the_map(
    length: int, kernel: int, stride: int, pad: int, size: int
) -> None:
    attributes = {"strides": [stride, 1], "pads": [pad, 0, pad, 0], "ceil_mode": 1}
    window = sliding(attributes, (kernel, 1), length, 5)
    assert window.size == (size, 5)


def test_zeros_around_the_map_count_as_map_and_come_back_as_pads() -> None:
    """A convolution behind a pad node: rows 7 + 1 + 2, columns 5 + 0 + 4."""
    window = sliding({"strides": [3, 2], "pads": [1, 0, 0, 2]}, (2, 3), 7, 5, outer=(1, 0, 2, 4))
    # rows: 1 + 10 + 0 - 2 = 9, a window at 0, 3, 6, 9; columns: 0 + 9 + 2 - 3 = 8, at 0, 2, 4, 6, 8
    assert window == Sliding((2, 3), (3, 2), (2, 0, 2, 6), (1, 1), (4, 5))
    with pytest.raises(NotOnChipError, match=r"window \(9, 1\) does not fit a 7x5 map"):
        sliding({}, (9, 1), 7, 5)
    assert sliding({}, (7, 5), 7, 5).size == (1, 1)


@pytest.mark.parametrize(
    ("attributes", "kernel", "message"),
    [
        ({}, (3,), "kernel has 1 axes"),
        ({"strides": [1, 1, 1]}, (3, 3), "strides has 3 axes"),
        ({"dilations": [2]}, (3, 3), "dilations has 1 axes"),
        ({"pads": [0, 0]}, (3, 3), "needs four"),
        ({"pads": [0, -1, 0, 0]}, (3, 3), "none negative"),
    ],
)
def test_windows_that_the_chip_has_not(attributes: dict[str, Any], kernel: tuple[int, ...], message: str) -> None:
    with pytest.raises(NotOnChipError, match=message):
        sliding(attributes, kernel, 8, 8)
