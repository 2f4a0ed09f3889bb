"""Random programs whose tiles are put together on few places, for tests of streams that share what a place has."""

from __future__ import annotations

from dataclasses import replace
from random import Random

from pimc_isa.program import Program, Tile
from tests.properties.programs import random_program

__all__ = ["put_together", "random_streams"]


def put_together(rng: Random, program: Program) -> Program:
    """The same program on some of its places, often one only: any tile may stand at any of them."""
    inner = [tile for tile in program.tiles if tile.kind != "host"]
    if not inner:
        return program
    homes = rng.sample(inner, 1 if rng.random() < 0.4 else rng.randint(1, len(inner)))

    def moved(tile: Tile) -> Tile:
        home = rng.choice(homes)
        return tile if tile.kind == "host" else replace(tile, chip=home.chip, x=home.x, y=home.y)

    return replace(program, tiles=tuple(map(moved, program.tiles)))


def random_streams(rng: Random, most_layers: int = 5) -> Program:
    """A random program with its tiles on few places."""
    return put_together(rng, random_program(rng, most_layers))
