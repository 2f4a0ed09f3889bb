"""Checks of places: where tiles stand on the mesh, and what the streams of one place need together."""

from __future__ import annotations

from collections.abc import Iterator

from pimc_isa.check.tile import memory_needs
from pimc_isa.crossbar.footprint import group_arrays
from pimc_isa.errors import shown
from pimc_isa.program import Program, Tile

__all__ = ["mesh_problems", "sharing_problems", "tile_arrays"]

_MOST_NAMED = 4


def mesh_problems(program: Program) -> Iterator[str]:
    """Tiles that stand outside the mesh; the host's place is its own."""
    mesh = program.machine.chip
    for tile in program.tiles:
        inside = 0 <= tile.x < mesh.mesh_columns and 0 <= tile.y < mesh.mesh_rows
        if tile.kind != "host" and (tile.chip < 0 or not inside):
            yield f"tile {tile.number} is at chip {tile.chip}, {tile.x},{tile.y}; the mesh is " + (
                f"{mesh.mesh_columns} x {mesh.mesh_rows}"
            )


def tile_arrays(program: Program, tile: Tile) -> int:
    """Arrays that the groups of a tile take."""
    return sum(group_arrays(program, group) for group in tile.groups)


def sharing_problems(program: Program) -> Iterator[str]:
    """Streams of one place share its arrays and its memory; each alone is known to fit."""
    limits = program.machine.tile
    for numbers in dict.fromkeys(program.sharing.values()):
        tiles = [program.tile[number] for number in numbers]
        if len(tiles) < 2:
            continue
        arrays = sum(tile_arrays(program, tile) for tile in tiles)
        if arrays > limits.arrays:
            yield (
                f"{_names(tiles)}: their groups need {arrays} arrays, the place has {limits.arrays}: "
                "place fewer weights or copies there, or one of them elsewhere"
            )
        memory = sum(sum(memory_needs(program, tile)) for tile in tiles)
        if memory > limits.memory_bytes:
            yield (
                f"{_names(tiles)}: their buffers and channels' queues take {memory} bytes, the place's memory is "
                f"{limits.memory_bytes}: use fewer slots, shallower channels, or place one of them elsewhere"
            )


def _names(tiles: list[Tile]) -> str:
    """The streams and their place, at most four by name."""
    named = [f"{t.number} ({shown(t.name)})" for t in tiles[:_MOST_NAMED]]
    if len(tiles) > _MOST_NAMED:
        named.append(f"{len(tiles) - _MOST_NAMED} more")
    at = tiles[0]
    return f"tiles {', '.join(named[:-1])} and {named[-1]} share chip {at.chip}, {at.x},{at.y}"
