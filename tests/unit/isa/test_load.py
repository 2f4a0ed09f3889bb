"""Programs are judged when they are read: illegal and oversized ones, each by one change of a legal text."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from random import Random

import numpy as np
import pytest

from pimc_isa.binary import save
from pimc_isa.check import check
from pimc_isa.errors import AsmError, PimcError, ProgramError
from pimc_isa.load import load_program, problem_of
from pimc_isa.program import Program
from pimc_isa.text import assemble, disassemble
from pimc_isa.text.parse import _quick, _thorough
from pimc_isa.text.values import WrongValue
from tests.unit.isa.cases import GOLDEN

EVERY = (GOLDEN / "isa" / "every.pimasm").read_text(encoding="utf-8")

#: Old text, new text, and words of the message.
ILLEGAL = {
    "interval": ("interval=8 ", "interval=1 ", "the memory is taken"),
    "copies": ("copies=2", "copies=1000", "need 1001 arrays, it has 6"),
    "memory": ("memory_bytes=2048", "memory_bytes=1", "the tile's memory is 1"),
    "place": (
        'at=0,1,1 node="gap1"\n  .buffer x u8 6x6x4 slots=6',
        'at=0,1,0 node="gap1"\n  .buffer x u8 6x6x4 slots=80',
        "the place's memory is 2048",
    ),
    "ring": (".buffer x u8 6x6x2 slots=4", ".buffer x u8 6x6x2 slots=1", "the ring has 1 slots"),
    "far": ("at=0,1,1", "at=100000000,1,1", "the chip of tile 3 is 100000001"),
    "slots": (".buffer in u8 6x6x2 slots=6", ".buffer in u8 6x6x2 slots=2000000000", "limit is 131072"),
    "loop digits": ("loop   i, 6", "loop   i, " + "9" * 5000, "at most 18 digits"),
    "loop": ("loop   i, 6", "loop   i, 16777215", "number of iterations is 16777215"),
    "loop never": ("loop   i, 6", "loop   i, 0", "a loop runs at least once"),
    "bits": ("rows=16 columns=16", "rows=16 columns=16 converter_bits=1000000000", "converter_bits is 1000000000"),
    "convert": ("convert unsigned 8", "convert unsigned 1000000000", "wrong arguments"),
    "steps": ("@13  store", "@999999999  store", "the last step is 999999999"),
    "slices": ("slices=2,2,2,2 step", "slices=4000 step", "must have 1 to 32 bits"),
    "kernel": (".window w 3x3", ".window w 60000x60000", "taps of window"),
    "rows": (".buffer x u8 6x6x2", ".buffer x u8 2147483648x6x2", "number of rows of buffer 'x'"),
    "mesh": ("mesh_columns=2", "mesh_columns=1000000000", "mesh_columns is 1000000000"),
    "bus": ("bus_bytes_per_cycle=8", "bus_bytes_per_cycle=0", "must be at least 1"),
    "queue": ("queue_depth=2", "queue_depth=0", "must be at least 1"),
    "clock nan": ("clock_hz=1000000000.0", "clock_hz=nan", "a finite number"),
    "clock inf": ("clock_hz=1000000000.0", "clock_hz=1e999", "a finite number"),
    "power": ("power_mw=2.0", "power_mw=1e300", "not within 0 to"),
    "depth": ("0 -> 1 depth=2", "0 -> 1 depth=0", "room for at least one message"),
    "depth huge": ("0 -> 1 depth=2", "0 -> 1 depth=99999999", "depth of channel"),
    "receiver": ("0 -> 1 depth=2", "0 -> 9 depth=2", "which goes from 0 to 9"),
    "multiplier": ("[4] = 0.01,", "[4] = -0.01,", "no number from 0"),
    "bias": (".tensor q1.bias i32", ".tensor q1.bias f32", "expected int32"),
    "codes": ("w1.polarity u8 [1x2x4] = 1,", "w1.polarity u8 [1x2x4] = 255,", "the slices hold 0..15"),
    "centre": ("w1.centre i32 [1x2x4] = -125,", "w1.centre i32 [1x2x4] = -2000000000,", "lie within 256"),
    "meta": ('.meta target = "hand"', '.meta ort_config = "{{"', "no JSON object|not a JSON object"),
    "port": ('.input "x" uint8 [2x6x6]', '.input "x" uint8 [2x6x6000000000]', "a dimension of input 'x'"),
    "port type": ('.input "x" uint8 [2x6x6]', '.input "x" object [2x6x6]', "is of type 'object'"),
    "view": ('.view "yq" CHW [4x3x3]', '.view "yq" CHW [4x3x4]', "does not hold 3x3x4"),
    "view order": ('.view "yq" CHW [4x3x3]', '.view "yq" WHC [4x3x3]', "the order is 'WHC'"),
    "view twice": ('.view "yq" CHW [4x3x3]', '.view "yq" CHW [4x3x3]\n.view "yq" CHW [4x3x3]', "two views"),
    "scales": ("gated a=0.1,3", "gated a=1e38,3", "so far apart"),
    "shape": ("relu u8 [256]", "relu u8 [99999999999x99999999999]", "numbers for"),
    "surrogate": ('.tile 1 "conv"', '.tile 1 "\\ud800"', "in the form of JSON"),
    "line": ("c1 1 -> 2,3", "c1 1 -> " + "2," * 40000 + "3", "the length of this line"),
    "lines": (".tile 1", ".window z 1x1\n" * 300_000 + ".tile 1", "the number of lines"),
}


@pytest.mark.parametrize("name", ILLEGAL)
def test_illegal_texts_are_refused(name: str, tmp_path: Path) -> None:
    old, new, message = ILLEGAL[name]
    assert old in EVERY
    path = tmp_path / "p.pimasm"
    path.write_text(EVERY.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(PimcError, match=message) as raised:
        load_program(path)
    lines = str(raised.value).split("\n")
    assert len(lines) <= 3
    assert all(len(line) < 600 for line in lines)


@pytest.mark.parametrize("name", ["interval", "copies", "memory", "place", "ring", "far", "slots", "codes"])
def test_illegal_files_are_refused_and_can_be_looked_at(name: str, tmp_path: Path) -> None:
    old, new, message = ILLEGAL[name]
    save(assemble(EVERY.replace(old, new, 1)), tmp_path / "p.pim")
    with pytest.raises(PimcError, match=message):
        load_program(tmp_path / "p.pim")
    program = load_program(tmp_path / "p.pim", judge=False)
    assert message.split("|")[0] in problem_of(program)
    assert "\n" not in problem_of(program)
    assert problem_of(assemble(EVERY)) == ""


def test_structure_is_judged_before_the_tensors_are_read(tmp_path: Path) -> None:
    lines = [line for line in EVERY.split("\n") if not line.startswith(".tensor")]
    text = "\n".join(lines).replace(".machine ", f'.data "missing.safetensors" sha256="{"0" * 64}"\n.machine ', 1)
    path = tmp_path / "p.pimasm"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(PimcError, match="cannot read"):
        load_program(path)
    path.write_text(text.replace("interval=8", "interval=1"), encoding="utf-8")
    with pytest.raises(PimcError, match="the memory is taken"):
        load_program(path)


def test_names_that_terminals_act_on() -> None:
    """They are escaped in text and messages, and come back."""
    name = "\x1b[31mred\n\r\u202e\x85"
    program = assemble(EVERY.replace('.tile 1 "conv"', '.tile 1 "\\u001b[31mred\\n\\r\\u202e\\u0085"'))
    assert program.tile[1].name == name
    text = disassemble(program)
    assert all(line.isprintable() for line in text.split("\n"))
    assert assemble(text).tile[1].name == name
    with pytest.raises(ProgramError) as raised:
        load_check(text.replace("memory_bytes=2048", "memory_bytes=1"))
    assert str(raised.value).isprintable()


def load_check(text: str) -> None:
    check(assemble(text))


def test_both_parsers_read_the_same() -> None:
    """The quick one accepts what the grammar accepts, and reads the same; also lines with a random change."""
    rng = Random(0)
    lines = sorted({line.strip() for line in EVERY.split("\n") if line.strip()})
    read = 0
    for line in [*lines, *(_changed(rng, rng.choice(lines)) for _ in range(1500))]:
        if len(line) > 300:
            continue
        try:
            thorough = _thorough(1, 0, line)
        except (AsmError, WrongValue, ValueError):
            continue
        assert _quick(line) == thorough, line
        read += 1
    assert read > 500


def _changed(rng: Random, line: str) -> str:
    at = rng.randrange(len(line))
    return (line[:at] + rng.choice(' ",;@[]:=xi0.9-+*/()\t') + line[at + rng.randint(0, 1) :]).strip()


def test_many_numbers_are_read_as_few_are() -> None:
    rng = np.random.default_rng(0)
    program = assemble(EVERY)
    for dtype in ("uint8", "int32", "int64", "uint64", "float32", "float64"):
        array = (rng.standard_normal(200) * 1e3).astype(dtype) if dtype[0] == "f" else rng.integers(0, 99, 200, dtype)
        array[0] = np.iinfo(dtype).max if dtype[0] != "f" else 0.1
        again = assemble(disassemble(_with_tensor(program, array))).tensors["many"]
        assert again.dtype == array.dtype
        np.testing.assert_array_equal(again, array)


def _with_tensor(program: Program, array: np.ndarray) -> Program:
    return dataclasses.replace(program, tensors={**program.tensors, "many": array})
