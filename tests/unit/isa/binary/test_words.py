"""Instruction words: goldens of the encoding, round trips, refusal of damaged words."""

from __future__ import annotations

import dataclasses
from functools import cache

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pimc_isa.binary.words import Encoded, decode, encode, word_layout
from pimc_isa.define import OPCODE_BITS, REGISTRY, WORD_BITS
from pimc_isa.errors import ProgramError
from pimc_isa.instructions import Copy, Halt, Loop, Quant, Recv, Send
from pimc_isa.operands import Buffer, Channel, RowExpr, RowRange, Slab
from pimc_isa.program import Tile
from pimc_isa.text import read_assembly
from pimc_isa.text.operands import show_instr
from tests.unit.isa.cases import GOLDEN
from tests.unit.isa.isa_strategies import tiles

WORDS = GOLDEN / "isa" / "words.txt"
CHANNELS = (Channel("c", 0, (1,), 1), Channel("d e", 0, (1,), 1))


def test_encoding_goldens(update_golden: bool) -> None:
    """The words of the golden program: a change of the format shows in the diff."""
    program = read_assembly(GOLDEN / "isa" / "every.pimasm")
    lines = []
    for tile in program.tiles:
        lines.append(f"tile {tile.number}")
        encoded = encode(tile)
        lines += [f"{word:016x}  {show_instr(i)}" for word, i in zip(encoded.words.tolist(), tile.code, strict=True)]
    text = "\n".join(lines) + "\n"
    if update_golden:
        WORDS.write_text(text, encoding="utf-8")
    assert WORDS.read_text(encoding="utf-8") == text
    assert {line.split()[1] for line in lines if not line.startswith("tile")} == set(REGISTRY)


def test_a_word_by_hand() -> None:
    """Quant: opcode 0x40, destination and source 14 bits each, requant 10 bits, from the top."""
    program = read_assembly(GOLDEN / "isa" / "every.pimasm")
    tile = dataclasses.replace(program.tiles[1], code=(Quant(Slab("y", RowExpr(1)), Slab("acc", RowExpr(2)), "q"),))
    encoded = encode(tile)
    assert encoded.words.tolist() == [0x40 << 56 | 0 << 42 | 1 << 28 | 0 << 18]
    assert encoded.slabs == (Slab("y", RowExpr(1)), Slab("acc", RowExpr(2)))
    assert encoded.rows == (RowExpr(1), RowExpr(2))


def test_words_of_ranges_by_hand() -> None:
    """Number 0 is all rows; others count from 1, in order of first use: in bits 17:4 of recv, 31:18 of send."""
    program = read_assembly(GOLDEN / "isa" / "every.pimasm")
    slab, until = Slab("x", RowExpr()), RowExpr(1)
    halves, odd = RowRange(0, 3), RowRange(1, None, 2)
    code = (Recv(slab, "c0", until, odd), Send("c1", slab, halves), Recv(slab, "c0", until), Send("c1", slab, odd))
    encoded = encode(dataclasses.replace(program.tiles[1], code=code))
    recv, send = 0x10 << 56 | 1 << 18, 0x11 << 56 | 1 << 46
    assert encoded.words.tolist() == [recv | 1 << 4, send | 2 << 18, recv, send | 1 << 18]
    assert encoded.ranges == (odd, halves)


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(tiles(1, CHANNELS))
def test_words_give_back_the_code(tile: Tile) -> None:
    encoded = encode(tile)
    assert encoded.words.dtype == np.uint64
    assert encoded.words.shape == (len(tile.code),)
    assert decode(dataclasses.replace(tile, code=()), encoded) == tile.code


def test_every_bit_belongs_to_at_most_one_operand() -> None:
    for cls in REGISTRY.values():
        used = ((1 << OPCODE_BITS) - 1) << (WORD_BITS - OPCODE_BITS)
        for place in word_layout(cls):
            bits = (place.limit - 1) << place.shift
            assert not used & bits
            used |= bits
        assert used < 1 << WORD_BITS


