"""The program file: round trips, equal bytes, refusal of damage, nothing lost when writing fails."""

from __future__ import annotations

import dataclasses
import errno
import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pimc_isa.binary import container, tensorfile
from pimc_isa.binary.container import from_bytes, load, save, to_bytes
from pimc_isa.errors import PimcError, ProgramError
from pimc_isa.instructions import Send
from pimc_isa.operands import RowExpr, RowRange, Slab
from pimc_isa.program import Program
from pimc_isa.text import read_assembly
from tests.unit.isa.cases import GOLDEN
from tests.unit.isa.isa_strategies import programs

EVERY = GOLDEN / "isa" / "every.pimasm"
SLOW = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)


@pytest.fixture
def every() -> Program:
    return read_assembly(EVERY)


def equal(a: Program, b: Program) -> None:
    for field in dataclasses.fields(Program):
        if field.name != "tensors":
            assert getattr(a, field.name) == getattr(b, field.name)
    assert a.tensors.keys() == b.tensors.keys()
    for name, array in a.tensors.items():
        assert array.dtype == b.tensors[name].dtype
        assert array.shape == b.tensors[name].shape
        assert array.tobytes() == b.tensors[name].tobytes()


@SLOW
@given(programs())
def test_bytes_give_back_the_program(program: Program) -> None:
    data = to_bytes(program)
    again = from_bytes(data)
    equal(again, program)
    assert to_bytes(again) == data


def test_file_is_a_safetensors_file_with_one_metadata_key(every: Program, tmp_path: Path) -> None:
    save(every, tmp_path / "p.pim")
    equal(load(tmp_path / "p.pim"), every)
    tensors = safetensors.numpy.load_file(tmp_path / "p.pim")
    assert tensors.keys() == {*every.tensors, "pimc.code", "pimc.slabs", "pimc.rows", "pimc.nodes"}
    np.testing.assert_array_equal(tensors["w1.codes"], every.tensors["w1.codes"])
    with safetensors.safe_open(tmp_path / "p.pim", framework="np") as file:
        metadata = file.metadata()
    assert list(metadata) == ["pimc"]
    assert json.loads(metadata["pimc"])["isa"] == "1.0"
    assert len(tensors["pimc.code"]) == sum(len(t.code) for t in every.tiles)


def test_tensors_are_mapped_and_aligned_not_copied(every: Program, tmp_path: Path) -> None:
    save(every, tmp_path / "p.pim")
    for array in load(tmp_path / "p.pim").tensors.values():
        assert not array.flags.owndata
        assert not array.flags.writeable
        assert array.ctypes.data % array.itemsize == 0


