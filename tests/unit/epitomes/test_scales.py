"""8-bit cells: weights of a cell stay equal, channels that share cells share a scale, the error is that of weights."""

from __future__ import annotations

import numpy as np

from pimc.epitomes.found import Found
from pimc.epitomes.scales import quantised_cells, signal_to_noise


def test_equal_cells_stay_equal_and_scales_are_shared() -> None:
    """Channels 0 and 1 share a cell, 1 and 2 as well, 3 stands alone."""
    index = np.array([[0, 1], [1, 2], [2, 3], [4, -1]], np.int32)
    cells = np.array([[1.04], [-2.0], [0.5], [12.7], [0.3]], np.float32)
    found = Found((5, 1), index, np.array([1.0, 2.0, 1.0, 1.0]))
    weights = found.rebuilt(cells)
    made = quantised_cells(found, weights)
    assert np.allclose(made.scale, [0.1, 0.2, 0.1, 0.3 / 127], rtol=1e-6)
    assert np.array_equal(made.weights, [[10, -20], [-20, 5], [5, 127], [127, 0]])
    real = made.weights * made.scale[:, None]
    assert np.isclose(made.snr_db, 10 * np.log10((weights**2).sum() / ((weights - real) ** 2).sum()), atol=1e-3)
    assert made.per_channel_db > made.snr_db


def test_noise_is_none_where_nothing_differs() -> None:
    ones = np.ones((2, 2), np.float32)
    assert signal_to_noise(ones, ones) == float("inf")


def test_channels_share_a_scale_where_cells_link_them() -> None:
    """Against sets that are joined as long as they meet; -1 links nothing."""
    rng = np.random.default_rng(0)
    for _ in range(100):
        shape = int(rng.integers(1, 20)), int(rng.integers(1, 6))
        index = rng.integers(-1, int(rng.integers(1, 80)), shape).astype(np.int32)
        groups = [({n}, set(cells.tolist()) - {-1}) for n, cells in enumerate(index)]
        while meets := next(((a, b) for a in groups for b in groups if a is not b and a[1] & b[1]), None):
            groups = [g for g in groups if all(g is not m for m in meets)]
            groups.append((meets[0][0] | meets[1][0], meets[0][1] | meets[1][1]))
        cells = rng.uniform(1, 9, (80, 1))
        found = Found((80, 1), index, np.ones(shape[0]))
        scale = quantised_cells(found, found.rebuilt(cells)).scale
        for channels, held in groups:
            largest = np.abs(cells[sorted(held)]).max() if held else 1.0
            assert np.allclose(scale[sorted(channels)], largest / 127, rtol=1e-6)
