"""The ISAAC target: an array with one converter, inputs bit by bit, every column converted for every input bit."""

from __future__ import annotations

from importlib.resources import as_file, files
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pimc_isa.flow import Flow
    from pimc_isa.machine import Machine

__all__ = ["flow", "machine"]


def machine() -> Machine:
    """ISAAC-CE, the corrected Table I design point."""
    from pimc_isa.machine import load_machine

    with as_file(files(__name__) / "machine.toml") as path:
        return load_machine(path)


def flow(name: str = "isaac8") -> Flow:
    """A shipped flow: ``isaac8`` (8-bit inputs and weights) or ``isaac16`` (the paper's 16-bit point)."""
    from pimc_isa.flow import parse_flow

    return parse_flow((files(__name__) / "flows" / f"{name}.flow").read_text(encoding="utf-8"))
