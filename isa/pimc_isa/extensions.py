"""Packages that add instructions, element types, micro-operations, or (in the compiler) ops and rules.

They are imported before they are needed. Such a package names modules under the entry point ``pimc.extensions``;
importing one declares what it adds. A program that uses such things says which package they are from, so that without
it the error can name it.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cache
from importlib.metadata import EntryPoint, entry_points

from pimc_isa.define import REGISTRY
from pimc_isa.element import ELEMENTS
from pimc_isa.errors import ProgramError
from pimc_isa.flow.define import OPS
from pimc_isa.program import Program

__all__ = ["GROUP", "META", "ExtensionWarning", "load_extensions", "marked", "refuse_missing"]

GROUP = "pimc.extensions"
META = "extensions"
"""Key of a program's notes: a JSON object from what it uses to the package that declares it."""

_OWNERS: dict[str, str] = {}


class ExtensionWarning(UserWarning):
    """A package that cannot be imported was left out."""


@cache
def load_extensions() -> None:
    """Import all extensions, once; one that fails is left out with an ExtensionWarning."""
    for entry in sorted(entry_points(group=GROUP), key=lambda e: (e.name, e.value)):
        before = set(_declared())
        try:
            entry.load()
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # whatever a stranger's module does when it is imported
            text = f"extension {entry.name!r} cannot be imported from {entry.value}: {type(error).__name__}: {error}"
            warnings.warn(text, ExtensionWarning, stacklevel=2)
        for what in set(_declared()) - before:
            _OWNERS[what] = _package(entry)


def _declared() -> Iterator[str]:
    yield from (f"instruction {name}" for name in REGISTRY)
    yield from (f"element type {name}" for name in ELEMENTS)
    yield from (f"micro-operation {name}" for name in OPS)


def _package(entry: EntryPoint) -> str:
    return entry.dist.name if entry.dist is not None else entry.value.split(".", maxsplit=1)[0]


def marked(program: Program) -> Program:
    """The program with a note of what it uses of which extensions; without any, the same."""
    used = {f"instruction {instr.mnemonic}" for tile in program.tiles for instr in tile.code}
    used |= {f"element type {buffer.dtype}" for tile in program.tiles for buffer in tile.buffers}
    used |= {f"micro-operation {op.name}" for flow in program.flows for op in flow.ops}
    owned = {what: _OWNERS[what] for what in sorted(used) if what in _OWNERS}
    return replace(program, meta={**program.meta, META: json.dumps(owned)}) if owned else program


def refuse_missing(meta: Mapping[str, str], where: str) -> None:
    """Raise ProgramError, which names the package, if a program needs an extension that is not here."""
    if META not in meta:
        return
    try:
        needs = dict(json.loads(meta[META]))
    except (ValueError, TypeError):
        return  # the program's other checks say what is wrong
    known = set(_declared())
    missing = {what: package for what, package in needs.items() if what not in known}
    if missing:
        what, package = next(iter(missing.items()))
        raise ProgramError(f"{where} needs the package {package} ({what}), which is not installed here")
