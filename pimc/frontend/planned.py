"""What a plan file says of a float model's quantisation (`pimc.passes.plan_file`).

[quantise]
weight_bits = 5

[quantise."stem/conv"]
weight_bits = 8
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from pimc.frontend.errors import FrontendError
from pimc.frontend.options import QuantiserOptions

__all__ = ["planned"]

BITS = "weight_bits"


def planned(
    options: Mapping[str, Any], layers: Mapping[str, Mapping[str, Any]], given: QuantiserOptions | None
) -> QuantiserOptions | None:
    """The options of a plan's section, for all layers and by layer, on top of those ``given``.

    Raises FrontendError for others than there are.
    """
    for where, fields in (("", options), *layers.items()):
        for name in fields:
            if name != BITS:
                at = f" for layer {where!r}" if where else ""
                raise FrontendError(f"The plan has {name!r} for the quantiser{at}; it may have {BITS}.")
    if not options and not layers:
        return given
    given = given or QuantiserOptions()
    usual = options.get(BITS, given.weight_bits)
    rest: Mapping[str, Any] = usual if isinstance(usual, Mapping) else {} if usual is None else {"*": usual}
    return replace(given, weight_bits={**{name: fields[BITS] for name, fields in layers.items()}, **rest})
