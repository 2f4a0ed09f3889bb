"""The static verifier of programs: everything that can be known without running one.

Names, shapes and types; stream structure; what a tile can hold; messages sent and received; rows read before they are
written or after they are overwritten. Deadlocks are the timing engine's to find: they depend on when things happen.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace

from pimc_isa.check.channels import channel_problems
from pimc_isa.check.code import check_code, place
from pimc_isa.check.places import mesh_problems, sharing_problems, tile_arrays
from pimc_isa.check.rounds import declared_rounds, group_rounds, rounds_tensors
from pimc_isa.check.rows import RowChecker
from pimc_isa.check.sizes import group_sizes, size_problems, weights_sizes
from pimc_isa.check.tensors import program_tensors, quant_problems, tile_tensors, weights_tensors
from pimc_isa.check.tile import descriptor_problems, memory_problems
from pimc_isa.crossbar.footprint import check_group
from pimc_isa.define import Context
from pimc_isa.errors import ProgramError, shown
from pimc_isa.flow import check_flow
from pimc_isa.instructions import Quant
from pimc_isa.machine import machine_from_dict, machine_to_dict
from pimc_isa.meta import meta_problems
from pimc_isa.operands import Weights
from pimc_isa.program import Program, Tile

__all__ = ["check", "check_structure", "check_tensors"]


def check(program: Program) -> None:
    """Refuse a program that cannot run; the error is the first found, with its tile and instruction.

    Raises ProgramError; FlowError and MachineError for flows and machines that are impossible in themselves.
    """
    check_structure(program)
    check_tensors(program)


def check_structure(program: Program) -> None:
    """All that is known without the tensors; sizes first, so that the rest takes seconds. Raises as ``check``."""
    machine_from_dict(machine_to_dict(program.machine), "the program's machine")
    _raise_first("program", size_problems(program))
    _raise_first("program", _program_problems(program))
    for flow in program.flows:
        check_flow(flow, program.machine)
    for weights in program.weights:
        _raise_first(f"weights {shown(weights.name)}", _weights_problems(weights))
    _raise_first("program", declared_rounds(program))
    rows = RowChecker()
    for tile in program.tiles:
        where = _place(tile)
        _raise_first(where, descriptor_problems(program, tile))
        _check_arrays(program, tile, where)
        check_code(program, tile, where)
        rows.check(Context(program, tile), where)
    _raise_first("program", channel_problems(program))
    for tile in program.tiles:
        _raise_first(_place(tile), memory_problems(program, tile))
    _raise_first("program", sharing_problems(program))


def check_tensors(program: Program) -> None:
    """The rest, where ``check_structure`` has passed. Raises ProgramError."""
    _raise_first("program", program_tensors(program))
    for weights in program.weights:
        _raise_first(f"weights {shown(weights.name)}", weights_tensors(program, weights))
    _check_rounds(program)
    for tile in program.tiles:
        _raise_first(_place(tile), tile_tensors(program, tile))
        _check_quants(program, tile)


def _check_rounds(program: Program) -> None:
    """The tables of every group's rounds; groups that differ in name or copies are judged once."""
    judged = set()
    for tile in program.tiles:
        for group in tile.groups:
            alike = replace(group, name="", copies=1)
            if group.rounds and alike not in judged:
                judged.add(alike)
                _raise_first(_place(tile), rounds_tensors(program, group))


def _check_quants(program: Program, tile: Tile) -> None:
    ctx = Context(program, tile)
    for position, instr in enumerate(tile.code):
        if isinstance(instr, Quant):
            _raise_first(place(_place(tile), tile, position), quant_problems(ctx, instr))


def _place(tile: Tile) -> str:
    return f"tile {tile.number} ({shown(tile.name)})"


def _raise_first(where: str, problems: Iterable[str]) -> None:
    for problem in problems:
        raise ProgramError(f"{where}: {problem}")


def _program_problems(program: Program) -> Iterator[str]:
    for what, names in (
        ("tile number", [t.number for t in program.tiles]),
        ("channel", [c.name for c in program.channels]),
        ("flow", [f.name for f in program.flows]),
        ("weights", [w.name for w in program.weights]),
        ("input", [p.name for p in program.inputs]),
        ("output", [p.name for p in program.outputs]),
    ):
        yield from (f"{what} '{name}' is declared twice" for name, times in Counter(names).items() if times > 1)
    yield from _host_problems(program)
    yield from mesh_problems(program)
    yield from _output_problems(program)
    yield from _view_problems(program)
    yield from meta_problems(program)


def _host_problems(program: Program) -> Iterator[str]:
    hosts = [t.number for t in program.tiles if t.kind == "host"]
    if 0 not in hosts:
        yield f"tile 0 must be of kind=host; the hosts are {hosts or 'missing'}"
    for tile in program.tiles:
        if tile.kind not in ("tile", "host"):
            yield f"tile {tile.number} is of kind '{tile.kind}'; there are 'tile' and 'host'"


def _output_problems(program: Program) -> Iterator[str]:
    made = Counter(
        place[1:]
        for tile in program.tiles
        for instr in tile.code
        if (name := getattr(instr, "call", None)) in tile.call
        for _, place in tile.call[str(name)].outputs
        if place.startswith("$")
    )
    for port in program.outputs:
        if made[port.name] != 1:
            yield f"output '{port.name}' is written {made[port.name]} times in an image instead of once"


def _view_problems(program: Program) -> Iterator[str]:
    """Parts of one ONNX tensor agree on what it is."""
    seen: dict[str, tuple[tuple[object, ...], str]] = {}
    for tile in program.tiles:
        for b in tile.buffers:
            for v in b.views:
                kind = (v.order, v.shape, v.offset, b.rows, b.width, b.dtype)
                first, where = seen.setdefault(v.tensor, (kind, f"tile {tile.number}"))
                if kind != first:
                    yield f"{where} and tile {tile.number} hold tensor '{v.tensor}', but in different shape or type"


def _weights_problems(weights: Weights) -> Iterator[str]:
    yield from filter(None, weights_sizes(weights))
    if min(weights.groups, weights.k, weights.n, weights.block_rows, *weights.slices, len(weights.slices)) < 1:
        yield "sizes must be at least 1"


def _check_arrays(program: Program, tile: Tile, where: str) -> None:
    for group in tile.groups:
        if group.copies < 1:
            raise ProgramError(f"{where}: group '{group.name}' has {group.copies} copies")
        _raise_first(where, filter(None, group_sizes(group)))
        try:
            check_group(program, group)
        except ProgramError as error:
            raise ProgramError(f"{where}: {error}") from None
        _raise_first(where, group_rounds(program, group))
    arrays = tile_arrays(program, tile)
    limit = program.machine.tile.arrays if tile.kind == "tile" else 0
    if arrays > limit:
        raise ProgramError(
            f"{where}: its groups need {arrays} arrays, it has {limit}: place fewer weights or copies on it"
        )
