"""The program file (.pim): one safetensors file with the streams and tensors, and one canonical JSON header.

The header's first key is the SHA-256 of the whole file with that digest read as zeros, so that a truncated or edited
file is refused. The header is one metadata string because safetensors gives several no order. The same program always
gives the same bytes.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from pimc_isa import ISA_VERSION
from pimc_isa.binary.tensorfile import chunks, header_of, open_tensors, read_bytes
from pimc_isa.binary.words import Encoded, decode, encode
from pimc_isa.errors import FlowError, ProgramError
from pimc_isa.extensions import refuse_missing
from pimc_isa.files import write_file
from pimc_isa.flow import Flow, micro_op
from pimc_isa.limits import beyond
from pimc_isa.machine import machine_from_dict, machine_to_dict
from pimc_isa.operands import (
    Buffer,
    Call,
    Channel,
    Elementwise,
    Group,
    Range,
    Requant,
    Rounds,
    RowExpr,
    RowRange,
    Slab,
    Table,
    Weights,
    Window,
)
from pimc_isa.program import Port, Program, Tile

__all__ = ["from_bytes", "load", "save", "to_bytes"]

Array = np.ndarray

KEY = "pimc"
RESERVED = "pimc."  # names of the tensors that hold the streams
NO_DIGEST = "0" * 64
WORTH_SHARING = 1 << 10
"""Bytes of a tensor, from which on one that repeats another is not written again."""


class _GroupHeader(msgspec.Struct, omit_defaults=True):
    """A group; what came later is left out where it has its default, so that older programs keep their bytes."""

    name: str
    weights: str
    flow: str
    k: Range
    n: Range
    groups: Range
    copies: int
    v_max: float
    gain: float
    rounds: str = ""
    zero: int = 0


class TileHeader(msgspec.Struct):
    """A tile without its stream; ``counts`` are the lengths of its parts of the packed stream tensors."""

    number: int
    name: str
    kind: str
    chip: int
    x: int
    y: int
    buffers: tuple[Buffer, ...]
    windows: tuple[Window, ...]
    groups: tuple[_GroupHeader, ...]
    requants: tuple[Requant, ...]
    elementwises: tuple[Elementwise, ...]
    tables: tuple[Table, ...]
    calls: tuple[Call, ...]
    channels: tuple[str, ...]
    counts: dict[str, int]


class _OpHeader(msgspec.Struct):
    """A micro-operation as text."""

    step: int
    op: str
    args: tuple[str, ...] = ()


class _FlowHeader(msgspec.Struct):
    """A flow with its micro-operations as text."""

    name: str
    input_bits: int
    slices: tuple[int, ...]
    step_cycles: int
    interval: int
    latency: int
    ops: tuple[_OpHeader, ...]

    @classmethod
    def of(cls, flow: Flow) -> _FlowHeader:
        """Written."""
        ops = tuple(_OpHeader(op.step, op.op, op.args) for op in flow.ops)
        sizes = flow.step_cycles, flow.interval, flow.latency
        return cls(flow.name, flow.input_bits, flow.slices, *sizes, ops)

    def flow(self, where: str) -> Flow:
        """Read back. Raises ProgramError."""
        try:
            ops = tuple(micro_op(op.step, op.op, op.args) for op in self.ops)
        except FlowError as error:
            raise ProgramError(f"{where}: flow {self.name}: {error}") from None
        sizes = self.step_cycles, self.interval, self.latency
        return Flow(self.name, self.input_bits, self.slices, *sizes, ops)


class Header(msgspec.Struct, omit_defaults=True):
    """All of a program that is not an array; what came later is left out where there is none."""

    sha256: str
    isa: str
    meta: dict[str, str]
    machine: dict[str, Any]  # checked by its own module
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    flows: tuple[_FlowHeader, ...]
    weights: tuple[Weights, ...]
    channels: tuple[Channel, ...]
    nodes: tuple[str, ...]
    tiles: tuple[TileHeader, ...]
    rounds: tuple[Rounds, ...] = ()
    same: dict[str, str] = {}  # tensors that are not in the file, and those whose bytes are theirs


class _Version(msgspec.Struct):
    sha256: str
    isa: str


def save(program: Program, path: str | Path) -> int:
    """Write the program and return the file's bytes; it appears whole or not at all."""
    return write_file(path, _parts(program))


def to_bytes(program: Program) -> bytes:
    """The program file as bytes."""
    return b"".join(_parts(program))


