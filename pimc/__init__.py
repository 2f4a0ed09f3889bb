"""Compile CNNs in ONNX to analog processing-in-memory chips and run the programs, bit for bit and cycle by cycle.

`compile`, `load` and `compare` are the front door; they are imported when first used, so that importing the package
costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pimc.comparison import compare
    from pimc.driver import CompiledProgram, RunResult, compile, load
    from pimc.frontend import QuantiserOptions
    from pimc.pictures import PictureFolder

__version__ = "0.1.0"
__all__ = [
    "CompiledProgram",
    "PictureFolder",
    "QuantiserOptions",
    "RunResult",
    "__version__",
    "compare",
    "compile",
    "load",
]

#: Where public names live.
_HOMES = {
    "CompiledProgram": "pimc.driver",
    "PictureFolder": "pimc.pictures",
    "QuantiserOptions": "pimc.frontend",
    "RunResult": "pimc.driver",
    "compare": "pimc.comparison",
    "compile": "pimc.driver",
    "load": "pimc.driver",
}


def __getattr__(name: str) -> Any:
    """Import what a name stands for when it is first asked for."""
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'pimc' has no attribute {name!r}")


def __dir__() -> list[str]:
    """List the public names, also those not imported yet."""
    return sorted(__all__)
