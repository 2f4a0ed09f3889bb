"""How many copies of each layer: a search on the step model under the chips' budget of tiles.

Strategies: ``balanced`` gives tiles to the slowest layer again and again (copies end up near proportional to the number
of output positions, bounded by bandwidth); ``none`` is one copy of everything; ``stride2`` is ISAAC's rule (copies
grow by the stride squared towards the input, halved until they fit); ``equal`` gives every layer the same number.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from pimc.analysis.cut import Cut, arrays_per_tile, base_cut, cut_cycles, fill, fits, grow, tile_memory
from pimc.analysis.facts import Facts, Resources, facts_of, on_tiles
from pimc.analysis.rows import RowPlan, plan_rows
from pimc.ir.graph import Graph
from pimc.ir.ops import Op
from pimc_isa.errors import PimcError

__all__ = ["STRATEGIES", "CutPlan", "MappingError", "make_plan"]


class MappingError(PimcError):
    """A network that does not fit the chips allowed, or a layer that fits no tile."""


@dataclass(frozen=True)
class CutPlan:
    """Cuts by op, the row plan they were sized with, chips and tiles used, and the expected cycles between images."""

    cuts: dict[str, Cut]
    rows: RowPlan
    chips: int
    tiles: int
    interval_cycles: int
    arrays_one_copy: int

    def __str__(self) -> str:
        """One line for each op."""
        lines = [f"{self.tiles} tiles on {self.chips} chips, {self.interval_cycles} cycles between images"]
        lines += [
            f"  {n}: {c.strips} x {c.parts} x {c.chain} tiles, {c.copies} copies each" for n, c in self.cuts.items()
        ]
        return "\n".join(lines)


@dataclass(frozen=True)
class _Problem:
    graph: Graph
    facts: dict[str, Facts]
    res: Resources

    def depth(self, name: str, rows: RowPlan | None) -> tuple[int, ...]:
        facts = self.facts[name]
        heights = tuple(s[0] for s in facts.in_shapes)
        return (1,) * len(heights) if rows is None else rows.depths(self.graph[name], heights, 0)


def make_plan(graph: Graph, res: Resources, strategy: str = "balanced") -> CutPlan:
    """Choose a cut for every op.

    Raises:
        MappingError: a layer fits no tile, or the network needs more chips than allowed.
    """
    ops = [op for op in graph.ops() if _has_tiles(graph, op)]
    problem = _Problem(graph, {op.name: facts_of(graph, op) for op in ops}, res)
    single = _base(problem, None)
    chips = _chips(problem, single)
    while True:
        tried = chips * res.machine.chip.tiles if res.tiles is None else res.tiles
        fit = _fit(problem, single, strategy, tried)
        if isinstance(fit, tuple):
            break
        if res.chips is not None or res.tiles is not None:
            raise MappingError(_too_small(problem, fit, chips))
        chips = max(chips + 1, -(-fit // res.machine.chip.tiles))  # waiting rows took more tiles than the weights do
    cuts, rows = fit
    interval = max((cut_cycles(problem.facts[n], c, res) for n, c in cuts.items()), default=1)
    return CutPlan(cuts, rows, chips, sum(c.tiles for c in cuts.values()), interval, _arrays_one_copy(problem, single))


def _fit(
    problem: _Problem, single: dict[str, Cut], strategy: str, capacity: int
) -> tuple[dict[str, Cut], RowPlan] | int:
    """Cuts within ``capacity`` tiles and the row plan they were sized with, or how many tiles the last try took."""
    budget = capacity
    for _ in range(8):
        cuts, rows = _settled(problem, STRATEGIES[strategy](problem, single, budget))
        tiles = sum(c.tiles for c in cuts.values())
        if tiles <= capacity:
            return cuts, rows
        budget -= tiles - capacity
    return tiles


def _settled(problem: _Problem, cuts: dict[str, Cut]) -> tuple[dict[str, Cut], RowPlan]:
    """Cuts that have room for the rows that wait with just these cuts: another cut changes who waits how long."""
    while True:
        rows = plan_rows(problem.graph, problem.facts, cuts, problem.res)
        roomy = _make_room(problem, cuts, rows)
        if roomy == cuts:
            return cuts, rows
        cuts = roomy


def _has_tiles(graph: Graph, op: Op) -> bool:
    return on_tiles(graph, op)


def _base(problem: _Problem, rows: RowPlan | None) -> dict[str, Cut]:
    cuts: dict[str, Cut] = {}
    for name, facts in problem.facts.items():
        cut = base_cut(facts, problem.res, problem.depth(name, rows))
        if cut is None:
            raise MappingError(_no_tile(problem, facts))
        cuts[name] = cut
    return cuts


def _no_tile(problem: _Problem, facts: Facts) -> str:
    machine = problem.res.machine
    need = tile_memory(facts, Cut(strips=facts.shape[1]), problem.res, (1,) * len(facts.in_shapes), loose=False)
    return (
        f"layer {facts.name} {facts.in_shapes} -> {facts.shape} fits no tile of {machine.name}: "
        f"even one column of it needs {need:,} bytes and a tile has {machine.tile.memory_bytes:,}\n"
        "use a machine with larger tile memory, or a smaller input"
    )


def _chips(problem: _Problem, single: dict[str, Cut]) -> int:
    per_chip = problem.res.machine.chip.tiles
    tiles = sum(c.tiles for c in single.values())
    need = -(-tiles // per_chip)
    allowed = problem.res.tiles
    if allowed is not None:
        if tiles > allowed:
            raise MappingError(_too_small(problem, tiles, 0))
        need = -(-allowed // per_chip)
    if problem.res.chips is None:
        return max(1, need)
    if need > problem.res.chips:
        raise MappingError(_too_small(problem, tiles, problem.res.chips))
    return problem.res.chips


def _too_small(problem: _Problem, tiles: int, chips: int) -> str:
    machine, allowed = problem.res.machine, problem.res.tiles
    if allowed is not None:
        return (
            f"one copy of the network needs {tiles} tiles of {machine.name}, {allowed} are allowed\nallow a larger area"
        )
    arrays = _arrays_one_copy(problem, _base(problem, None))
    return (
        f"the network needs {tiles} tiles ({arrays:,} crossbars for one copy), but {chips} "
        f"chip{'s' * (chips != 1)} of {machine.name} {'have' if chips != 1 else 'has'} {chips * machine.chip.tiles}\n"
        f"allow more chips (--chips {-(-tiles // machine.chip.tiles)})"
    )


def _arrays_one_copy(problem: _Problem, single: dict[str, Cut]) -> int:
    whole = [(f, replace(single[n], strips=1, copies=1)) for n, f in problem.facts.items() if f.is_conv]
    return sum(arrays_per_tile(f, replace(c, parts=1, chain=1), problem.res) for f, c in whole)


def _balanced(problem: _Problem, single: dict[str, Cut], budget: int) -> dict[str, Cut]:
    cuts = dict(single)
    used = sum(c.tiles for c in cuts.values())
    cost = {n: cut_cycles(problem.facts[n], c, problem.res) for n, c in cuts.items()}
    while cost:
        slowest = max(cost, key=lambda n: cost[n])
        facts = problem.facts[slowest]
        larger = grow(facts, cuts[slowest], problem.res, problem.depth(slowest, None))
        if larger is None or used + larger.tiles - cuts[slowest].tiles > budget:
            break
        used += larger.tiles - cuts[slowest].tiles
        cuts[slowest] = larger
        cost[slowest] = cut_cycles(facts, larger, problem.res)
    return cuts


def _none(problem: _Problem, single: dict[str, Cut], budget: int) -> dict[str, Cut]:
    return {n: replace(c, copies=1) for n, c in single.items()}


def _with_copies(problem: _Problem, single: dict[str, Cut], wanted: dict[str, int]) -> dict[str, Cut]:
    """Cuts whose copies (strips x copies in a tile) reach the wanted number, never more than a row has positions."""
    cuts = {}
    for name, cut in single.items():
        facts = problem.facts[name]
        want = min(wanted.get(name, 1), facts.shape[1])
        if not facts.is_conv or want <= 1:
            cuts[name] = replace(cut, copies=1)
            continue
        inside = max(1, min(cut.copies, want))
        strips = max(cut.strips, -(-want // inside))
        cuts[name] = fill(facts, replace(cut, strips=strips, copies=1), problem.res)
        cuts[name] = replace(cuts[name], copies=min(cuts[name].copies, max(1, -(-want // strips))))
    return cuts


def _halve_until_fits(problem: _Problem, single: dict[str, Cut], wanted: dict[str, int], budget: int) -> dict[str, Cut]:
    while True:
        cuts = _with_copies(problem, single, wanted)
        if sum(c.tiles for c in cuts.values()) <= budget or max(wanted.values(), default=1) <= 1:
            return cuts
        wanted = {n: max(1, w // 2) for n, w in wanted.items()}


def _stride2(problem: _Problem, single: dict[str, Cut], budget: int) -> dict[str, Cut]:
    wanted: dict[str, int] = {}
    copies = 1
    for name, facts in reversed(problem.facts.items()):
        if facts.is_conv:
            wanted[name] = copies
        copies *= facts.window.stride[0] * facts.window.stride[1]
    return _halve_until_fits(problem, single, wanted, budget)


def _equal(problem: _Problem, single: dict[str, Cut], budget: int) -> dict[str, Cut]:
    wanted = {n: max(f.shape[1] for f in problem.facts.values()) for n, f in problem.facts.items() if f.is_conv}
    return _halve_until_fits(problem, single, wanted, budget)


STRATEGIES: dict[str, Callable[[_Problem, dict[str, Cut], int], dict[str, Cut]]] = {
    "balanced": _balanced,
    "none": _none,
    "stride2": _stride2,
    "equal": _equal,
}


def _make_room(problem: _Problem, cuts: dict[str, Cut], rows: RowPlan) -> dict[str, Cut]:
    """Cut further where channels came out deeper than the tile's memory allows."""
    roomy = {}
    for name, cut in cuts.items():
        facts = problem.facts[name]
        depth = problem.depth(name, rows)
        wider: Cut | None = cut
        while wider is not None and not fits(facts, wider, problem.res, depth):
            wider = _wider(facts, wider, problem.res)
        if wider is None:
            raise DeepChannelError(name, depth)
        roomy[name] = wider
    return roomy


def _wider(facts: Facts, cut: Cut, res: Resources) -> Cut | None:
    if facts.channelwise and cut.parts < facts.shape[2]:
        return fill(facts, replace(cut, parts=cut.parts + 1, copies=1), res)
    if cut.strips < facts.shape[1]:
        return fill(facts, replace(cut, strips=cut.strips + 1, copies=1), res)
    return None


class DeepChannelError(MappingError):
    """An op whose channels hold more rows than any cut of it has memory for; a relay in front of it can hold them."""

    def __init__(self, op: str, depth: tuple[int, ...]) -> None:
        super().__init__(f"layer {op}: its inputs must wait {depth} rows, more than its tiles' memory")
        self.op, self.depth = op, depth
