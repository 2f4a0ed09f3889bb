"""Instruction words: 64 bits each, opcode on top, operands below in the order of their declaration.

Slabs, row expressions, ranges and channels are interned in tables of the tile, in order of first use; other references
index into the tile's descriptors. A range that is all rows has number 0, those of the table count from 1.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

import pimc_isa.instructions  # noqa: F401  (fills the registry)
from pimc_isa.define import OPCODE_BITS, REGISTRY, WORD_BITS, Field, Instr, fields_of
from pimc_isa.errors import ProgramError
from pimc_isa.operands import ALL_ROWS, RowExpr, RowRange, Slab
from pimc_isa.program import Tile

__all__ = ["Encoded", "decode", "encode", "word_layout"]

Array = np.ndarray

#: Which descriptors of a tile a reference indexes into.
SPACES = {
    "buffer": "buffers",
    "window": "windows",
    "group": "groups",
    "requant": "requants",
    "elementwise": "elementwises",
    "table": "tables",
    "call": "calls",
}


@dataclass(frozen=True)
class Encoded:
    """A tile's stream as words (uint64), with the operand tables that the words index into."""

    words: Array
    slabs: tuple[Slab, ...]
    rows: tuple[RowExpr, ...]
    channels: tuple[str, ...]
    ranges: tuple[RowRange, ...] = ()


@dataclass(frozen=True)
class BitPlace:
    """Where an operand lies in the word: its lowest bit and its largest value."""

    name: str
    spec: Field
    shift: int

    @property
    def limit(self) -> int:
        """One more than the largest value that fits."""
        return 1 << self.spec.bits


_LAYOUTS: dict[str, tuple[BitPlace, ...]] = {}


def word_layout(cls: type[Instr]) -> tuple[BitPlace, ...]:
    """The operands of an instruction with their bit positions, high to low."""
    if cls.mnemonic not in _LAYOUTS:
        _LAYOUTS[cls.mnemonic] = tuple(_places(cls))
    return _LAYOUTS[cls.mnemonic]


def _places(cls: type[Instr]) -> Iterator[BitPlace]:
    shift = WORD_BITS - OPCODE_BITS
    for name, spec in fields_of(cls):
        shift -= spec.bits
        yield BitPlace(name, spec, shift)


class _Table(dict[Any, int]):
    """Interned values: value to index, in order of first use."""

    def index(self, value: Any) -> int:
        return self.setdefault(value, len(self))


class _Encoder:
    def __init__(self, tile: Tile) -> None:
        self.tile = tile
        self.slabs, self.rows, self.channels = _Table(), _Table(), _Table()
        self.ranges = _Table({ALL_ROWS: 0})
        self.spaces = {space: {d.name: n for n, d in enumerate(getattr(tile, attr))} for space, attr in SPACES.items()}

    def word(self, instr: Instr) -> int:
        word = instr.opcode << (WORD_BITS - OPCODE_BITS)
        for place in word_layout(type(instr)):
            word |= self.operand(instr, place) << place.shift
        return word

    def operand(self, instr: Instr, place: BitPlace) -> int:
        value, kind = getattr(instr, place.name), place.spec.kind
        if kind == "slab":
            self.rows.index(value.row)
            bits = self.slabs.index(value)
        elif kind == "until":
            bits = self.rows.index(value)
        elif kind == "rows":
            bits = self.ranges.index(value)
        elif kind == "ref":
            bits = self.ref(instr, place.spec.space, value)
        else:
            bits = value
        if not 0 <= bits < place.limit:
            raise ProgramError(
                f"tile {self.tile.number} ({self.tile.name}): operand '{place.name}' of '{instr.mnemonic}' needs the "
                f"number {bits}, which does not fit {place.spec.bits} bits: split the tile's work"
            )
        return bits

    def ref(self, instr: Instr, space: str, name: str) -> int:
        if space == "channel":
            return self.channels.index(name)
        if name not in self.spaces[space]:
            raise ProgramError(
                f"tile {self.tile.number} ({self.tile.name}): '{instr.mnemonic}' refers to {space} '{name}', "
                "which the tile does not declare"
            )
        return self.spaces[space][name]


def encode(tile: Tile) -> Encoded:
    """The tile's stream as words and tables; ProgramError for unknown names and numbers that do not fit."""
    encoder = _Encoder(tile)
    words = np.fromiter((encoder.word(instr) for instr in tile.code), np.uint64, len(tile.code))
    tables = (encoder.slabs, encoder.rows, encoder.channels, tuple(encoder.ranges)[1:])
    return Encoded(words, *map(tuple, tables))


class _Decoder:
    def __init__(self, tile: Tile, encoded: Encoded) -> None:
        self.tile = tile
        self.by_opcode = {cls.opcode: cls for cls in REGISTRY.values()}
        self.values: dict[str, Any] = {"slab": encoded.slabs, "until": encoded.rows, "channel": encoded.channels}
        self.values["rows"] = (ALL_ROWS, *encoded.ranges)
        for space, attr in SPACES.items():
            self.values[space] = [d.name for d in getattr(tile, attr)]

    def instr(self, position: int, word: int) -> Instr:
        cls = self.by_opcode.get(word >> (WORD_BITS - OPCODE_BITS))
        if cls is None:
            raise self.error(position, word, "unknown opcode")
        places = word_layout(cls)
        used = places[-1].shift if places else WORD_BITS - OPCODE_BITS
        if word & ((1 << used) - 1):
            raise self.error(position, word, f"padding of '{cls.mnemonic}' is not zero")
        return cls(**{p.name: self.operand(position, word, cls, p) for p in places})

    def operand(self, position: int, word: int, cls: type[Instr], place: BitPlace) -> Any:
        bits = (word >> place.shift) & (place.limit - 1)
        if place.spec.kind in ("count", "byte"):
            return bits
        table = self.values[place.spec.space or place.spec.kind]
        if bits >= len(table):
            what = place.spec.space or place.spec.kind
            raise self.error(
                position, word, f"operand '{place.name}' of '{cls.mnemonic}' is {what} {bits} of only {len(table)}"
            )
        return table[bits]

    def error(self, position: int, word: int, what: str) -> ProgramError:
        return ProgramError(
            f"tile {self.tile.number} ({self.tile.name}), word {position} ({word:#018x}): {what}; "
            "the program file is damaged"
        )


def decode(tile: Tile, encoded: Encoded) -> tuple[Instr, ...]:
    """The instructions of a stream; ``tile`` supplies the descriptors. ProgramError names the word that is wrong."""
    decoder = _Decoder(tile, encoded)
    known: dict[int, Instr] = {}
    code = []
    for position, word in enumerate(encoded.words.tolist()):
        if word not in known:
            known[word] = decoder.instr(position, word)
        code.append(known[word])
    return tuple(code)
