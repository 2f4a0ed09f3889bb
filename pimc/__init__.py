"""Compile CNNs in ONNX to analog processing-in-memory chips and run the programs, bit for bit and cycle by cycle.

`compile`, `load` and `compare` are the front door; they are imported when first used, so that importing the package
costs nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pimc.comparison import compare
    from pimc.driver import CompiledProgram, RunResult, compile, load

__version__ = "0.1.0"
__all__ = ["CompiledProgram", "RunResult", "__version__", "compare", "compile", "load"]


def __getattr__(name: str) -> Any:
    """Import what a name stands for when it is first asked for."""
    if name in {"CompiledProgram", "RunResult", "compile", "load"}:
        from pimc import driver

        return getattr(driver, name)
    if name == "compare":
        from pimc.comparison import compare

        return compare
    raise AttributeError(f"module 'pimc' has no attribute {name!r}")


def __dir__() -> list[str]:
    """List the public names, also those not imported yet."""
    return sorted(__all__)
