"""Energy, area and peak figures: action counts of a program times energy per action, sums over a machine's components.

Counts come from the program: what every instruction does. Where they depend on data (pulses, flagged conversions), they
come from the values of a run; without a run they are upper bounds, and say so. That dynamic energy is *the* energy;
power that flows whatever is done is beside it, under names of its own.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from pimc_isa.crossbar.footprint import outputs_per_array
from pimc_isa.define import Context
from pimc_isa.errors import MachineError
from pimc_isa.flow import Flow
from pimc_isa.flow.use import Tally
from pimc_isa.instructions import Recv, Send, blocks
from pimc_isa.machine import Component, Machine
from pimc_isa.operands import ALL_ROWS
from pimc_isa.program import Program, Tile
from pimc_isa.route import HOST, Link, multicast

__all__ = [
    "Budget",
    "Counts",
    "EnergyReport",
    "Peak",
    "Tallies",
    "budget",
    "peak",
    "program_actions",
    "program_counts",
    "program_energy",
    "total",
]

Actions = Mapping[str, float]
Tallies = Mapping[tuple[int, int], Tally]
"""By tile and position in its code: what the data of a run decided."""


@dataclass(frozen=True)
class Counts:
    """Actions of some images by layer (ONNX node, or the tile's name where there is none).

    ``bound``: some of them depend on data and nobody looked, so that they are the most there can be.
    """

    images: int
    layers: Mapping[str, Mapping[str, float]]
    bound: bool = False

    def of(self, images: int) -> Counts:
        """The same for another number of images, each like the mean of these."""
        times = images / self.images
        layers = {layer: {a: times * n for a, n in actions.items()} for layer, actions in self.layers.items()}
        return Counts(images, layers, self.bound)


@dataclass(frozen=True)
class EnergyReport:
    """Energy of one image in joules.

    ``layers``: by layer (ONNX node, or the tile's name where there is none) and component. ``actions``: counts of one
    image. ``static``: by component that is always on, what it draws beyond its actions during the given time.
    ``whole_chips_joules``: the power of all parts of the chips used, busy or not, during that time (0 without a time).
    ``bound``: see `Counts`.
    """

    layers: Mapping[str, Mapping[str, float]]
    actions: Actions
    static: Mapping[str, float] = field(default_factory=dict)
    whole_chips_joules: float = 0.0
    bound: bool = False

    @property
    def components(self) -> dict[str, float]:
        """Joules by component, without static power."""
        sums: defaultdict[str, float] = defaultdict(float)
        for parts in self.layers.values():
            for component, joules in parts.items():
                sums[component] += joules
        return dict(sums)

    @property
    def joules(self) -> float:
        """Dynamic energy: that of all actions."""
        return sum(self.components.values())

    @property
    def joules_with_static(self) -> float:
        """Energy of all actions and of the components that are always on (HyperTransport)."""
        return self.joules + sum(self.static.values())


def program_energy(program: Program, cycles: int | None = None, counts: Counts | None = None) -> EnergyReport:
    """Energy of one image, the host's own apart; with ``cycles`` (time between images) static power is said too.

    ``counts``: of a run, whose images it is the mean of; without them it is what the program alone says. Raises
    MachineError if the machine file has no energy for an action that the program does.
    """
    counted = program_counts(program) if counts is None else counts
    prices = {e.action: e for e in program.machine.energies}
    layers: dict[str, dict[str, float]] = {}
    totals: defaultdict[str, float] = defaultdict(float)
    for layer, actions in counted.layers.items():
        parts: defaultdict[str, float] = defaultdict(float)
        for action, all_times in actions.items():
            times = all_times / counted.images
            if times and action not in prices:
                raise MachineError(
                    f"machine {program.machine.name} has no energy for '{action}'\nadd it to [[energies]]"
                )
            totals[action] += times
            if times:
                parts[prices[action].component] += times * prices[action].energy_pj * 1e-12
        layers[layer] = dict(parts)
    report = EnergyReport(layers, dict(totals), bound=counted.bound)
    if cycles is None:
        return report
    seconds = cycles / program.machine.clock_hz * (1 + max(tile.chip for tile in program.tiles))
    whole = total(program.machine).power_mw * 1e-3 * seconds
    return replace(report, static=_static(program.machine, report, seconds), whole_chips_joules=whole)


def _static(machine: Machine, report: EnergyReport, chip_seconds: float) -> dict[str, float]:
    """What always-on components draw beyond the energy already booked on them."""
    booked = report.components
    return {
        c.name: max(0.0, b.power_mw * 1e-3 * chip_seconds - booked.get(c.name, 0.0))
        for c, b in _scaled(machine, "chip")
        if c.static
    }


def program_actions(program: Program) -> Mapping[str, Mapping[str, float]]:
    """Actions of one image by layer, in the order of the tiles, as far as the program alone says."""
    return program_counts(program).layers


def program_counts(program: Program, images: int = 1, tallies: Tallies | None = None) -> Counts:
    """Actions of some images; ``tallies``: what their data decided, by every instruction that measures something."""
    layers: defaultdict[str, defaultdict[str, float]] = defaultdict(lambda: defaultdict(float))
    links = {c.name: _link_kinds(multicast(program, c).links) for c in program.channels}
    bound = False
    for tile in program.tiles:
        ctx = Context(program, tile)
        for index, times in _executions(ctx):
            instr = tile.code[index]
            actions = layers[_layer(tile, index)]
            if tile.kind != "host":
                measured = bool(instr.measures(ctx))
                bound |= measured and tallies is None
                _add(actions, _actions(ctx, index, tallies if measured else None, images * times))
            if isinstance(instr, Send):
                sent = images * times * ctx.nbytes(instr.src)
                _add(actions, {action: hops * sent for action, hops in links[instr.channel].items()})
    return Counts(images, {layer: dict(actions) for layer, actions in layers.items() if actions}, bound)


def _add(actions: defaultdict[str, float], more: Actions) -> None:
    for action, number in more.items():
        actions[action] += number


def _actions(ctx: Context, index: int, tallies: Tallies | None, times: int) -> dict[str, float]:
    """Actions of all executions of an instruction."""
    instr = ctx.tile.code[index]
    if tallies is None:
        return {action: number * times for action, number in instr.actions(ctx).items()}
    tally = tallies[ctx.tile.number, index]
    found: dict[str, float] = instr.actions(ctx, tally)  # type: ignore[call-arg]
    return found


def _layer(tile: Tile, index: int) -> str:
    return (tile.nodes[index] if index < len(tile.nodes) else "") or tile.name


def _link_kinds(links: tuple[tuple[Link, int], ...]) -> Counter[str]:
    """Links of a multicast tree by action; the host's link leaves the chip."""
    kinds: Counter[str] = Counter()
    for (a, b), _ in links:
        kinds["chip_link_byte" if a[0] != b[0] or HOST in (a, b) else "link_byte"] += 1
    return kinds


def _executions(ctx: Context) -> Iterator[tuple[int, int]]:
    """Position in the code and number of executions per image; of ``recv`` and ``send`` those that move a row."""
    arrived: Counter[str] = Counter()
    for block in blocks(ctx.tile.code):
        body, times = block.positions, block.times
        rows: Counter[int] = Counter()
        receives = [(n, instr) for n in body if isinstance(instr := ctx.tile.code[n], Recv)]
        for i in range(times if receives else 0):
            for n, recv in receives:
                new = max(0, recv.taken_until(ctx, i) - arrived[recv.channel])
                arrived[recv.channel] += new
                rows[n] += new
        for n in body:
            instr = ctx.tile.code[n]
            if isinstance(instr, Send) and instr.rows != ALL_ROWS:
                yield n, sum(instr.sends(ctx, i) for i in range(times))
            else:
                yield n, rows[n] if isinstance(instr, Recv) else times


@dataclass(frozen=True)
class Budget:
    """Power and area of a part."""

    power_mw: float
    area_mm2: float


@dataclass(frozen=True)
class Peak:
    """Peak rate with every crossbar busy; a multiplication and an addition are two operations.

    ``gops_per_watt`` is None where the machine says no power.
    """

    gops: float
    gops_per_watt: float | None
    gops_per_mm2: float


def budget(machine: Machine, per: str = "chip") -> dict[str, Budget]:
    """Power and area of all copies of each component in one array, tile or chip."""
    return {c.name: b for c, b in _scaled(machine, per)}


def total(machine: Machine, per: str = "chip") -> Budget:
    """Power and area of one array, tile or chip."""
    parts = budget(machine, per).values()
    return Budget(sum(p.power_mw for p in parts), sum(p.area_mm2 for p in parts))


def _scaled(machine: Machine, per: str) -> Iterator[tuple[Component, Budget]]:
    """The components inside one ``per``, with the power and area of all copies."""
    inside = {"array": 1, "tile": machine.tile.arrays, "chip": machine.tile.arrays * machine.chip.tiles}
    if per not in inside:
        raise ValueError(f"per is {per!r}; use array, tile or chip")
    levels = list(inside)
    for c in machine.components:
        if levels.index(c.per) <= levels.index(per):
            number = c.count * inside[per] / inside[c.per]
            yield c, Budget(number * c.power_mw, number * c.area_mm2)


def peak(machine: Machine, flow: Flow) -> Peak:
    """Operations per second of a full chip running ``flow`` in every crossbar, over its power and area."""
    weights = machine.array.rows * outputs_per_array(flow.columns, machine.array)
    crossbars = machine.tile.arrays * machine.chip.tiles
    gops = 2 * weights * crossbars / (flow.interval_cycles / machine.clock_hz) / 1e9
    chip = total(machine)
    return Peak(gops, gops / (chip.power_mw / 1e3) if chip.power_mw else None, gops / chip.area_mm2)
