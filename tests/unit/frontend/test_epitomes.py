"""Epitomes from ONNX to the graph: float and 8-bit models, normalisation, layers of all kinds, what is chosen."""

from __future__ import annotations

import json
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import pimc
from pimc.frontend import FrontendError, QuantiserOptions, check_model, load_model
from pimc.ir.graph import Graph
from pimc.ir.ops import Conv
from pimc.ir.verify import problems, verify
from tests.unit.frontend.float_models import Array, float_model, random

IMAGES = np.random.default_rng(1).standard_normal((8, 6, 9, 9)).astype(np.float32)
E = random(12, 6, 3, 3, seed=2)
TILE = {"E": E, "t": np.array([3, 1, 1, 1], np.int64)}


def node(kind: str, inputs: str, output: str, name: str = "", **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(kind, inputs.split(), [output], name or output, **attributes)


def float_net(after: Sequence[onnx.NodeProto] = (), constants: dict[str, Any] | None = None) -> onnx.ModelProto:
    """A convolution whose 36 outputs are three copies of 12, then what is given, from c to y."""
    nodes = [node("Tile", "E t", "w"), node("Conv", "x w b", "c", "wrapped", pads=[1] * 4)]
    after = after or [node("Relu", "c", "y")]
    made = {**TILE, "b": random(36, seed=3), **(constants or {})}
    return float_model([*nodes, *after], made, ("n", 6, 9, 9))


def epitomes(graph: Graph) -> dict[str, tuple[int, int]]:
    """Shapes of stored matrices by op; the graph's invariants hold."""
    verify(graph)
    return {op.name: graph.constants[op.epitome].shape for op in graph.of(Conv) if op.epitome is not None}


def test_integer_weights_are_cells() -> None:
    """By plain loops."""
    graph = load_model(float_net(), calibration=IMAGES)
    assert epitomes(graph) == {"wrapped": (54, 12)}
    (op,) = graph.of(Conv)
    assert op.epitome is not None
    assert op.index is not None
    weights, cells, index = (graph.constants[n] for n in (op.weights, op.epitome, op.index))
    assert (cells.dtype.name, index.dtype.name, index.shape) == ("int8", "int32", weights.shape)
    for place in np.ndindex(*index.shape):
        row, column = divmod(int(index[place]), 12)
        assert cells[row, column] == weights[place]
        assert weights[place] == weights[place[0] % 12, place[1], place[2], place[3]]


NORM = {
    "g": np.array([-0.5, 0.0] + [1.5] * 34, np.float32),
    "s": random(36, seed=4),
    "m": random(36, seed=5),
    "v": np.linspace(0.5, 2, 36, dtype=np.float32),
}


def test_normalisation_goes_into_the_scales() -> None:
    """A negative channel has cells of its own, one that is 0 has none; the program is exact."""
    model = float_net([node("BatchNormalization", "c g s m v", "n"), node("Relu", "n", "y")], NORM)
    graph = load_model(model, calibration=IMAGES)
    assert epitomes(graph) == {"wrapped": (54, 13)}
    (op,) = graph.of(Conv)
    assert op.index is not None
    index = graph.constants[op.index]
    assert (index[1] == -1).all()
    assert not np.isin(index[0], index[12]).any()
    assert np.array_equal(index[13], index[25])
    assert len(set(graph.constants[op.multiplier][[0, 12, 24]].tolist())) == 3
    assert json.loads(graph.meta["quantisation"])["outputs"]["y"] > 30
    assert pimc.compile(model, calibration=IMAGES).verify(images=2).verdict == "PASS"


def test_the_loss_of_shared_scales_is_told() -> None:
    """Blocks whose outputs lie on different columns for different inputs tie all scales together."""
    offsets = [(0, 5), (3, 0), (1, 4)]
    rows = [np.concatenate([E[a : a + 7, :3], E[b : b + 7, 3:]], axis=1) for a, b in offsets]
    made = np.concatenate(rows) * np.array([1.0] * 20 + [0.01], np.float32)[np.arange(21)].reshape(-1, 1, 1, 1)
    made[-1] = rows[-1][-1]
    model = float_model([node("Conv", "x w", "y", "tied")], {"w": made.astype(np.float32)}, ("n", 6, 9, 9))
    noted = json.loads(load_model(model, calibration=IMAGES).meta["epitomes"])["tied"]
    assert noted["stored"][0] * noted["stored"][1] < noted["weights"] / 1.2
    assert noted["lost_db"] > 0.2


def test_matrix_products() -> None:
    """Gemm in both orders and MatMul, of a flattened map and of a vector."""
    turned = np.concatenate([random(20, 54, seed=6)] * 2)  # outputs first
    fc = np.concatenate([random(40, 8, seed=7)] * 2, axis=1)
    nodes = [
        node("AveragePool", "x", "p", kernel_shape=[3, 3], strides=[3, 3]),
        node("Flatten", "p", "f"),
        helper.make_node("Gemm", ["f", "a"], ["h"], "gemm", transB=1),
        node("Relu", "h", "r"),
        node("MatMul", "r d", "y", "matmul"),
    ]
    graph = load_model(float_model(nodes, {"a": turned, "d": fc}, ("n", 6, 9, 9)), calibration=IMAGES)
    assert epitomes(graph) == {"gemm": (54, 20), "matmul": (40, 8)}


def test_grouped_convolutions() -> None:
    held = random(4, 3, 3, 3, seed=8)
    model = float_model(
        [node("Concat", "h h h h", "w", axis=0), node("Conv", "x w", "y", "grouped", group=2)],
        {"h": held},
        ("n", 6, 9, 9),
    )
    assert epitomes(load_model(model, calibration=IMAGES)) == {"grouped": (27, 4)}


def quantised(nodes: Sequence[onnx.NodeProto], constants: dict[str, Any]) -> onnx.ModelProto:
    """A model on u8 maps of 6 channels, with the scales s, t and u."""
    held = {"s": np.float32(0.02), "z": np.uint8(3), "t": np.float32(0.01), "i": np.int8(0), "u": np.float32(0.3)}
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", TensorProto.UINT8, ("n", 6, 9, 9))],
        [helper.make_tensor_value_info("y", TensorProto.UINT8, None)],
        [numpy_helper.from_array(np.asarray(a), k) for k, a in (held | constants).items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


INTS = np.random.default_rng(9).integers(-127, 128, (12, 6, 3, 3)).astype(np.int8)
T = np.array([3, 1, 1, 1], np.int64)
IN, OUT = node("DequantizeLinear", "x s z", "xr"), node("QuantizeLinear", "c u z", "y")
CONV = node("Conv", "xr w", "c", "conv")
EIGHT_BIT: dict[str, onnx.ModelProto] = {
    "chain behind DequantizeLinear": quantised(
        [IN, node("DequantizeLinear", "E t i", "d"), node("Tile", "d n", "w"), CONV, OUT], {"E": INTS, "n": T}
    ),
    "chain before it": quantised(
        [IN, node("Tile", "E n", "q"), node("DequantizeLinear", "q t i", "w"), CONV, OUT], {"E": INTS, "n": T}
    ),
    "a scale for each channel": quantised(
        [IN, node("Tile", "E n", "q"), node("DequantizeLinear", "q ts is", "w", axis=0), CONV, OUT],
        {"E": INTS, "n": T, "ts": np.linspace(0.01, 0.03, 36, dtype=np.float32), "is": np.zeros(36, np.int8)},
    ),
    "float weights that are rounded": quantised(
        [
            *(IN, node("QuantizeLinear", "F t i", "q"), node("DequantizeLinear", "q t i", "d")),
            *(node("Tile", "d n", "w"), CONV, OUT),
        ],
        {"F": (INTS * 0.01).astype(np.float32), "n": T},
    ),
    "folded": quantised([IN, node("DequantizeLinear", "q t i", "w"), CONV, OUT], {"q": np.concatenate([INTS] * 3)}),
    "folded, a zero point": quantised(
        [IN, node("DequantizeLinear", "q t z7", "w"), CONV, OUT],
        {"q": (np.concatenate([INTS // 2] * 3).astype(np.int16) + 70).astype(np.uint8), "z7": np.uint8(70)},
    ),
    "QLinearConv": quantised([node("QLinearConv", "x s z q t i u z", "y", "conv")], {"q": np.concatenate([INTS] * 3)}),
    "chain before QLinearConv": quantised(
        [node("Tile", "E n", "q"), node("QLinearConv", "x s z q t i u z", "y", "conv")], {"E": INTS, "n": T}
    ),
}


@pytest.mark.parametrize("name", EIGHT_BIT)
def test_8_bit_models(name: str) -> None:
    """Found, and the program equals onnxruntime on the model that was given.

    A chain behind DequantizeLinear makes that compute in floating point, which may round the other way.
    """
    model = EIGHT_BIT[name]
    graph = load_model(model)
    assert list(epitomes(graph).values()) == [(54, 12)]
    program = pimc.compile(model)
    assert program.verify(images=2).verdict == "PASS"
    images = np.random.default_rng(0).integers(0, 256, (2, 6, 9, 9)).astype(np.uint8)
    differences = program.run(images).outputs["y"].astype(int) - in_onnxruntime(model, images)
    in_floats = name in ("chain behind DequantizeLinear", "float weights that are rounded")
    assert np.abs(differences).max() <= int(in_floats)
    assert np.count_nonzero(differences) < 0.005 * differences.size


def test_scales_that_a_chain_moves_are_left_alone() -> None:
    """A scale for each of 12 channels, then three copies: the layer is the host's, as it was."""
    nodes = [IN, node("DequantizeLinear", "E ts is", "d", axis=0), node("Tile", "d n", "w"), CONV, OUT]
    held = {"E": INTS, "n": T, "ts": np.linspace(0.01, 0.03, 12, dtype=np.float32), "is": np.zeros(12, np.int8)}
    with pytest.warns(match="The host computes conv"):
        assert not epitomes(load_model(quantised(nodes, held)))


def in_onnxruntime(model: onnx.ModelProto, images: Array) -> Array:
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.add_session_config_entry("session.x64quantprecision", "1")
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {"x": images})[0])


def test_models_without_epitomes_stay_the_bytes_they_were() -> None:
    dense = np.random.default_rng(10).integers(-127, 128, (36, 6, 3, 3)).astype(np.int8)
    data = quantised([node("QLinearConv", "x s z q t i u z", "y", "conv")], {"q": dense}).SerializeToString()
    graph = load_model(data)
    assert graph.reference == data
    assert not epitomes(graph)
    assert "epitomes" not in graph.meta


def test_nothing_in_trained_and_in_large_dense_networks() -> None:
    """The Fashion-MNIST network in its forms, and ResNet-18 and -50 with random 8-bit weights."""
    from pimc_models import fashion, zoo

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        given = (fashion.int8_path(), fashion.fp32_path(), zoo.build_int8("resnet18"), zoo.build_int8("resnet50"))
        assert not any(epitomes(load_model(model)) for model in given)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["opennsfw", "efficientnet-lite0", "efficientnet-lite2", "nudenet"])
def test_nothing_in_networks_of_others(name: str) -> None:
    from pimc_models import locate

    try:
        model = locate.load(name)
    except locate.NotInstalledError as missing:
        pytest.skip(str(missing))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert not epitomes(load_model(model))


def test_off_is_as_without() -> None:
    """The chain is folded as ever, and weights are quantised by channel."""
    graph = load_model(float_net(), calibration=IMAGES, epitome="off")
    assert not epitomes(graph)
    assert not epitomes(load_model(EIGHT_BIT["QLinearConv"], epitome="off"))
    with pytest.warns(match="The host computes conv"):  # a chain of 8-bit weights is nobody's then
        load_model(EIGHT_BIT["chain before it"], epitome="off")


def test_layers_kept_in_float_and_reports() -> None:
    nodes = [node("Relu", "c", "r"), node("Conv", "r w2", "y", "last")]
    model = float_net(nodes, {"w2": random(5, 36, 1, 1, seed=11)})
    kept = QuantiserOptions(keep_float=("wrapped",))
    with pytest.warns(match="The host computes"):
        graph = load_model(model, calibration=IMAGES, quantiser=kept)
    assert not epitomes(graph)
    report = check_model(model, calibration=IMAGES)
    assert {n.node: n.where for n in report.nodes}["wrapped_quant"] == "chip"


def two_layers() -> onnx.ModelProto:
    nodes = [node("Tile", "F r", "w2"), node("Conv", "c w2", "y", "second")]
    return float_net(nodes, {"F": random(4, 36, 1, 1, seed=12), "r": np.array([5, 1, 1, 1], np.int64)})


def test_a_file_names_layers(tmp_path: Path) -> None:
    plan = tmp_path / "plan.txt"
    for text, found in (("second\n", ["second"]), ("# both\nwrap*\nsecond # too\n", ["second", "wrapped"])):
        plan.write_text(text)
        assert sorted(epitomes(load_model(two_layers(), calibration=IMAGES, epitome=plan))) == found


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("secnd\n", "no layer 'secnd'; did you mean 'second'"),
        ("dense\n", "layer 'dense' has no epitome: its weights do not repeat"),
        ("# nothing\n", "names no layer"),
        (b"\xff\xfe\x00", "not a text of layers' names"),
    ],
)
def test_what_a_file_may_not_say(text: str | bytes, said: str, tmp_path: Path) -> None:
    plan = tmp_path / "plan.txt"
    plan.write_bytes(text.encode() if isinstance(text, str) else text)
    nodes = [node("Tile", "F r", "w2"), node("Conv", "c w2", "d", "second"), node("Conv", "d w3", "y", "dense")]
    constants = {"F": random(4, 36, 1, 1), "r": np.array([5, 1, 1, 1], np.int64), "w3": random(5, 20, 1, 1)}
    with pytest.raises(FrontendError, match=said):
        load_model(float_net(nodes, constants), calibration=IMAGES, epitome=plan)


def test_a_file_that_is_not_there() -> None:
    with pytest.raises(FrontendError, match=r"nowhere.txt: cannot be read .*--epitome takes exact, off or such a file"):
        load_model(float_net(), calibration=IMAGES, epitome="nowhere.txt")


def test_a_bias_that_fits_no_32_bits_keeps_the_quantisers_scales() -> None:
    constants = {"b": np.full(36, 1e9, np.float32)}
    graph = load_model(float_net(constants=constants), calibration=IMAGES)
    assert not epitomes(graph)


def test_the_verifier_sees_wrong_cells() -> None:
    graph = load_model(float_net(), calibration=IMAGES)
    (op,) = graph.of(Conv)
    assert op.epitome is not None
    graph.constants[op.epitome] = graph.constants[op.epitome].copy()
    graph.constants[op.epitome][0, 0] ^= 1
    assert [text for text in problems(graph, graph.stage) if "are not what the epitome has" in text]