def test_same_program_same_bytes_in_another_process(every: Program) -> None:
    """No order of sets or dicts, no hash seed, no time gets into the file."""
    script = (
        "import hashlib, sys; from pimc_isa.text import read_assembly; from pimc_isa.binary.container import to_bytes;"
        "print(hashlib.sha256(to_bytes(read_assembly(sys.argv[1]))).hexdigest())"
    )
    path = os.pathsep.join(sys.path)
    digests = {
        subprocess.run(
            [sys.executable, "-c", script, str(EVERY)],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": path},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(digests) == 1


def test_order_of_dicts_and_layout_of_arrays_mean_nothing(every: Program) -> None:
    turned = {name: np.asfortranarray(array) for name, array in reversed(list(every.tensors.items()))}
    meta = {"b": "1", "a": "2"}
    a = dataclasses.replace(every, meta=meta)
    b = dataclasses.replace(every, meta=dict(reversed(meta.items())), tensors=turned)
    assert to_bytes(a) == to_bytes(b)
    big_endian = {**every.tensors, "q1.bias": every.tensors["q1.bias"].astype(">i4")}
    assert to_bytes(dataclasses.replace(every, tensors=big_endian)) == to_bytes(every)


def test_numbers_of_another_type_are_the_same_number(every: Program) -> None:
    tile = every.tiles[2]
    scales = dataclasses.replace(tile.elementwises[0], b=(1, 0))
    tiles = list(every.tiles)
    tiles[2] = dataclasses.replace(tile, elementwises=(scales, *tile.elementwises[1:]))
    assert to_bytes(dataclasses.replace(every, tiles=tuple(tiles))) == to_bytes(every)


def test_every_flipped_bit_is_found(every: Program) -> None:
    data = to_bytes(every)
    for at in range(0, len(data), 37):
        damaged = bytearray(data)
        damaged[at] ^= 1 << (at % 8)
        with pytest.raises(ProgramError) as raised:
            from_bytes(bytes(damaged), "p.pim")
        assert str(raised.value).startswith("p.pim: ")
        assert "\n" not in str(raised.value)


def test_every_truncation_is_found(every: Program) -> None:
    data = to_bytes(every)
    for length in [*range(0, 64), *range(64, len(data), 97), len(data) - 1]:
        with pytest.raises(ProgramError, match=r"p\.pim: "):
            from_bytes(data[:length], "p.pim")
    with pytest.raises(ProgramError, match=r"checksum differs|behind the last tensor"):
        from_bytes(data + b"\0", "p.pim")


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.binary(max_size=200))
def test_any_bytes_are_refused(data: bytes) -> None:
    for candidate in (data, len(data).to_bytes(8, "little") + data, b"\2" + b"\0" * 7 + b"{}" + data):
        with pytest.raises(ProgramError):
            from_bytes(candidate)


def test_another_version_says_what_to_do(every: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(container, "ISA_VERSION", "0.9")
    data = to_bytes(every)
    monkeypatch.undo()
    with pytest.raises(ProgramError, match=r"ISA 0\.9, this interpreter runs 1\.0: recompile it with"):
        from_bytes(data)


def test_an_edited_header_with_a_fresh_digest_is_checked_for_types(every: Program) -> None:
    """Someone who fixes the digest still meets the types of every field."""
    header, streams = container._pack(every)
    tensors = {**every.tensors, **streams}
    text = container._canonical(header).replace('"slots":4', '"slots":"four"', 1)
    first = tensorfile.header_of(tensors, {"pimc": text})
    digest = hashlib.sha256(first + b"".join(tensorfile.chunks(tensors))).hexdigest()
    data = first.replace(b"0" * 64, digest.encode(), 1) + b"".join(tensorfile.chunks(tensors))
    with pytest.raises(ProgramError, match=r"header is damaged: Expected `int`, got `str` - at `\$\.tiles"):
        from_bytes(data)


@pytest.mark.parametrize(
    ("ranges", "what"),
    [
        (np.zeros((0, 3), np.int32), "'ranges' is shorter than the tiles' counts say"),
        (np.zeros((9, 3), np.int32), "'ranges' is longer than the tiles' counts say"),
        (np.zeros((6, 2), np.int32), r"'ranges' is int32 \[6, 2\]"),
        (np.zeros((6, 3), np.int64), r"'ranges' is int64 \[6, 3\]"),
    ],
)
def test_a_damaged_table_of_ranges_is_found(ranges: np.ndarray, what: str) -> None:
    program = read_assembly(GOLDEN / "isa" / "rows" / "evens.pimasm")
    header, streams = container._pack(program)
    assert streams["pimc.ranges"].tolist() == [[0, -1, 2], [1, -1, 2]] * 3
    tensors = {**program.tensors, **streams, "pimc.ranges": ranges}
    first = tensorfile.header_of(tensors, {"pimc": container._canonical(header)})
    digest = hashlib.sha256(first + b"".join(tensorfile.chunks(tensors))).hexdigest()
    with pytest.raises(ProgramError, match=what):
        from_bytes(first.replace(b"0" * 64, digest.encode(), 1) + b"".join(tensorfile.chunks(tensors)))


def test_other_files(tmp_path: Path) -> None:
    safetensors.numpy.save_file({"a": np.zeros(3)}, tmp_path / "other.pim")
    with pytest.raises(ProgramError, match="not a pimc program"):
        load(tmp_path / "other.pim")
    (tmp_path / "empty.pim").touch()
    with pytest.raises(ProgramError, match="not a program file"):
        load(tmp_path / "empty.pim")
    with pytest.raises(PimcError, match="cannot read"):
        load(tmp_path / "missing.pim")
    with pytest.raises(PimcError, match="cannot read"):
        load(tmp_path)


def test_a_failed_write_keeps_the_older_file(every: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "p.pim"
    save(every, path)
    before = path.read_bytes()

    def full(tensors: object) -> object:
        yield b"some"
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(container, "chunks", lambda tensors: full(tensors))
    monkeypatch.setattr(container, "_parts", full)
    with pytest.raises(PimcError, match=r"cannot write .*p\.pim: No space left on device"):
        save(every, path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["p.pim"]
    with pytest.raises(PimcError, match="cannot write"):
        save(every, tmp_path / "none" / "p.pim")


def test_file_mode_is_that_of_other_files(every: Program, tmp_path: Path) -> None:
    (tmp_path / "other").touch()
    save(every, tmp_path / "p.pim")
    assert (tmp_path / "p.pim").stat().st_mode == (tmp_path / "other").stat().st_mode


def test_what_cannot_be_held_is_refused(every: Program) -> None:
    with pytest.raises(ProgramError, match="reserved"):
        to_bytes(dataclasses.replace(every, tensors={"pimc.code": np.zeros(1)}))
    with pytest.raises(ProgramError, match="complex128"):
        to_bytes(dataclasses.replace(every, tensors={"c": np.zeros(1, complex)}))
    for slab in (Slab("in", RowExpr(2**31)), Slab("in", RowExpr(1), (-1, 3)), Slab("nowhere", RowExpr(1))):
        tile = dataclasses.replace(every.tiles[0], code=(Send("c0", slab),), nodes=())
        with pytest.raises(ProgramError, match=r"31 bits|starts below 0|no buffer 'nowhere'"):
            to_bytes(dataclasses.replace(every, tiles=(tile, *every.tiles[1:])))
    for rows in (RowRange(0, -1), RowRange(2**31)):
        tile = dataclasses.replace(every.tiles[0], code=(Send("c0", Slab("in", RowExpr(1)), rows),), nodes=())
        with pytest.raises(ProgramError, match=r"tile 0 \(host\): a range of rows ends below 0|31 bits"):
            to_bytes(dataclasses.replace(every, tiles=(tile, *every.tiles[1:])))
    tile = dataclasses.replace(every.tiles[0], nodes=("a",))
    with pytest.raises(ProgramError, match=r"tile 0 \(host\): 1 nodes"):
        to_bytes(dataclasses.replace(every, tiles=(tile, *every.tiles[1:])))


def test_writing_holds_no_second_copy_of_the_tensors(every: Program, tmp_path: Path) -> None:
    """64 MB of tensors are written with a few MB of further memory (peak resident size of a process of its own)."""
    script = """
import dataclasses, resource, sys
import numpy as np
from pimc_isa.binary.container import save
from pimc_isa.text import read_assembly
p = read_assembly(sys.argv[1])
p = dataclasses.replace(p, tensors={**p.tensors, **{f"t{n}": np.full(16 << 20, n, np.uint8) for n in range(4)}})
save(dataclasses.replace(p, tensors={}) , sys.argv[2])
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
save(p, sys.argv[2])
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    ran = subprocess.run(
        [sys.executable, "-c", script, str(EVERY), str(tmp_path / "p.pim")],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert int(ran.stdout) < 12_000  # kB


def test_tensors_that_repeat_others_are_in_the_file_once(every: Program, tmp_path: Path) -> None:
    """Of one type, shape and value; what differs in any of these, or is small, is kept."""
    large = np.arange(2048, dtype=np.uint8)
    other = large.copy()
    other[1] += 1  # not among the values that are looked at first
    added = {"a": large, "b": large.copy(), "c": other, "d": large.view(np.int8), "e": large.reshape(2, -1)}
    program = dataclasses.replace(every, tensors={**every.tensors, **added, "f": large[:8], "g": large[:8], "h": other})
    data = to_bytes(program)
    equal(from_bytes(data), program)
    assert to_bytes(from_bytes(data)) == data
    save(program, tmp_path / "p.pim")
    there = safetensors.numpy.load_file(tmp_path / "p.pim").keys()
    assert {*"abcdefgh"} & there == {*"acdefg"}


@pytest.mark.parametrize("same", [{"w1.codes": "w1.centre"}, {"x": "nowhere"}])
def test_a_header_that_shares_what_is_not_there_is_refused(
    every: Program, same: dict[str, str], tmp_path: Path
) -> None:
    header, streams = container._pack(every, same)
    data = tensorfile.header_of({**every.tensors, **streams}, {"pimc": container._canonical(header)})
    digest = hashlib.sha256(data)
    for chunk in tensorfile.chunks({**every.tensors, **streams}):
        digest.update(chunk)
    data = data.replace(b"0" * 64, digest.hexdigest().encode(), 1)
    data += b"".join(tensorfile.chunks({**every.tensors, **streams}))
    with pytest.raises(ProgramError, match="tensors that repeat others are not there once"):
        from_bytes(data)
