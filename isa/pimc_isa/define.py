"""How an instruction is declared: fields, unit, cycles, actions, meaning. Everything else is derived from that.

A class body lists operand fields in text and encoding order. From the declaration follow the constructor, the text
form, the 64-bit word, legality checks, the reference manual and both engines' behaviour.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, dataclass_transform

import numpy as np

from pimc_isa.element import U8, Element
from pimc_isa.operands import Range, RowExpr, Slab, Window

if TYPE_CHECKING:
    from pimc_isa.machine import Machine
    from pimc_isa.program import Program, Tile

__all__ = [
    "OPCODE_BITS",
    "REGISTRY",
    "WORD_BITS",
    "Context",
    "Field",
    "Instr",
    "Meaning",
    "Touch",
    "byte",
    "count",
    "field_of",
    "fields_of",
    "ref",
    "row_number",
    "slab",
    "source",
    "until",
]

Array = np.ndarray

WORD_BITS = 64
OPCODE_BITS = 8

#: Bits of each kind of operand in the word. Slabs and row expressions are interned in per-tile tables.
KIND_BITS = {"slab": 14, "until": 14, "ref": 10, "count": 24, "byte": 8}


@dataclass(frozen=True)
class Field:
    """One operand: its ``kind`` (slab, until, ref, count, byte), what it refers to, how it is accessed, and a doc line.

    ``space`` is for refs: buffer, window, group, requant, elementwise, table, call or channel. ``access`` is '', 'r',
    'w' or 'rw'. ``window`` names the field whose window decides which rows of a buffer ref are read. ``dtype`` is the
    element type it must have ('': the same as the other operands); ``broadcast`` allows 1 where the result has more.
    """

    kind: str
    doc: str
    space: str = ""
    access: str = ""
    window: str = ""
    dtype: str = ""
    broadcast: bool = False

    @property
    def bits(self) -> int:
        """Width in the instruction word."""
        return KIND_BITS[self.kind]


def slab(access: str, doc: str, dtype: Element | None = None, broadcast: bool = False) -> Any:
    """An operand that is (part of) a row of a buffer; ``dtype`` None: the same as the other operands."""
    spec = Field("slab", doc, access=access, dtype=dtype.name if dtype else "", broadcast=broadcast)
    return dataclasses.field(metadata={"isa": spec})


def source(window: str, doc: str, dtype: Element = U8) -> Any:
    """A buffer read through a window: the destination's row and columns decide what is read."""
    spec = Field("ref", doc, space="buffer", access="r", window=window, dtype=dtype.name)
    return dataclasses.field(metadata={"isa": spec})


def ref(space: str, doc: str) -> Any:
    """A reference to a descriptor or a channel."""
    return dataclasses.field(metadata={"isa": Field("ref", doc, space=space)})


def until(doc: str) -> Any:
    """A number of rows, affine in the loop counter, clipped to the buffer's height."""
    return dataclasses.field(metadata={"isa": Field("until", doc)})


def row_number(doc: str) -> Any:
    """A row, affine in the loop counter, of all buffers of the instruction's call."""
    return dataclasses.field(metadata={"isa": Field("until", doc)})


def count(doc: str) -> Any:
    """A positive number."""
    return dataclasses.field(metadata={"isa": Field("count", doc)})


def byte(doc: str) -> Any:
    """A stored value, 0 to 255."""
    return dataclasses.field(metadata={"isa": Field("byte", doc)})


@dataclass(frozen=True)
class Touch:
    """Rows [rows[0], rows[1]) of a buffer that one execution reads or writes."""

    buffer: str
    rows: Range


class Meaning(Protocol):
    """The vocabulary instructions' meanings are written in.

    Arrays are [images, rows, columns, channels]; an engine decides how many rows it runs at once.
    """

    tile: Tile

    def read(self, operand: Slab) -> Array:
        """The rows of a slab, in their stored type."""
        ...

    def write(self, operand: Slab, values: Array) -> None:
        """Store rows."""
        ...

    def dot(self, dst: Slab, src: str, window: str, group: str) -> Array:
        """i32 dot products of ``src`` through ``window`` with the group's cells, as its flow computes them."""
        ...

    def patches(self, dst: Slab, src: str, window: str) -> Array:
        """Window contents [images, rows, columns, taps, channels] for the columns and channels of ``dst``."""
        ...

    def patches_count(self, dst: Slab, src: str, window: str) -> Array:
        """How many taps of each window lie inside the tensor: [1, rows, columns, 1] float32."""
        ...

    def tensor(self, name: str) -> Array:
        """A tensor of the program."""
        ...

    def chans(self, operand: Slab) -> Range:
        """The absolute channel range of a slab."""
        ...

    def receive(self, channel: str, dst: Slab, until: RowExpr) -> None:
        """Take rows from a channel until ``until`` rows of it have arrived."""
        ...

    def send(self, channel: str, src: Slab) -> None:
        """Put a row part into a channel."""
        ...

    def call(self, name: str, row: RowExpr | None = None) -> None:
        """Run a host call on whole buffers, or on one row of each."""
        ...


