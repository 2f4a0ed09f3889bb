"""The restatement of every instruction of the ISA: unit, cycles, rows and meaning, from the manual's tables."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from pimc_isa.engines.step.actions import matrix_actions
from pimc_isa.engines.step.arithmetic import add_rows, average, multiply_rows, real_rows, requantise
from pimc_isa.engines.step.geometry import (
    InTile,
    Row,
    channels,
    columns,
    elements,
    held_elements,
    nbytes,
    row_at,
    row_elements,
    slab_row,
    window_rows,
)
from pimc_isa.engines.step.referee import Restatement, restate
from pimc_isa.engines.step.values import Values
from pimc_isa.instructions import (
    Add,
    CallHost,
    CallRow,
    Copy,
    Fill,
    Lut,
    Max,
    Min,
    Mul,
    Mvm,
    Mvma,
    PoolAvg,
    PoolMax,
    PoolSum,
    Quant,
    Recv,
    Send,
    Sub,
    Sum,
)

__all__ = ["over"]

Array = np.ndarray


def over(amount: int, rate: int) -> int:
    """A quotient, rounded up and at least 1."""
    return max(1, -(-amount // rate))


# ---- rows ----


def _row_of(*names: str) -> Any:
    """The rows of the row parts in these operands."""
    return lambda place, instr, i: [slab_row(getattr(instr, name), i) for name in names]


def _seen(place: InTile, instr: Any, i: int) -> set[Row]:
    """The rows that the window sees."""
    return window_rows(place.tile, instr.dst, instr.src, instr.window, i)


def _seen_and_sums(place: InTile, instr: Mvma, i: int) -> set[Row]:
    """``mvma`` also reads the sums that are there."""
    return {*_seen(place, instr, i), slab_row(instr.dst, i)}


def _whole_buffers(place: InTile, pairs: tuple[tuple[str, str], ...]) -> set[Row]:
    buffers = [place.tile.buffer[name] for _, name in pairs if not name.startswith("$")]
    return {(buffer.name, row) for buffer in buffers for row in range(buffer.rows)}


def _one_row(place: InTile, pairs: tuple[tuple[str, str], ...], row: int) -> set[Row]:
    return {(name, row) for _, name in pairs if name in place.tile.buffer}


# ---- cycles ----


def _bus(slab: str) -> Any:
    """Bytes of a row part over the tile's bus."""
    return lambda p, instr: over(nbytes(p.tile, getattr(instr, slab)), p.program.machine.tile.bus_bytes_per_cycle)


def _send_cycles(p: InTile, instr: Send) -> int:
    return over(nbytes(p.tile, instr.src), p.program.machine.network.link_bytes_per_cycle)


def _element_cycles(p: InTile, instr: Any) -> int:
    return over(elements(p.tile, instr.dst), p.program.machine.tile.vector_lanes)


def _tap_cycles(p: InTile, instr: Any) -> int:
    kernel = p.tile.window[instr.window].kernel
    return over(elements(p.tile, instr.dst) * kernel[0] * kernel[1], p.program.machine.tile.vector_lanes)


def _turns(p: InTile, instr: Mvm | Mvma) -> int:
    """Positions of the copy that has most of them, each as often as the group's rounds say."""
    group = p.tile.group[instr.group]
    rounds = next((r.count for r in p.program.rounds if r.name == group.rounds), 1)
    return over(len(columns(p.tile, instr.dst)), group.copies) * rounds


def _mvm_cycles(p: InTile, instr: Mvm | Mvma) -> int:
    flow = p.program.flow[p.tile.group[instr.group].flow]
    return max(1, (flow.latency + (_turns(p, instr) - 1) * flow.interval) * flow.step_cycles)


def _mvm_busy(p: InTile, instr: Mvm | Mvma) -> int:
    flow = p.program.flow[p.tile.group[instr.group].flow]
    return max(1, _turns(p, instr) * flow.interval * flow.step_cycles)


