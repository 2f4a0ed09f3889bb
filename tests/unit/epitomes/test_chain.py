"""Epitomes found in chains of operators: numbers moved by the operators, against weights that onnxruntime makes."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

from pimc.frontend.epitomes.chain import WeightChains
from tests.unit.frontend.float_models import Array, float_model, random, run

E = random(16, 12, 3, 3)
Chain = tuple[list[onnx.NodeProto], dict[str, Any]]


def node(kind: str, inputs: str, output: str, **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(kind, inputs.split(), [output], **attributes)


def ints(*values: int) -> Array:
    return np.array(values, np.int64)


def windows() -> Chain:
    """Slice and Concat, as the notes have it (EPIM notes 8.1): 2 x 3 windows of 12 x 8 channels."""
    nodes: list[onnx.NodeProto] = []
    constants: dict[str, Any] = {"E": E, "axes": ints(0, 1)}
    for m in range(2):
        for n in range(3):
            constants |= {f"s{m}{n}": ints(4 * m, 2 * n), f"e{m}{n}": ints(4 * m + 12, 2 * n + 8)}
            nodes.append(node("Slice", f"E s{m}{n} e{m}{n} axes", f"p{m}{n}"))
        nodes.append(node("Concat", f"p{m}0 p{m}1 p{m}2", f"r{m}", axis=1))
    return [*nodes, node("Concat", "r0 r1", "w", axis=0)], constants


RNG = np.random.default_rng(0)
TILED = [node("Tile", "E t", "v")]
T = {"E": E, "t": ints(3, 2, 1, 1)}
CHAINS: dict[str, tuple[Chain, int]] = {
    "windows": (windows(), E.size),
    "gather": (
        (
            [node("Gather", "E i", "g", axis=0), node("Gather", "g j", "w", axis=1)],
            {"E": E, "i": np.arange(40) % 16, "j": RNG.permutation(30) % 12},
        ),
        E.size,
    ),
    "gather-nd": (
        (
            [node("Transpose", "E", "t", perm=[1, 0, 2, 3]), node("GatherND", "t i", "w")],
            {"E": E, "i": np.stack(np.meshgrid(np.arange(30) % 12, np.arange(40) % 16, indexing="ij"), -1)},
        ),
        E.size,
    ),
    "tile": (([node("Tile", "E t", "w")], T), E.size),
    "expand": (
        (
            [node("Unsqueeze", "E a", "u"), node("Expand", "u s", "v"), node("Reshape", "v r", "w")],
            {"E": E, "a": ints(0), "s": ints(3, 16, 12, 3, 3), "r": ints(48, 12, 3, 3)},
        ),
        E.size,
    ),
    "split": (
        (
            [helper.make_node("Split", ["E"], ["a", "b"], axis=0), node("Concat", "b a b a", "w", axis=1)],
            {"E": E},
        ),
        E.size,
    ),
    "pad": (
        ([node("Pad", "E p", "v"), node("Concat", "v v", "w", axis=1)], {"E": E, "p": ints(*[0, 4] + [0] * 6)}),
        E.size,
    ),
    "matrix": (
        (
            [node("Transpose", "F", "t"), node("Reshape", "t r", "v"), node("Concat", "v v", "w", axis=0)],
            {"F": random(108, 16), "r": ints(16, 12, 3, 3)},
        ),
        E.size,
    ),
    "vector": (
        (
            [node("Reshape", "F r", "v"), node("Concat", "v v", "w", axis=0)],
            {"F": random(1728), "r": ints(16, 12, 3, 3)},
        ),
        E.size,
    ),
    "scaled": (([*TILED, node("Mul", "v f", "w")], {**T, "f": random(48, 1, 1, 1)}), E.size),
    "computed first": (([node("Mul", "E m", "c"), node("Tile", "c t", "w")], {**T, "m": random(*E.shape)}), E.size),
    "fake quantised": (
        (
            [
                node("QuantizeLinear", "E s z", "q"),
                node("DequantizeLinear", "q s z", "d"),
                node("Tile", "d t", "w"),
            ],
            {**T, "s": np.float32(0.02), "z": np.int8(0)},
        ),
        E.size,
    ),
}


def weights_of(model: onnx.ModelProto) -> Array:
    """The chain's result in onnxruntime."""
    shown = onnx.ModelProto()
    shown.CopyFrom(model)
    shown.graph.output.append(helper.make_empty_tensor_value_info("w"))
    return run(shown, {"x": np.zeros((1, _inputs(model), 8, 8), np.float32)})[1]


