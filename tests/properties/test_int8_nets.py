"""Random int8 networks with extreme scales, zero points and biases: equal to onnxruntime, or refused."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from tests.properties.int8_nets import judge

BLOCK = 500
pytestmark = pytest.mark.filterwarnings("ignore::pimc.frontend.macs.HostLayersWarning")


def judged(seeds: range) -> Counter[str]:
    """Judge many; the error names the seed."""
    found: Counter[str] = Counter()
    for seed in seeds:
        try:
            found[judge(seed)] += 1
        except BaseException as error:
            error.add_note(f"seed {seed}")
            raise
    return found


def test_some_networks() -> None:
    assert judged(range(24))["equal"] >= 20


def test_some_networks_on_isaacs_sixteen_bit_flow() -> None:
    on: tuple[str, dict[str, Any]] = ("isaac", {"target_options": {"flow": "isaac16"}})
    assert [judge(seed, on) for seed in range(12)].count("equal") >= 10


@pytest.mark.slow
@pytest.mark.parametrize("block", range(6))
def test_many_networks(block: int) -> None:
    """3,000 in all, a quarter of them on each target; lossy ones with wide converters."""
    found = judged(range(100 + BLOCK * block, 100 + BLOCK * (block + 1)))
    assert found["equal"] > 0.9 * BLOCK