def _call_cycles(p: InTile, instr: CallHost) -> int:
    call = p.tile.call[instr.call]
    names = {name for _, name in call.inputs + call.outputs if not name.startswith("$")}
    host, held = p.program.machine.host, sum(held_elements(p.tile.buffer[name]) for name in names)
    return max(over(held, host.elements_per_cycle), over(call.operations, host.operations_per_cycle))


def _call_row_cycles(p: InTile, instr: CallRow) -> int:
    call = p.tile.call[instr.call]
    names = {name for _, name in call.inputs + call.outputs}
    host, held = p.program.machine.host, sum(row_elements(p.tile.buffer[name]) for name in names)
    return max(over(held, host.elements_per_cycle), over(call.operations, host.operations_per_cycle))


# ---- values ----


def _mvm(instr: Mvm, v: Values) -> None:
    v.write(instr.dst, v.dot(instr.dst, instr.src, instr.window, instr.group))


def _mvma(instr: Mvma, v: Values) -> None:
    v.write(instr.dst, v.read(instr.dst) + v.dot(instr.dst, instr.src, instr.window, instr.group))


def _quant(instr: Quant, v: Values) -> None:
    q, chans = v.tile.requant[instr.requant], channels(v.tile, instr.src)
    multiplier, bias = v.tensor(f"{q.data}.multiplier"), v.tensor(f"{q.data}.bias")
    multiplier = multiplier if multiplier.size == 1 else multiplier[chans.start : chans.stop]
    bias = bias if bias.size == 1 else bias[chans.start : chans.stop]
    sums = v.lumped(instr.src, v.read(instr.src), (multiplier, bias), q.data)
    v.write(instr.dst, requantise(sums, multiplier, bias, q))


def _fill(instr: Fill, v: Values) -> None:
    v.write(instr.dst, np.full((len(columns(v.tile, instr.dst)), len(channels(v.tile, instr.dst))), instr.value))


def _add(instr: Add, v: Values) -> None:
    v.write(instr.dst, add_rows(v.read(instr.a), v.read(instr.b), v.tile.elementwise[instr.scales]))


def _mul(instr: Mul, v: Values) -> None:
    v.write(instr.dst, multiply_rows(v.read(instr.a), v.read(instr.b), v.tile.elementwise[instr.scales]))


def _real(function: Callable[[Array, Array], Array]) -> Callable[[Sub | Max | Min | Sum, Values], None]:
    def meaning(instr: Sub | Max | Min | Sum, v: Values) -> None:
        scales = v.tile.elementwise[instr.scales]
        v.write(instr.dst, real_rows(function, v.read(instr.a), v.read(instr.b), scales))

    return meaning


def _lut(instr: Lut, v: Values) -> None:
    table, codes = v.tensor(v.tile.table[instr.table].data), v.read(instr.src)
    if table.ndim == 1:
        v.write(instr.dst, table[codes])
        return
    own = [table[chan][codes[:, n]] for n, chan in enumerate(channels(v.tile, instr.dst))]
    v.write(instr.dst, np.stack(own, axis=1))


def _pooled(instr: PoolMax | PoolSum | PoolAvg, v: Values) -> Any:
    return v.windows(instr.dst, instr.src, instr.window, channels(v.tile, instr.dst))


def _pool_max(instr: PoolMax, v: Values) -> None:
    v.write(instr.dst, _pooled(instr, v).max(axis=1))


def _pool_sum(instr: PoolSum, v: Values) -> None:
    v.write(instr.dst, _pooled(instr, v).astype("int32").sum(axis=1))


def _pool_avg(instr: PoolAvg, v: Values) -> None:
    inside = v.inside(instr.dst, instr.src, instr.window)
    v.write(instr.dst, average(_pooled(instr, v), inside, v.tile.elementwise[instr.scales]))


# ---- actions ----


def _moved(times: int, *slabs: str) -> Any:
    """Bytes of row parts through the tile's memory and over its bus, so many times."""

    def actions(p: InTile, instr: Any, ledger: Any) -> dict[str, float]:
        size = times * sum(nbytes(p.tile, getattr(instr, name)) for name in slabs)
        return {"memory_byte": size, "bus_byte": size}

    return actions