def load(path: str | Path) -> Program:
    """Read a program; its tensors stay mapped to the file. ProgramError if it is damaged or of another version."""
    return _read(read_bytes(Path(path)), str(path))


def from_bytes(data: bytes, where: str = "program") -> Program:
    """Read a program from bytes."""
    return _read(memoryview(data), where)


def _parts(program: Program) -> Iterable[bytes | memoryview]:
    """Header and data, ready to be written one after the other."""
    same = _repeated(program.tensors)
    header, streams = _pack(program, same)
    tensors = {name: array for name, array in program.tensors.items() if name not in same} | streams
    first = header_of(tensors, {KEY: _canonical(header)})
    digest = hashlib.sha256(first)
    for chunk in chunks(tensors):
        digest.update(chunk)
    return [first.replace(NO_DIGEST.encode(), digest.hexdigest().encode(), 1), *chunks(tensors)]


def _repeated(tensors: Mapping[str, Array]) -> dict[str, str]:
    """Tensors that another one before them equals, and that one: layers may share weights. Small ones do not count."""
    known: dict[tuple[str, tuple[int, ...], bytes], list[str]] = {}
    same = {}
    for name, array in tensors.items():
        if array.nbytes >= WORTH_SHARING:
            some = array.reshape(-1)[:: max(1, array.size // 64)].tobytes()
            like = known.setdefault((array.dtype.str, array.shape, some), [])
            first = next((other for other in like if _bytes(array) == _bytes(tensors[other])), None)
            if first is None:
                like.append(name)
            else:
                same[name] = first
    return same


def _bytes(array: Array) -> memoryview:
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8).data


def _canonical(header: Header) -> str:
    """The header as text: keys in order, numbers of the declared types (a scale of 1 becomes 1.0)."""
    try:
        typed = msgspec.json.decode(msgspec.json.encode(header), type=Header)
    except (msgspec.MsgspecError, TypeError) as error:
        raise ProgramError(f"the program cannot be written: {error}") from None
    return msgspec.json.encode(typed, order="deterministic").decode()


def _pack(program: Program, same: dict[str, str] | None = None) -> tuple[Header, dict[str, Array]]:
    clash = next((name for name in program.tensors if name.startswith(RESERVED)), None)
    if clash:
        raise ProgramError(f"tensor '{clash}': names that start with '{RESERVED}' are reserved")
    packer = _Packer()
    tiles = tuple(packer.tile(tile) for tile in program.tiles)
    header = Header(
        NO_DIGEST,
        ISA_VERSION,
        dict(program.meta),
        machine_to_dict(machine_from_dict(machine_to_dict(program.machine))),
        program.inputs,
        program.outputs,
        tuple(map(_FlowHeader.of, program.flows)),
        program.weights,
        program.channels,
        tuple(packer.names),
        tiles,
        program.rounds,
        same or {},
    )
    return header, packer.tensors()


class _Packer:
    """Collects the streams of all tiles, so that the file has a few stream tensors and not a few per tile."""

    def __init__(self) -> None:
        self.names: dict[str, int] = {}
        self.words: list[Array] = []
        self.slabs: list[tuple[int, ...]] = []
        self.rows: list[tuple[int, int, int]] = []
        self.ranges: list[tuple[int, int, int]] = []
        self.nodes: list[int] = []

    def tile(self, tile: Tile) -> TileHeader:
        if tile.nodes and len(tile.nodes) != len(tile.code):
            raise ProgramError(f"tile {tile.number} ({tile.name}): {len(tile.nodes)} nodes, {len(tile.code)} words")
        encoded = encode(tile)
        nodes = tile.nodes if any(tile.nodes) else ()
        self.words.append(encoded.words)
        self.rows += [(r.a, r.b, r.d) for r in encoded.rows]
        self.ranges += (_range_row(tile, rows) for rows in encoded.ranges)
        self.slabs += _slab_rows(tile, encoded)
        self.nodes += [self.names.setdefault(node, len(self.names)) for node in nodes]
        counts = {
            "code": len(encoded.words),
            "slabs": len(encoded.slabs),
            "rows": len(encoded.rows),
            "nodes": len(nodes),
        } | ({"ranges": len(encoded.ranges)} if encoded.ranges else {})
        kept = {name: getattr(tile, name) for name in TileHeader.__struct_fields__ if name not in _PACKED}
        groups = tuple(_GroupHeader(**vars(group)) for group in tile.groups)
        return TileHeader(**kept, groups=groups, channels=encoded.channels, counts=counts)

    def tensors(self) -> dict[str, Array]:
        return {
            "pimc.code": np.concatenate([np.zeros(0, np.uint64), *self.words]),
            "pimc.slabs": _int32(self.slabs, 6),
            "pimc.rows": _int32(self.rows, 3),
            "pimc.nodes": np.array(self.nodes, np.int32),
        } | ({"pimc.ranges": _int32(self.ranges, 3)} if self.ranges else {})


_PACKED = ("groups", "channels", "counts")


def _int32(rows: Sequence[tuple[int, ...]], width: int) -> Array:
    try:
        return np.array(rows, np.int32).reshape(-1, width)
    except OverflowError:
        raise ProgramError("a row, column or channel number of the program has more than 31 bits") from None


def _range_row(tile: Tile, rows: RowRange) -> tuple[int, int, int]:
    """A range as numbers: first, stop (-1: to the last row), step."""
    if rows.stop is not None and rows.stop < 0:
        raise ProgramError(f"tile {tile.number} ({tile.name}): a range of rows ends below 0")
    return rows.first, -1 if rows.stop is None else rows.stop, rows.step


def _slab_rows(tile: Tile, encoded: Encoded) -> list[tuple[int, ...]]:
    """Slabs as numbers: buffer, row expression, columns, channels (-1, -1: all that the buffer holds)."""
    buffers = {b.name: n for n, b in enumerate(tile.buffers)}
    rows = {r: n for n, r in enumerate(encoded.rows)}
    table: list[tuple[int, ...]] = []
    for slab in encoded.slabs:
        if slab.buffer not in buffers:
            raise ProgramError(f"tile {tile.number} ({tile.name}) declares no buffer '{slab.buffer}'")
        cols, chans = slab.cols or (-1, -1), slab.chans or (-1, -1)
        if (slab.cols and cols[0] < 0) or (slab.chans and chans[0] < 0):
            raise ProgramError(f"tile {tile.number} ({tile.name}): a range of '{slab.buffer}' starts below 0")
        table.append((buffers[slab.buffer], rows[slab.row], *cols, *chans))
    return table


def _read(data: memoryview, where: str) -> Program:
    tensors, metadata = open_tensors(data, where)
    text = metadata.get(KEY)
    if text is None:
        raise ProgramError(f"{where}: a safetensors file, but not a pimc program")
    try:
        raw = text.encode()
        version = msgspec.json.decode(raw, type=_Version)
        if version.isa != ISA_VERSION:
            raise ProgramError(
                f"{where}: the program is ISA {version.isa}, this interpreter runs {ISA_VERSION}: "
                "recompile it with 'pimc compile'"
            )
        _check_digest(data, version.sha256, where)
        header = msgspec.json.decode(raw, type=Header)
    except (msgspec.MsgspecError, UnicodeEncodeError, RecursionError) as error:
        raise ProgramError(f"{where}: the program's header is damaged: {error}") from None
    refuse_missing(header.meta, where)
    return _unpack(header, tensors, where)


def _check_digest(data: memoryview, digest: str, where: str) -> None:
    length = 8 + int.from_bytes(data[:8], "little")
    head = bytes(data[:length]).replace(digest.encode(), NO_DIGEST.encode(), 1)
    actual = hashlib.sha256(head)
    actual.update(data[length:])
    if actual.hexdigest() != digest:
        raise ProgramError(
            f"{where}: the file is damaged, truncated or was edited (its checksum differs): "
            "get it again or recompile it with 'pimc compile'"
        )


def _unpack(header: Header, tensors: dict[str, Array], where: str) -> Program:
    streams = {name.removeprefix(RESERVED): tensors.pop(name) for name in list(tensors) if name.startswith(RESERVED)}
    streams.setdefault("ranges", np.zeros((0, 3), np.int32))
    missing = _STREAMS.keys() - streams.keys()
    if missing:
        raise ProgramError(f"{where}: the program's streams are missing: {', '.join(sorted(missing))}")
    unpacker = _Unpacker(header, streams, where)
    if not header.same.keys().isdisjoint(tensors) or not tensors.keys() >= set(header.same.values()):
        raise ProgramError(f"{where}: the program's header is damaged: tensors that repeat others are not there once")
    tensors |= {name: tensors[first] for name, first in header.same.items()}
    return Program(
        machine=machine_from_dict(header.machine, where),
        tiles=unpacker.tiles(),
        channels=header.channels,
        flows=tuple(flow.flow(where) for flow in header.flows),
        weights=header.weights,
        inputs=header.inputs,
        outputs=header.outputs,
        tensors=tensors,
        meta=header.meta,
        rounds=header.rounds,
    )


#: The stream tensors: element type, and the shape of one entry.
_STREAMS = {
    "code": ("uint64", ()),
    "slabs": ("int32", (6,)),
    "rows": ("int32", (3,)),
    "nodes": ("int32", ()),
    "ranges": ("int32", (3,)),  # left out of files, and of counts, where there are none
}


_PER_PART = 4  # entries of a table that an instruction names at most


class _Unpacker:
    """Deals the packed streams out to the tiles again, in order."""

    def __init__(self, header: Header, streams: dict[str, Array], where: str) -> None:
        self.header, self.nodes, self.where = header, header.nodes, where
        self.streams = streams
        self.used = dict.fromkeys(_STREAMS, 0)
        for name, (dtype, width) in _STREAMS.items():
            array = streams[name]
            if array.dtype.name != dtype or array.shape[1:] != width or array.ndim != 1 + len(width):
                raise self.damaged(f"the stream tensor '{name}' is {array.dtype} {list(array.shape)}")
            problem = beyond("parts", f"the length of the stream tensor '{name}'", len(array) // _PER_PART)
            if problem:
                raise ProgramError(f"{where}: {problem}")
        if len(streams) > len(_STREAMS):
            raise self.damaged("there are stream tensors that nobody knows")

    def damaged(self, what: str) -> ProgramError:
        return ProgramError(f"{self.where}: {what}; the program file is damaged")

    def tiles(self) -> tuple[Tile, ...]:
        """All tiles; they use up the streams."""
        tiles = tuple(self.tile(tile) for tile in self.header.tiles)
        for name, used in self.used.items():
            if used != len(self.streams[name]):
                raise self.damaged(f"the stream tensor '{name}' is longer than the tiles' counts say")
        return tiles

    def take(self, name: str, count: int) -> Array:
        start = self.used[name]
        self.used[name] = start + count
        if count < 0 or self.used[name] > len(self.streams[name]):
            raise self.damaged(f"the stream tensor '{name}' is shorter than the tiles' counts say")
        return self.streams[name][start : start + count]

    def tile(self, header: TileHeader) -> Tile:
        counts = {"ranges": 0} | header.counts
        if counts.keys() != _STREAMS.keys():
            raise self.damaged(f"tile {header.number} counts {', '.join(map(str, header.counts)) or 'nothing'}")
        part = {name: self.take(name, counts[name]) for name in _STREAMS}
        fields = {name: getattr(header, name) for name in TileHeader.__struct_fields__ if name not in _PACKED}
        bare = Tile(**fields, groups=tuple(Group(**msgspec.structs.asdict(group)) for group in header.groups))
        try:
            rows = tuple(RowExpr(*row) for row in part["rows"].tolist())
            ranges = tuple(_row_range(*numbers) for numbers in part["ranges"].tolist())
            slabs = tuple(_slab(bare, rows, numbers) for numbers in part["slabs"].tolist())
            nodes = tuple(self.node(n) for n in part["nodes"].tolist())
        except IndexError:
            raise ProgramError(f"tile {bare.number} ({bare.name}): operand tables are damaged") from None
        code = decode(bare, Encoded(part["code"], slabs, rows, header.channels, ranges))
        return dataclasses.replace(bare, code=code, nodes=nodes)

    def node(self, number: int) -> str:
        if number < 0:
            raise IndexError
        return self.nodes[number]


def _slab(tile: Tile, rows: tuple[RowExpr, ...], numbers: list[int]) -> Slab:
    buffer, row, *ranges = numbers
    cols, chans = (_range(ranges[:2]), _range(ranges[2:]))
    if min(buffer, row) < 0:
        raise IndexError
    return Slab(tile.buffers[buffer].name, rows[row], cols, chans)


def _row_range(first: int, stop: int, step: int) -> RowRange:
    return RowRange(first, None if stop < 0 else stop, step)


def _range(pair: list[Any]) -> Range | None:
    return None if pair[0] < 0 else (pair[0], pair[1])