def _inputs(model: onnx.ModelProto) -> int:
    value = WeightChains(model).value("w")
    assert value is not None
    return int(value.shape[1])


def chain_model(chain: Chain) -> onnx.ModelProto:
    nodes, constants = chain
    return float_model([*nodes, node("Conv", "x w", "y")], constants, ("n", None, 8, 8))


@pytest.mark.parametrize("name", CHAINS)
def test_chains(name: str) -> None:
    chain, cells = CHAINS[name]
    model = chain_model(chain)
    chains = WeightChains(model)
    weights, found = chains.value("w"), chains.found("w")
    assert found is not None
    assert weights is not None
    assert np.array_equal(weights, weights_of(model))
    assert found.cells == found.size == cells
    assert np.allclose(found.rebuilt(found.stored(weights)), weights, rtol=1e-6, atol=0)
    assert 1 not in found.shape


ADDED = {**T, "b": random(48, 24, 3, 3)}
DENSE: dict[str, Chain] = {
    "turned": ([node("Transpose", "E", "w", perm=[1, 0, 2, 3])], {"E": E}),
    "all but equal": ([*TILED, node("Add", "v b", "w")], ADDED),
    "interpolated": ([*TILED, node("Mul", "v b", "w")], ADDED),
    "rounded by channel": (
        [*TILED, node("QuantizeLinear", "v s z", "q", axis=0), node("DequantizeLinear", "q s z", "w", axis=0)],
        {**T, "s": np.linspace(0.01, 0.02, 48, dtype=np.float32), "z": np.zeros(48, np.int8)},
    ),
}


@pytest.mark.parametrize("name", DENSE)
def test_what_is_none(name: str) -> None:
    assert WeightChains(chain_model(DENSE[name])).found("w") is None


def test_weights_that_depend_on_the_input() -> None:
    model = float_model([node("Mul", "x x", "w"), node("Conv", "x w", "y")], {}, (1, 3, 8, 8))
    chains = WeightChains(model)
    assert chains.value("w") is None
    assert chains.found("w") is None


def test_a_matrix_product_has_its_outputs_last() -> None:
    model = float_model(
        [node("Concat", "A A", "w", axis=1), node("MatMul", "x w", "y")], {"A": random(20, 15)}, ("n", 20)
    )
    found = WeightChains(model).found("w", 1)
    assert found is not None
    assert found.index.shape == (30, 20)
    assert found.shape == (20, 15)


def test_integers_behind_a_dequantised_epitome() -> None:
    """Also a Pad's zeros, which are the zero point."""
    held = np.random.default_rng(1).integers(0, 256, E.shape).astype(np.uint8)
    nodes = [node("DequantizeLinear", "q s z", "d"), node("Pad", "d p", "v"), node("Concat", "v v", "w", axis=1)]
    constants = {"q": held, "s": np.float32(0.02), "z": np.uint8(7), "p": ints(0, 4, 0, 0, 0, 0, 0, 0)}
    found = WeightChains(chain_model((nodes, constants))).integers("w")
    padded = np.pad(held, ((0, 0), (4, 0), (0, 0), (0, 0)), constant_values=7)
    assert found is not None
    assert np.array_equal(found, np.concatenate([padded, padded], axis=1))


def test_long_chains_are_no_danger() -> None:
    nodes = [node("Identity", f"v{n}", f"v{n + 1}") for n in range(3000)]
    nodes += [node("Concat", "v3000 v3000", "w", axis=0)]
    found = WeightChains(chain_model((nodes, {"v0": E}))).found("w")
    assert found is not None
    assert found.cells == E.size


@pytest.mark.parametrize("shape", [(120, 90, 1, 1), (60, 45, 2, 2)])
def test_large_layers_keep_the_axes_of_their_source(shape: tuple[int, ...]) -> None:
    """More weights than numpy's iterators buffer, in kernels of one column: its unravel_index fails (numpy #31980)."""
    chain = [node("Gather", "E i", "g", axis=0), node("Gather", "g j", "w", axis=1)]
    held = {"E": random(*shape), "i": np.arange(2 * shape[0]) % shape[0], "j": np.arange(2 * shape[1]) // 2}
    found = WeightChains(chain_model((chain, held))).found("w")
    assert found is not None
    assert found.shape == (shape[1] * shape[2] * shape[3], shape[0])
