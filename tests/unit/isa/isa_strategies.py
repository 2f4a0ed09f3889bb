"""Random programs, drawn from the declarations: every field of every descriptor and instruction, legal or not."""

from __future__ import annotations

import dataclasses
from typing import Any, get_args, get_origin, get_type_hints

import numpy as np
from hypothesis import strategies as st

from pimc_isa.binary.words import SPACES
from pimc_isa.define import REGISTRY, Field, Instr, fields_of
from pimc_isa.flow import Flow
from pimc_isa.flow.microops import micro_op
from pimc_isa.machine import ACTIONS, Array, Chip, Component, Energy, Host, Machine, Network, TileSpec
from pimc_isa.operands import (
    ALL_ROWS,
    Buffer,
    Call,
    Channel,
    Elementwise,
    Group,
    Requant,
    Rounds,
    RowExpr,
    RowRange,
    Slab,
    Table,
    View,
    Weights,
    Window,
)
from pimc_isa.program import Port, Program, Tile

names = st.one_of(
    st.from_regex(r"[A-Za-z_][A-Za-z0-9_.]{0,8}", fullmatch=True),
    st.text(st.characters(codec="utf-8"), min_size=1, max_size=8),
)
numbers = st.integers(-(2**20), 2**20)
sizes = st.integers(1, 300)
ranges = st.tuples(st.integers(0, 9), st.integers(0, 300))
float32s = st.floats(width=32, allow_nan=False, allow_infinity=False)
floats = st.floats(0, 1e12, allow_nan=False)
rows = st.builds(RowExpr, numbers, numbers, st.integers(1, 9))
row_ranges = st.builds(RowRange, st.integers(0, 300), st.none() | st.integers(0, 300), st.integers(1, 9))
places = names.map(lambda n: n.lstrip("$") or "b") | names.map(lambda n: "$" + n)
micro_ops = st.sampled_from(
    [micro_op(0, "load"), micro_op(1, "drive", ("0:1",)), micro_op(12, "convert", ("unsigned", "8", "step=2"))]
)

#: Fields whose values follow no rule of their type.
SPECIAL: dict[tuple[type, str], st.SearchStrategy[Any]] = {
    (Buffer, "dtype"): st.sampled_from(["u8", "i32"]),
    (View, "order"): st.sampled_from(["CHW", "HWC"]),
    (Elementwise, "a"): st.tuples(float32s, numbers),
    (Elementwise, "b"): st.tuples(float32s, numbers),
    (Elementwise, "y"): st.tuples(float32s, numbers),
    (Call, "inputs"): st.lists(st.tuples(names, places), max_size=2).map(tuple),
    (Call, "outputs"): st.lists(st.tuples(names, places), max_size=2).map(tuple),
    (Window, "pads"): st.tuples(*[st.integers(0, 5)] * 4),
    (Flow, "ops"): st.lists(micro_ops, max_size=4).map(tuple),
    (Port, "dtype"): st.sampled_from(["uint8", "float32"]),
    (Channel, "dests"): st.lists(numbers, min_size=1, max_size=3).map(tuple),
    (Port, "shape"): st.lists(sizes, max_size=3).map(tuple),
    (View, "shape"): st.lists(sizes, max_size=3).map(tuple),
    (Group, "rounds"): st.just("") | names,
    (Weights, "slices"): st.lists(sizes, min_size=1, max_size=4).map(tuple),
}


def a_field(cls: type, name: str, hint: Any) -> st.SearchStrategy[Any]:
    """A strategy for one field of a descriptor."""
    if (cls, name) in SPECIAL:
        return SPECIAL[cls, name]
    if hint == tuple[int, int]:
        return ranges
    if get_origin(hint) is tuple and dataclasses.is_dataclass(get_args(hint)[0]):
        return st.lists(a(get_args(hint)[0]), max_size=2).map(tuple)
    if get_origin(hint) is tuple:
        return st.lists(sizes, min_size=1, max_size=3).map(tuple)
    return {str: names, int: numbers, bool: st.booleans(), float: floats}[hint]


def a(cls: Any) -> st.SearchStrategy[Any]:
    """A strategy for a descriptor."""
    hints = get_type_hints(cls)
    fields = {f.name: a_field(cls, f.name, hints[f.name]) for f in dataclasses.fields(cls)}
    if cls in (Buffer, Window):  # sizes on a line of their own form are not negative
        fields |= {n: sizes for n in ("rows", "width", "channels") if n in fields}
    return st.builds(cls, **fields)


def tuples_of(cls: Any, least: int = 0) -> st.SearchStrategy[tuple[Any, ...]]:
    return st.lists(a(cls), min_size=least, max_size=3, unique_by=lambda d: d.name).map(tuple)


