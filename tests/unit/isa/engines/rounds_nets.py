"""Small programs whose one convolution works in rounds, on the machines and flows of the targets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from pimc_isa.crossbar.cells import Cells, encode, encode_differential
from pimc_isa.flow import Flow, normal_form
from pimc_isa.instructions import Mvm, Quant, Recv, Send
from pimc_isa.machine import Machine
from pimc_isa.operands import Channel, Group, Range, Requant, Rounds, RowExpr, Slab, Weights, Window
from pimc_isa.program import Program, Tile
from tests.unit.isa.engines.nets import I, each_row, host, program, ring, tile

Array = np.ndarray

SAME3 = Window("w", (3, 3), pads=(1, 1, 1, 1), pad_value=7)
SCALE = {"q.multiplier": np.array([2.0**-11], np.float32), "q.bias": np.array([100], np.int32)}


@dataclass(frozen=True)
class Table:
    """One patch, written by hand: rows from ``row`` on take inputs from ``element`` on, and so on."""

    number: int
    adds: int
    rows: Mapping[int, int]
    columns: Mapping[int, int]


def span(first: int, start: int, length: int) -> dict[int, int]:
    """Places from ``first`` on, to which numbers from ``start`` on belong."""
    return {first + n: start + n for n in range(length)}


def tables(patches: Sequence[Table], weights: Weights, copies: Sequence[int], name: str = "r") -> dict[str, Array]:
    """The four tensors of rounds."""
    rows, columns = np.full((len(patches), weights.k), -1), np.full((len(patches), weights.n), -1)
    for place, patch in enumerate(patches):
        rows[place, list(patch.rows)] = list(patch.rows.values())
        columns[place, list(patch.columns)] = list(patch.columns.values())
    held = {"patches": [(p.number, p.adds) for p in patches], "rows": rows, "columns": columns, "copies": copies}
    return {f"{name}.{part}": np.asarray(table, np.int32) for part, table in held.items()}


def cells_for(flow: Flow, w: Array, block_rows: int) -> tuple[Weights, Cells]:
    """Weights [k, n] as the flow reads them."""
    k, n = w.shape
    weights = Weights("e", 1, k, n, block_rows, flow.slices, flow.bipolar)
    if not flow.bipolar:
        return weights, encode(w[None], flow.slices, block_rows)
    centred = bool(normal_form(flow).unit_conversions)
    return weights, encode_differential(w[None].astype(np.int16), flow.slices, block_rows, centred=centred)


def conv_program(
    machine: Machine,
    flow: Flow,
    cells: tuple[Weights, Cells],
    rounds: Rounds,
    held: Mapping[str, Array],
    strips: Sequence[Range] = ((0, 6),),
    scale: tuple[float, float] = (0.0, 1.0),
    copies: int = 1,
) -> Program:
    """A 3x3 convolution of a 5 x 6 tensor in column strips, a tile for each; ``held``: the tables of the rounds."""
    weights, encoded = cells
    channels, made = rounds.inputs // 9, rounds.outputs[1]
    body = [
        _tile(n + 1, strip, (channels, made), flow.name, weights, rounds.name, scale, copies)
        for n, strip in enumerate(strips)
    ]
    front = host((5, 6, channels), (5, 6, made), [("x", None)], "back")
    gather = tile(len(body) + 1, [ring("y", (5, 6, made))], _gathered(strips))
    links = [Channel("x", 0, tuple(t.number for t in body), 5), Channel("back", gather.number, (0,), 5)]
    links += [Channel(f"y{n + 1}", n + 1, (gather.number,), 5) for n in range(len(body))]
    tensors = {f"e.{part}": getattr(encoded, part) for part in ("codes", "polarity", "centre")}
    p = program([front, *body, gather], links, {**tensors, **SCALE, **held}, [weights])
    wide = replace(machine, chip=replace(machine.chip, mesh_columns=8, mesh_rows=1))
    return replace(p, machine=wide, flows=(flow,), rounds=(rounds,))


def _tile(
    number: int, strip: Range, sizes: tuple[int, int], flow: str, weights: Weights, rounds: str,
    scale: tuple[float, float], copies: int,
) -> Tile:  # fmt: skip
    channels, made = sizes
    rings = (
        ring("x", (5, 6, channels)),
        ring("acc", (5, 6, made), strip, "i32"),
        ring("y", (5, 6, made), strip, view="y"),
    )
    code = each_row(
        5,
        Recv(dst=Slab("x", RowExpr()), channel="x", until=RowExpr(1, 2)),
        Mvm(dst=Slab("acc", I), src="x", window="w", group="g"),
        Quant(dst=Slab("y", I), src=Slab("acc", I), requant="q"),
        Send(channel=f"y{number}", src=Slab("y", I)),
    )
    group = Group("g", weights.name, flow, (0, weights.k), (0, weights.n), (0, 1), copies, *scale, rounds=rounds)
    return tile(number, rings, code, windows=(SAME3,), groups=(group,), requants=(Requant("q", "q", 9),))


def _gathered(strips: Sequence[Range]) -> Sequence[Recv | Send]:
    """The strips of a row, received one after the other and sent on together."""
    recvs = [Recv(Slab("y", RowExpr(), strip), f"y{n + 1}", RowExpr(1, 1)) for n, strip in enumerate(strips)]
    return each_row(5, *recvs, Send("back", Slab("y", I)))  # type: ignore[return-value]


def requantised(sums: Array) -> Array:
    """With multiplier 2**-11, bias 100 and zero point 9."""
    return np.asarray(np.clip(np.rint((sums + 100) / 2048) + 9, 0, 255), np.uint8)


def windows(x: Array) -> Array:
    """int64 [..., 9 * channels]: what every 3x3 window sees, padded with 7."""
    padded = np.pad(x.astype(np.int64), ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=7)
    h, w = x.shape[1:3]
    return np.concatenate([padded[:, ky : ky + h, kx : kx + w] for ky in range(3) for kx in range(3)], axis=3)
