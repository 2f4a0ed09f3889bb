"""A compiled neural-pim program against the graph evaluated with plain numpy conversions: the same bits."""

from __future__ import annotations

import json
from functools import partial
from typing import Any

import numpy as np
import pytest

from pimc import driver
from pimc.analysis.calibrate import gemm_matrix, windows
from pimc.analysis.ranges import block_sums, convert
from pimc.ir.evaluate import evaluate
from pimc.ir.ops import Conv
from pimc_models import fashion

FULL_SWING = 128 * 255 * 255


def converted(op: Conv, x: np.ndarray, w: np.ndarray, *, centred: bool) -> np.ndarray:
    """Sums as the chip gives them: one 8-bit conversion for each row block, one rounding for each crossbar group.

    ``centred``: the mean of a column's weights is taken off, and added times the sum of the inputs.
    """
    assert op.scale is not None
    assert op.mapping is not None
    v_max, gain = op.scale
    step = FULL_SWING * v_max / gain / 127
    matrix = gemm_matrix(w, op.groups)
    total = np.zeros((len(x) * op.shape[0] * op.shape[1], op.shape[2]))
    for where, vectors in windows(op, x):
        sums = block_sums(vectors, matrix, 128)
        correction = np.zeros_like(sums)
        if centred:
            for block, first in enumerate(range(0, matrix.shape[1], 128)):
                rows = slice(first, first + 128)
                mean = np.rint(matrix[:, rows].mean(axis=1))  # [groups, n]
                inputs = vectors[:, :, rows].sum(axis=2)
                correction[:, block] = (inputs[:, :, None] * mean).reshape(len(vectors), -1)
        for first, last in op.mapping.chain:
            blocks = slice(first // 128, -(-last // 128))
            total[where] += convert((sums - correction)[:, blocks], step, -128, 127)
            total[where] += correction[:, blocks].sum(axis=1)
    zero = op.x_zero * matrix.sum(axis=1, dtype=np.int64).reshape(-1)
    return np.asarray((total - zero).astype(np.int32).reshape(len(x), *op.shape))


def compiled(ranges: str, centre: str = "auto") -> tuple[Any, driver.CompiledProgram]:
    target, steps = driver.choose("neural-pim", ranges=ranges, centre=centre)
    graph = driver.lower(fashion.int8_path(), target, steps, calibration=fashion.load_calibration()[:8])
    return graph, driver.emit(graph, target)


@pytest.mark.parametrize(
    ("ranges", "centre", "centred"),
    [
        ("gain", "auto", True),
        ("power2", "auto", True),
        ("published", "auto", False),
        ("gain", "off", False),
        ("published", "on", True),
    ],
)
def test_program_equals_numpy(ranges: str, centre: str, centred: bool) -> None:
    graph, program = compiled(ranges, centre)
    images = fashion.load_test()[0][:6]
    expected = evaluate(graph, {"image": images}, keep=False, sums=partial(converted, centred=centred))["$logits"]
    assert np.array_equal(program.values(images)["logits"], expected)
    assert not np.array_equal(evaluate(graph, {"image": images}, keep=False)["$logits"], expected)


def test_the_program_says_what_was_chosen() -> None:
    _, program = compiled("gain")
    meta = program.program.meta
    assert (meta["ranges"], meta["peripherals"]) == ("gain", "ideal")
    plans = {plan["layer"]: (plan["v_max"], plan["gain"]) for plan in json.loads(meta["range_plan"])}
    groups = [
        (node, group)
        for tile in program.program.tiles
        for instr, node in zip(tile.code, tile.nodes, strict=True)
        for group in tile.groups
        if instr.mnemonic.startswith("mvm")
    ]
    assert len(plans) == 12
    assert all((group.v_max, group.gain) == plans[node] for node, group in groups)


def test_gain_keeps_the_classes_that_published_ranges_lose() -> None:
    images, labels = fashion.load_test()
    right = {
        ranges: int((compiled(ranges)[1].values(images[:300])["logits"].argmax(1) == labels[:300]).sum())
        for ranges in ("wide", "gain", "published")
    }
    assert right["gain"] >= right["wide"] - 3
    assert right["published"] <= right["gain"] - 8
