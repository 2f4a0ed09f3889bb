"""Assembly text: round trips, exact floats, readable goldens, errors with their place."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pimc_isa.binary.container import to_bytes
from pimc_isa.check import check
from pimc_isa.define import REGISTRY
from pimc_isa.errors import AsmError, PimcError, ProgramError
from pimc_isa.operands import RowExpr
from pimc_isa.program import Program
from pimc_isa.text import assemble, disassemble, read_assembly, write_assembly
from pimc_isa.text.operands import read_row, show_row
from pimc_isa.text.values import float_text
from tests.unit.isa.cases import GOLDEN, Case, cases
from tests.unit.isa.isa_strategies import programs

EVERY = GOLDEN / "isa" / "every.pimasm"
SLOW = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)


@pytest.fixture
def every() -> Program:
    return read_assembly(EVERY)


def test_golden_program_has_every_instruction_and_is_its_own_fixpoint(every: Program) -> None:
    assert {type(instr) for tile in every.tiles for instr in tile.code} == set(REGISTRY.values())
    assert disassemble(every) == EVERY.read_text(encoding="utf-8")
    check(every)


@SLOW
@given(programs())
def test_text_gives_back_the_same_bytes(program: Program) -> None:
    text = disassemble(program)
    again = assemble(text)
    assert to_bytes(again) == to_bytes(program)
    assert disassemble(again) == text
    for field in dataclasses.fields(Program):
        if field.name != "tensors":
            assert getattr(again, field.name) == getattr(program, field.name)


@given(st.integers(-(2**31), 2**31), st.integers(-(2**31), 2**31), st.integers(1, 2**31))
def test_row_expressions_read_back(a: int, b: int, d: int) -> None:
    assert read_row(show_row(RowExpr(a, b, d))) == RowExpr(a, b, d)


@pytest.mark.parametrize(
    ("text", "row"),
    [
        ("i", RowExpr(1)),
        ("2*i + 1", RowExpr(2, 1)),
        ("-i-3", RowExpr(-1, -3)),
        ("(3*i+1)//2", RowExpr(3, 1, 2)),
        ("7", RowExpr(0, 7)),
        ("( 7 ) // 2", RowExpr(0, 7, 2)),
    ],
)
def test_row_expressions_as_people_write_them(text: str, row: RowExpr) -> None:
    assert read_row(text) == row


@given(st.floats(width=32, allow_nan=False))
def test_float32_text_is_exact_and_no_longer_than_nine_digits(value: float) -> None:
    text = float_text(np.float32(value))
    assert np.float32(float(text)) == np.float32(value)
    assert len(text) <= 16


def test_a_scale_that_is_no_float32_is_refused(every: Program) -> None:
    tile = every.tiles[2]
    scales = dataclasses.replace(tile.elementwises[0], a=(0.1, 0))
    tiles = (*every.tiles[:2], dataclasses.replace(tile, elementwises=(scales, *tile.elementwises[1:])))
    with pytest.raises(ProgramError, match=r"0\.1 is not a float32"):
        disassemble(dataclasses.replace(every, tiles=tiles))


def test_comments_blank_lines_and_spacing_mean_nothing(every: Program) -> None:
    lines = EVERY.read_text(encoding="utf-8").split("\n")
    text = "; a comment\r\n\n" + "\r\n".join(f"\t{line.strip()}   ; why; because" for line in lines)
    assert to_bytes(assemble(text)) == to_bytes(every)


def test_large_tensors_go_beside_the_text(every: Program, tmp_path: Path) -> None:
    big = {**every.tensors, "big": np.arange(5000, dtype=np.int32)}
    program = dataclasses.replace(every, tensors=big)
    write_assembly(program, tmp_path / "p.pimasm")
    (data,) = tmp_path.glob("p.*.safetensors")
    assert sorted(p.name for p in tmp_path.iterdir()) == [data.name, "p.pimasm"]
    assert to_bytes(read_assembly(tmp_path / "p.pimasm")) == to_bytes(program)

    damaged = bytearray(data.read_bytes())
    damaged[-1] ^= 1
    data.write_bytes(damaged)
    with pytest.raises(AsmError, match="checksum differs"):
        read_assembly(tmp_path / "p.pimasm")
    data.unlink()
    with pytest.raises(AsmError, match=r"cannot read .*p\.[0-9a-f]{12}\.safetensors"):
        read_assembly(tmp_path / "p.pimasm")


def test_small_and_infinite_tensors(every: Program, tmp_path: Path) -> None:
    """A few numbers are written out; what decimals cannot say (NaN) goes beside the text, bit for bit."""
    write_assembly(every, tmp_path / "a.pimasm")
    assert [p.name for p in tmp_path.iterdir()] == ["a.pimasm"]
    strange = np.array([np.nan, -np.inf, -0.0], np.float32)
    program = dataclasses.replace(every, tensors={**every.tensors, "strange": strange})
    write_assembly(program, tmp_path / "b.pimasm")
    assert read_assembly(tmp_path / "b.pimasm").tensors["strange"].tobytes() == strange.tobytes()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "the text is empty"),
        (".program isa=9.9\n", "ISA 9.9, this assembler reads"),
        (".tile 1\n", "the text begins with"),
        ('.program isa="1.0"\nhalt\n', "belongs inside a .tile"),
        ('.program isa="1.0"\n@0 load\n', "belongs inside a .flow"),
        ('.program isa="1.0"\n', "lacks its .machine line"),
    ],
)
def test_incomplete_texts(text: str, words: str) -> None:
    with pytest.raises(AsmError, match=words):
        assemble(text)


def test_not_a_text_file(tmp_path: Path) -> None:
    (tmp_path / "x.pimasm").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(AsmError, match="not a text file"):
        read_assembly(tmp_path / "x.pimasm")
    with pytest.raises(PimcError, match="cannot read"):
        read_assembly(tmp_path / "missing.pimasm")
    with pytest.raises(PimcError, match=r"the folder .* does not exist"):
        write_assembly(read_assembly(EVERY), tmp_path / "none" / "x.pimasm")


@pytest.mark.parametrize("case", cases("parse"), ids=str)
def test_parse_errors(case: Case, update_golden: bool) -> None:
    """A line changed, and the message with its place."""
    with pytest.raises(AsmError) as raised:
        assemble(case.edit(EVERY.read_text(encoding="utf-8")))
    case.expect(str(raised.value), update_golden)


@SLOW
@given(st.data())
def test_damaged_text_gives_an_error_or_a_program_never_a_traceback(data: st.DataObject) -> None:
    lines = EVERY.read_text(encoding="utf-8").split("\n")
    n = data.draw(st.integers(0, len(lines) - 1))
    at = data.draw(st.integers(0, len(lines[n])))
    stray = data.draw(st.sampled_from(list('"[],=@x:-$1\\')))
    lines[n] = lines[n][:at] + stray + lines[n][at + data.draw(st.integers(0, 2)) :]
    message = ""
    try:
        check(assemble("\n".join(lines)))
    except PimcError as error:
        message = str(error)
    assert len(message.split("\n")) <= 4