@st.composite
def plausible_words(draw: st.DrawFn) -> int:
    """Known opcodes with small operands, and sometimes a bit too much."""
    cls = draw(st.sampled_from(list(REGISTRY.values())))
    word = cls.opcode << 56
    for place in word_layout(cls):
        word |= draw(st.integers(0, 4)) << place.shift
    return word | draw(st.sampled_from([0, 0, 0, 1]))


@settings(max_examples=500, deadline=None, derandomize=True)
@given(plausible_words() | st.integers(0, 2**64 - 1))
def test_any_word_decodes_to_what_encodes_to_it_or_is_refused(word: int) -> None:
    tile = _conv_tile()
    encoded = dataclasses.replace(encode(tile), words=np.array([word], np.uint64))
    refused = ""
    try:
        code = decode(tile, encoded)
    except ProgramError as error:
        refused = str(error)
    if refused:
        assert f"word 0 ({word:#018x})" in refused
        return
    # Behind the tile's own code, so that the tables are the same.
    again = encode(dataclasses.replace(tile, code=(*tile.code, *code)))
    assert (again.slabs, again.channels) == (encoded.slabs, encoded.channels)
    assert int(again.words[-1]) == word


@cache
def _conv_tile() -> Tile:
    return read_assembly(GOLDEN / "isa" / "every.pimasm").tiles[1]


@pytest.mark.parametrize(
    ("word", "what"),
    [
        (0xFF << 56, "unknown opcode"),
        (0x03 << 56 | 1, "padding of 'halt' is not zero"),
        (0x40 << 56 | 1 << 17, "padding of 'quant' is not zero"),
        (0x40 << 56 | 99 << 42, "operand 'dst' of 'quant' is slab 99 of only 4"),
        (0x40 << 56 | 7 << 18, "operand 'requant' of 'quant' is requant 7 of only 1"),
        (0x11 << 56 | 5 << 46, "operand 'channel' of 'send' is channel 5 of only 2"),
        (0x11 << 56 | 3 << 18, "operand 'rows' of 'send' is rows 3 of only 1"),
    ],
)
def test_damaged_words_name_tile_word_and_bits(word: int, what: str) -> None:
    program = read_assembly(GOLDEN / "isa" / "every.pimasm")
    tile = program.tiles[1]
    encoded = encode(tile)
    words = np.concatenate([encoded.words[:2], np.array([word], np.uint64)])
    with pytest.raises(ProgramError) as raised:
        decode(tile, dataclasses.replace(encoded, words=words))
    assert f"tile 1 (conv), word 2 ({word:#018x}): {what}" in str(raised.value)


def test_what_does_not_fit_is_refused() -> None:
    tile = Tile(3, "t", "tile", 0, 0, 0, code=(Loop(2**24), Halt()))
    with pytest.raises(ProgramError, match="'times' of 'loop' needs the number 16777216, which does not fit 24 bits"):
        encode(tile)
    with pytest.raises(ProgramError, match="does not fit 24 bits"):
        encode(dataclasses.replace(tile, code=(Loop(-1), Halt())))
    buffer = Buffer("x", "u8", 2**15, 1, 1, (0, 1), (0, 1), 1)
    code = tuple(Copy(Slab("x", RowExpr(0, n)), Slab("x", RowExpr(0, n))) for n in range(2**14 + 1))
    with pytest.raises(ProgramError, match="split the tile's work"):
        encode(dataclasses.replace(tile, buffers=(buffer,), code=code))
    with pytest.raises(ProgramError, match="refers to requant 'q', which the tile does not declare"):
        encode(dataclasses.replace(tile, code=(Quant(Slab("x", RowExpr()), Slab("x", RowExpr()), "q"),)))


def test_empty_stream() -> None:
    tile = Tile(3, "t", "tile", 0, 0, 0)
    assert decode(tile, encode(tile)) == ()
    assert decode(tile, Encoded(np.zeros(0, np.uint64), (), (), ())) == ()