@dataclass(frozen=True)
class Context:
    """Where an instruction stands: what its legality, cycles and actions may look at."""

    program: Program
    tile: Tile

    @property
    def machine(self) -> Machine:
        """The machine description."""
        return self.program.machine

    def cols(self, operand: Slab) -> Range:
        """The absolute columns of a slab."""
        return self.tile.cols(operand)

    def chans(self, operand: Slab) -> Range:
        """The absolute channels of a slab."""
        return self.tile.chans(operand)

    def width(self, operand: Slab) -> int:
        """Number of columns (positions) of a slab."""
        cols = self.cols(operand)
        return cols[1] - cols[0]

    def elements(self, operand: Slab) -> int:
        """Number of elements of a slab."""
        chans = self.chans(operand)
        return self.width(operand) * (chans[1] - chans[0])

    def nbytes(self, operand: Slab) -> int:
        """Bytes of a slab."""
        return self.tile.buffer[operand.buffer].element.nbytes(self.elements(operand))

    def window(self, name: str) -> Window:
        """A window of the tile."""
        return self.tile.window[name]


REGISTRY: dict[str, type[Instr]] = {}


@dataclass_transform(field_specifiers=(slab, source, ref, until, count, row_number, byte), frozen_default=True)
class Instr:
    """Base of all instructions.

    Class keywords: ``op`` (opcode, never reused), ``name`` (mnemonic), ``unit`` (the hardware unit that executes it:
    control, matrix, vector, mover, net-in, net-out or host; each group is a matrix unit of its own). A subclass without
    them is a *shape*: fields and methods that several instructions share.
    """

    opcode: ClassVar[int]
    mnemonic: ClassVar[str]
    unit: ClassVar[str]
    __dataclass_fields__: ClassVar[dict[str, dataclasses.Field[Any]]]

    def __init_subclass__(cls, *, op: int | None = None, name: str = "", unit: str = "") -> None:
        """Make the subclass a frozen dataclass and register it; an opcode or mnemonic used twice is an error."""
        if op is None:
            dataclass(frozen=True)(cls)
            return
        if not cls.__dict__.get("__doc__"):
            raise TypeError(f"instruction {name} has no docstring")
        cls.opcode, cls.mnemonic, cls.unit = op, name, unit
        dataclass(frozen=True)(cls)
        if sum(f.bits for _, f in fields_of(cls)) > WORD_BITS - OPCODE_BITS:
            raise TypeError(f"instruction {name}: operands do not fit a {WORD_BITS}-bit word")
        if name in REGISTRY or any(other.opcode == op for other in REGISTRY.values()):
            raise TypeError(f"instruction {name}: mnemonic or opcode {op:#x} already taken")
        REGISTRY[name] = cls

    def reads(self, ctx: Context, i: int) -> list[Touch]:
        """Rows read in iteration ``i``."""
        return [t for mode, t in self._touches(ctx, i) if "r" in mode]

    def writes(self, ctx: Context, i: int) -> list[Touch]:
        """Rows written in iteration ``i``; ``recv`` and ``call`` override, their rows follow from more than a slab."""
        return [t for mode, t in self._touches(ctx, i) if "w" in mode]

    def _touches(self, ctx: Context, i: int) -> Iterator[tuple[str, Touch]]:
        for name, spec in fields_of(type(self)):
            value = getattr(self, name)
            if spec.kind == "slab" and spec.access:
                row = value.row.at(i)
                yield spec.access, Touch(value.buffer, (row, row + 1))
            elif spec.window:
                window = ctx.window(getattr(self, spec.window))
                out_row = self.destination.row.at(i)
                yield spec.access, Touch(value, window.rows(out_row, ctx.tile.buffer[value].rows))

    @property
    def destination(self) -> Slab:
        """The slab this instruction writes (window instructions have exactly one)."""
        for name, spec in fields_of(type(self)):
            if spec.kind == "slab" and "w" in spec.access:
                operand: Slab = getattr(self, name)
                return operand
        raise TypeError(f"{self.mnemonic} writes no slab")

    def window_chans(self, ctx: Context) -> Range:
        """Channels read through the window (window instructions): those of the destination."""
        return ctx.chans(self.destination)

    def problems(self, ctx: Context) -> Iterator[str]:
        """What is wrong with this instruction beyond what its fields say; names and ranges are known to be right."""
        return iter(())

    def cycles(self, ctx: Context) -> int:
        """Cycles from start to end of one execution (for ``recv``: of one row). At least 1."""
        return 1

    def occupancy(self, ctx: Context) -> int:
        """Cycles until the unit can start its next instruction; less than ``cycles`` where the unit is pipelined."""
        return self.cycles(ctx)

    def measures(self, ctx: Context) -> frozenset[str]:
        """What of data its actions depend on (see `pimc_isa.flow.use`); where anything, ``actions`` takes a tally."""
        return frozenset()

    def actions(self, ctx: Context) -> dict[str, float]:
        """How often each action of the machine file happens in one execution (for ``recv``: for one row)."""
        return {}

    def execute(self, m: Meaning) -> None:
        """What it does to values."""


_FIELDS: dict[type, tuple[tuple[str, Field], ...]] = {}


def fields_of(cls: type[Instr]) -> tuple[tuple[str, Field], ...]:
    """The operand fields of an instruction class, in order."""
    if cls not in _FIELDS:
        _FIELDS[cls] = tuple((f.name, f.metadata["isa"]) for f in dataclasses.fields(cls))
    return _FIELDS[cls]


def field_of(cls: type[Instr], name: str) -> Field:
    """One operand field by name."""
    return dict(fields_of(cls))[name]