@st.composite
def machines(draw: st.DrawFn) -> Machine:
    """A machine that its own module accepts."""
    small = st.integers(1, 999)
    array = draw(st.builds(Array, small, small, st.integers(1, 32)))
    tile = draw(st.builds(TileSpec, small, small, small, small, small))
    chip = draw(st.builds(Chip, st.integers(1, 256), st.integers(1, 256)))
    network = draw(st.builds(Network, small, small, small, small))
    host = draw(st.builds(Host, small))
    text = names.filter(lambda s: bool(s.strip()))
    component = Component(draw(names), "tile", draw(floats), draw(floats), draw(floats), draw(text))
    energy = Energy(draw(st.sampled_from(sorted(ACTIONS))), component.name, draw(floats), draw(text))
    notes = draw(st.dictionaries(names, names, max_size=2))
    clock = draw(floats) + 1.0
    return Machine(draw(names), clock, array, tile, chip, network, host, (component,), (energy,), notes)


def operand(spec: Field, tile: Tile, channels: tuple[Channel, ...]) -> st.SearchStrategy[Any]:
    """A strategy for one operand; names are those of the tile."""
    if spec.kind == "slab":
        part = st.none() | st.tuples(st.integers(0, 99), st.integers(0, 99))
        return st.builds(Slab, st.sampled_from([b.name for b in tile.buffers]), rows, part, part)
    if spec.kind == "until":
        return rows
    if spec.kind == "rows":
        return st.just(ALL_ROWS) | row_ranges
    if spec.kind == "count":
        return st.integers(0, 2**24 - 1)
    if spec.kind == "byte":
        return st.integers(0, 255)
    held = channels if spec.space == "channel" else getattr(tile, SPACES[spec.space])
    return st.sampled_from([d.name for d in held])


def instructions(tile: Tile, channels: tuple[Channel, ...]) -> st.SearchStrategy[Instr]:
    """Any instruction whose operands the tile can name."""
    return st.one_of(
        *(
            st.builds(cls, **{name: operand(spec, tile, channels) for name, spec in fields_of(cls)})
            for cls in REGISTRY.values()
        )
    )


@st.composite
def tiles(draw: st.DrawFn, number: int, channels: tuple[Channel, ...]) -> Tile:
    """A tile with one to three of every descriptor, and any code."""
    parts = {
        attr: draw(tuples_of(cls, 1))
        for attr, cls in (
            ("buffers", Buffer),
            ("windows", Window),
            ("groups", Group),
            ("requants", Requant),
            ("elementwises", Elementwise),
            ("tables", Table),
            ("calls", Call),
        )
    }
    kind = draw(st.sampled_from(["tile", "host"]))
    tile = Tile(number, draw(names), kind, draw(numbers), draw(numbers), draw(numbers), **parts)
    code = draw(st.lists(instructions(tile, channels), max_size=8).map(tuple))
    nodes = draw(st.lists(st.sampled_from(["", "conv1", 'a "b"\n']), min_size=len(code), max_size=len(code)).map(tuple))
    return dataclasses.replace(tile, code=code, nodes=nodes if any(nodes) else ())


@st.composite
def tensors(draw: st.DrawFn) -> np.ndarray:
    """A small array of any type that a program can hold."""
    name = draw(st.sampled_from(["uint8", "int8", "int16", "uint16", "int32", "int64", "uint64", "bool"]))
    if draw(st.booleans()):
        name = draw(st.sampled_from(["float16", "float32", "float64"]))
    shape = tuple(draw(st.lists(st.integers(0, 3), max_size=3)))
    data = draw(st.binary(min_size=64 * 8, max_size=64 * 8))
    array = np.frombuffer(data, np.uint8).view("uint8" if name == "bool" else name)[: int(np.prod(shape, dtype=int))]
    array = (array % 2).astype(bool) if name == "bool" else np.where(np.isfinite(array), array, 1).astype(name)
    return np.asarray(array.reshape(shape))


@st.composite
def programs(draw: st.DrawFn) -> Program:
    """Any program that can be written down, whether it makes sense or not."""
    channels = draw(tuples_of(Channel, 1))
    held = draw(st.dictionaries(names.filter(lambda n: not n.startswith("pimc.")), tensors(), max_size=3))
    return Program(
        machine=draw(machines()),
        tiles=tuple(draw(tiles(n, channels)) for n in range(draw(st.integers(0, 2)))),
        channels=channels,
        flows=draw(tuples_of(Flow)),
        weights=draw(tuples_of(Weights)),
        inputs=draw(tuples_of(Port)),
        outputs=draw(tuples_of(Port)),
        tensors=held,
        meta=draw(st.dictionaries(names, names, max_size=2)),
        rounds=draw(tuples_of(Rounds)),
    )