def _computed(*slabs: str) -> Any:
    """An operation for each element of the result, and the bytes of row parts."""

    def actions(p: InTile, instr: Any, ledger: Any) -> dict[str, float]:
        size = sum(nbytes(p.tile, getattr(instr, name)) for name in slabs)
        return {"vector_element": elements(p.tile, instr.dst), "memory_byte": size}

    return actions


def _tapped(action: str) -> Any:
    """An operation and a byte for each tap of every window, and the result's bytes."""

    def actions(p: InTile, instr: Any, ledger: Any) -> dict[str, float]:
        kernel = p.tile.window[instr.window].kernel
        taps = elements(p.tile, instr.dst) * kernel[0] * kernel[1]
        return {action: taps, "memory_byte": nbytes(p.tile, instr.dst) + taps}

    return actions


# ---- the table ----


def _vector(cycles: Any, reads: Any, meaning: Any, actions: Any) -> Restatement:
    return Restatement(lambda instr: "vector", cycles, reads, _row_of("dst"), meaning, actions=actions)


def _of_two(meaning: Any) -> Restatement:
    return _vector(_element_cycles, _row_of("a", "b"), meaning, _computed("dst", "a", "b"))


def _matrix(reads: Any, meaning: Any) -> Restatement:
    return Restatement(
        lambda i: f"matrix.{i.group}", _mvm_cycles, reads, _row_of("dst"), meaning, _mvm_busy, matrix_actions
    )


restate(Recv, Restatement(lambda instr: "net-in", _bus("dst"), actions=_moved(1, "dst")))  # each row: the clock counts
restate(
    Send,
    Restatement(
        lambda i: "net-out",
        _send_cycles,
        _row_of("src"),
        meaning=lambda instr, v: v.send(instr.src),
        actions=_moved(1, "src"),
    ),
)
restate(
    Copy,
    Restatement(
        lambda instr: "mover",
        _bus("src"),
        _row_of("src"),
        _row_of("dst"),
        lambda instr, v: v.write(instr.dst, v.read(instr.src)),
        actions=_moved(2, "src"),
    ),
)
restate(
    Fill,
    Restatement(
        lambda instr: "mover",
        _bus("dst"),
        lambda place, instr, i: [],
        _row_of("dst"),
        _fill,
        actions=_moved(1, "dst"),
    ),
)
restate(Mvm, _matrix(_seen, _mvm))
restate(Mvma, _matrix(_seen_and_sums, _mvma))
restate(Quant, _vector(_element_cycles, _row_of("src"), _quant, _computed("dst", "src")))
restate(Add, _of_two(_add))
restate(Mul, _of_two(_mul))
restate(Sub, _of_two(_real(lambda a, b: a - b)))
restate(Sum, _of_two(_real(lambda a, b: a + b)))
restate(Max, _of_two(_real(lambda a, b: np.where(a > b, a, b))))
restate(Min, _of_two(_real(lambda a, b: np.where(a < b, a, b))))
restate(Lut, _vector(_element_cycles, _row_of("src"), _lut, _computed("dst", "src")))
restate(PoolMax, _vector(_tap_cycles, _seen, _pool_max, _tapped("pool_element")))
restate(PoolSum, _vector(_tap_cycles, _seen, _pool_sum, _tapped("vector_element")))
restate(PoolAvg, _vector(_tap_cycles, _seen, _pool_avg, _tapped("vector_element")))
restate(
    CallHost,
    Restatement(
        lambda instr: f"host.{instr.call}",
        _call_cycles,
        lambda place, instr, i: _whole_buffers(place, place.tile.call[instr.call].inputs),
        lambda place, instr, i: _whole_buffers(place, place.tile.call[instr.call].outputs),
        lambda instr, v: v.call(instr.call),
    ),
)
restate(
    CallRow,
    Restatement(
        lambda instr: f"host.{instr.call}",
        _call_row_cycles,
        lambda place, instr, i: _one_row(place, place.tile.call[instr.call].inputs, row_at(instr.row, i)),
        lambda place, instr, i: _one_row(place, place.tile.call[instr.call].outputs, row_at(instr.row, i)),
        lambda instr, v: v.call_row(instr.call, instr.row),
    ),
)
