"""The PyTorch layer: its weights against plain loops, gradients, wrapping, and both exporters on the spot."""

from __future__ import annotations

import itertools
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs PyTorch: pip install 'pimc[torch]'")

from pimc.frontend import load_model  # noqa: E402
from pimc.ir.ops import Conv  # noqa: E402
from pimc.torch import EpitomeConv2d, export_onnx  # noqa: E402


def by_loops(layer: Any) -> np.ndarray:
    """Weight by weight."""
    cells, (bo, bi) = layer.epitome.detach().numpy(), layer.block
    made = np.empty(layer.weight_shape, np.float32)
    for o, i, y, x in itertools.product(*map(range, layer.weight_shape)):
        a, b, c, d = layer.offsets[o // bo][i // bi]
        made[o, i, y, x] = cells[a + o % bo, b + i % bi, c + y, d + x]
    return made


LAYERS: list[tuple[tuple[Any, ...], dict[str, Any]]] = [
    ((8, 12, 3, (8, 6, 3, 3)), {}),
    ((10, 9, 3, (6, 5, 4, 5)), {"block": (4, 3), "stride": 2, "padding": 1}),
    ((8, 16, 1, (4, 8, 1, 1)), {"bias": False}),
    ((8, 8, (1, 3), (3, 3, 1, 3)), {"block": (2, 2), "groups": 2}),
]


@pytest.mark.parametrize(("shape", "options"), LAYERS)
def test_weights_and_gradients(shape: tuple[Any, ...], options: dict[str, Any]) -> None:
    """An element's gradient is the sum of those of all weights that it is."""
    torch.manual_seed(0)
    layer = EpitomeConv2d(*shape, **options)
    made = by_loops(layer)
    assert np.array_equal(layer.weight.detach().numpy(), made)
    x = torch.randn(2, shape[0], 7, 7)
    how = (layer.stride, layer.padding, layer.dilation, layer.groups)
    plain = torch.tensor(made, requires_grad=True)
    expected = torch.nn.functional.conv2d(x, plain, layer.bias, *how)
    result = layer(x)
    assert torch.equal(result, expected)
    result.square().sum().backward()
    expected.square().sum().backward()
    assert plain.grad is not None
    gathered = np.zeros(tuple(layer.epitome.shape), np.float64)
    (bo, bi) = layer.block
    for o, i, y, w in itertools.product(*map(range, layer.weight_shape)):
        a, b, c, d = layer.offsets[o // bo][i // bi]
        gathered[a + o % bo, b + i % bi, c + y, d + w] += plain.grad[o, i, y, w].item()
    assert np.allclose(layer.epitome.grad.numpy(), gathered, rtol=1e-4, atol=1e-4)


def test_wrapped_blocks_are_copies() -> None:
    layer = EpitomeConv2d(8, 20, 1, (8, 8, 1, 1))
    weights = layer.weight.detach()
    assert torch.equal(weights[:8], weights[8:16])
    assert torch.equal(weights[:4], weights[16:])


def test_training_lowers_the_loss() -> None:
    torch.manual_seed(0)
    layer = EpitomeConv2d(3, 12, 3, (8, 3, 3, 3), block=(4, 3))
    optimiser = torch.optim.SGD(layer.parameters(), 0.05)
    x, y = torch.randn(4, 3, 8, 8), torch.randn(4, 12, 6, 6)
    losses = []
    for _ in range(20):
        optimiser.zero_grad()
        loss = (layer(x) - y).square().mean()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]


@pytest.mark.parametrize(
    ("shape", "options", "said"),
    [
        ((8, 12, 3, (8, 6, 2, 3)), {}, "make it larger"),
        ((8, 12, 3, (8, 6, 3, 3)), {"groups": 3}, "do not make 3 groups"),
        ((8, 12, 3, (8, 6, 3, 3)), {"offsets": [[(0, 0, 0, 0)]]}, "offsets are needed for 2 x 2 blocks"),
        ((8, 8, 1, (8, 8, 1, 1)), {"offsets": [[(1, 0, 0, 0)]]}, "outside the epitome"),
    ],
)
def test_what_cannot_be(shape: tuple[Any, ...], options: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        EpitomeConv2d(*shape, **options)


@pytest.mark.parametrize("newer", [False, True])
def test_exports_are_found_again(newer: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if newer:
        pytest.importorskip("onnxscript", reason="torch's newer exporter needs it")
    import importlib.util

    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: found(name) if newer or name != "onnxscript" else None
    )
    torch.manual_seed(2)
    layer = EpitomeConv2d(48, 40, 3, (32, 36, 3, 3), block=(24, 16), padding=1)
    net = torch.nn.Sequential(torch.nn.Conv2d(3, 48, 3), torch.nn.ReLU(), layer)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        export_onnx(net, torch.zeros(2, 3, 10, 10), tmp_path / "net.onnx")
    assert net.training
    graph = load_model(tmp_path / "net.onnx", calibration=np.random.default_rng(0).random((4, 3, 10, 10), np.float32))
    assert [graph.constants[op.epitome].shape for op in graph.of(Conv) if op.epitome] == [(324, 24)]
