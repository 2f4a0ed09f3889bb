"""The largest networks that the ISA's limits are set for, on the chips that cut them into the most parts."""

from __future__ import annotations

from typing import Any

import pytest

import pimc
from pimc_isa.errors import ProgramError
from pimc_isa.limits import LIMITS, Limit
from pimc_models import fashion, zoo


@pytest.mark.slow
@pytest.mark.parametrize(("target", "options"), [("neural-pim", {"ranges": "wide"}), ("cascade", {}), ("isaac", {})])
@pytest.mark.parametrize("network", ["vgg19", "resnet101"])
def test_the_largest_networks_are_within_the_limits(network: str, target: str, options: dict[str, Any]) -> None:
    """VGG-19's classifier on neural-pim: 196 row blocks whose sums meet in hundreds of tiles."""
    program = pimc.compile(zoo.build_int8(network), target, **options)
    assert program.program.tiles


def test_a_network_beyond_the_limits_is_told_so_and_not_called_a_bug(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(LIMITS, "parts", Limit(100, "parts"))
    with pytest.raises(ProgramError, match=r"the ISA.s limit is 100.*\n.*too large for one program") as refused:
        pimc.compile(fashion.int8_path())
    assert "bug" not in str(refused.value)
