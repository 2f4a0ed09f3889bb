"""The table of restatements: what the manual says of each instruction, written down a second time.

Instructions are declared once, for the engines that are fast (``pimc_isa.instructions``). The step engine judges those
engines, so it must not ask the instruction: it looks here. Whoever adds an instruction adds its restatement with
``restate``; programs with instructions that have none are *unrefereed*, and the step engine refuses them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pimc_isa.define import Instr
from pimc_isa.engines.step.flows import unknown_micro_ops
from pimc_isa.engines.step.geometry import InTile, Row
from pimc_isa.errors import ProgramError
from pimc_isa.instructions import End, Halt, Loop
from pimc_isa.program import Program, Tile

__all__ = ["Restatement", "no_rows", "restate", "restatement_of", "unrefereed"]


def no_rows(place: InTile, instr: Any, i: int) -> Iterable[Row]:
    """For instructions that read, or write, no rows."""
    return ()


def nothing(instr: Any, values: Any) -> None:
    """For instructions whose values the engine moves itself."""


def no_actions(place: InTile, instr: Any, ledger: Any) -> Mapping[str, float]:
    """For instructions that cost no energy."""
    return {}


@dataclass(frozen=True)
class Restatement:
    """One instruction, from the manual's prose.

    ``unit`` names the unit that executes an instruction. ``cycles`` [clock cycles] and ``busy`` (None: the same) are
    those of one execution, at least 1. ``reads`` and ``writes`` give the rows of one iteration. ``meaning`` reads and
    writes through ``pimc_isa.engines.step.values.Values``; arrays are [columns, channels]. ``actions`` [by name] are
    those of one execution (of ``recv``: of one row), in which the third argument is what crossbars did.
    """

    unit: Callable[[Any], str]
    cycles: Callable[[InTile, Any], int]
    reads: Callable[[InTile, Any, int], Iterable[Row]] = no_rows
    writes: Callable[[InTile, Any, int], Iterable[Row]] = no_rows
    meaning: Callable[[Any, Any], None] = nothing
    busy: Callable[[InTile, Any], int] | None = None
    actions: Callable[[InTile, Any, Any], Mapping[str, float]] = no_actions


#: ``loop``, ``end`` and ``halt`` go to no unit: the dispatcher is their restatement.
CONTROL = (Loop, End, Halt)

_TABLE: dict[type[Instr], Restatement] = {}


def restate(kind: type[Instr], restatement: Restatement) -> None:
    """Give an instruction class (not its subclasses) its restatement. Raises ProgramError if it has another one."""
    if _TABLE.setdefault(kind, restatement) is not restatement:
        raise ProgramError(f"instruction '{kind.mnemonic}' is restated twice; keep one of them")


def restatement_of(instr: Instr, tile: Tile) -> Restatement:
    """The restatement of an instruction of a tile. Raises ProgramError where there is none."""
    found = _TABLE.get(type(instr))
    if found is None:
        raise ProgramError(
            f'tile {tile.number} "{tile.name}": the step engine has no restatement of instruction '
            f"'{instr.mnemonic}'; give it one with pimc_isa.engines.step.restate"
        )
    return found


def unrefereed(program: Program) -> tuple[str, ...]:
    """Names of instructions and micro-operations in a program that have no restatement, in order of first use."""
    found = (instr for tile in program.tiles for instr in tile.code)
    names = [i.mnemonic for i in found if type(i) not in _TABLE and not isinstance(i, CONTROL)]
    return tuple(dict.fromkeys([*names, *(name for flow in program.flows for name in unknown_micro_ops(flow))]))
