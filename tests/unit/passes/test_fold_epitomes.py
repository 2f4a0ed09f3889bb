"""fold-epitomes: what it folds, what a plan says, and what the verifier has to say of epitomes and rounds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import pimc_backends.isaac as isaac
from pimc.epitomes import checks, patches
from pimc.epitomes.epitome import Sampler, reconstruct
from pimc.ir.files import read_graph, write_graph
from pimc.ir.graph import Graph
from pimc.ir.ops import Conv
from pimc.ir.text import parse_graph, print_graph
from pimc.ir.verify import problems, verify
from pimc.passes import fold_epitomes
from pimc.passes.base import PassError, options_of
from pimc.passes.fold_epitomes import FoldEpitomes
from pimc.passes.manager import run_passes
from pimc.passes.plan_file import PlanFile, plan_text, read_plan
from pimc.passes.spec import parse_pipeline, print_pipeline
from pimc.passes.target import Target
from pimc_isa.engines.cycles import simulate
from pimc_isa.machine import Machine
from tests.properties.epitome_nets import attach, small_crossbars
from tests.unit.passes.graphs import Net

Array = np.ndarray


def network(blocks: int = 2) -> Graph:
    """%v1 is an epitome of a quarter of its size, %v2 one that saves nothing, %v3 none."""
    net = Net((4, 4, 16), 1)
    y = net.conv(net.x, 32)
    z = net.conv(y, 8, 1, 1, 0)
    graph = net.finish(net.conv(z, 8, 1, 1, 0))
    large = Sampler.evenly((32, 3, 3, 16), (16, 3, 3, 16 // blocks), (8, 16 // blocks))
    small = Sampler.evenly((8, 1, 1, 32), (8, 1, 1, 31), (4, 16))
    attach(graph, "v1", large.index(), large.stored)
    attach(graph, "v2", small.index(), small.stored)
    return graph


def chip(rows: int = 32, machine: Machine | None = None) -> Target:
    return replace(isaac.target(replication="none"), machine=machine or small_crossbars(rows, 128))


def folded(
    graph: Graph, stop: str = "fold-epitomes", plan: PlanFile | None = None, target: Target | None = None
) -> Graph:
    return run_passes(graph, isaac.passes(), target or chip(), stop_after=stop, plan=plan)


def conv(graph: Graph, name: str) -> Conv:
    op = graph[name]
    assert isinstance(op, Conv)
    return op


def test_what_saves_crossbars_is_folded() -> None:
    """144 x 32 is 5 crossbars of 32 x 32 weights; 72 x 16 is 3."""
    graph = folded(network())
    ops = [conv(graph, name) for name in ("v1", "v2", "v3")]
    assert [op.folded for op in ops] == [True, False, None]
    assert ops[0].rounds is not None
    assert [op.rounds for op in ops[1:]] == [None, None]
    assert ops[0].rounds.count >= 2
    done = folded(network(), "schedule-rows")
    mapping, cells = conv(done, "v1").mapping, conv(done, "v1").cells
    assert mapping is not None
    assert cells is not None
    assert (mapping.arrays, mapping.chain, mapping.parts) == (3, ((0, 72),), ((0, 32),))
    assert done.constants[cells.codes].shape == (1, 72, 16)


def test_an_epitome_larger_than_a_tile_is_a_chain_or_stays_dense() -> None:
    """Every link makes every channel; where no cut of the rows does that, weights stay as they are."""
    two = chip(machine=small_crossbars(32, 128, arrays=2))
    mapping = conv(folded(network(), "schedule-rows", target=two), "v1").mapping
    assert mapping is not None
    assert len(mapping.chain) == 2
    net = Net((4, 4, 64), 1)
    graph = net.finish(net.conv(net.x, 32, 1, 1, 0))
    index = np.zeros((32, 1, 1, 64), np.int32)
    index[:16] = np.arange(64) * 32 + np.arange(16)[:, None, None, None]
    index[:16, 0, 0, 32:] = -1
    index[16:] = (64 + np.arange(64)[None]) * 32 + np.arange(16)[:, None, None, None] - 32 * 64
    index[16:, 0, 0, :32] = -1
    attach(graph, "v1", index, (64, 32))
    forced = PlanFile({}, {"fold-epitomes": {"v1": {"folded": True}}})
    alone = chip(machine=small_crossbars(32, 128, arrays=1))
    with pytest.raises(PassError, match=r"the epitome of layer v1 needs more .*\nleave it dense"):
        folded(graph, plan=forced, target=alone)
    assert conv(folded(graph, target=alone), "v1").folded is False
    assert conv(folded(graph, plan=forced), "v1").rounds is not None


def test_rounds_take_time() -> None:
    """The step model counts an interval for each round of a position, as the engine does."""
    net = Net((8, 8, 16), 1)
    graph = net.finish(net.conv(net.x, 32))
    sampler = Sampler.evenly((32, 3, 3, 16), (16, 3, 3, 8), (8, 4))
    attach(graph, "v1", sampler.index(), sampler.stored)
    done = folded(graph, "schedule-rows")
    op, target = conv(done, "v1"), chip()
    assert op.rounds is not None
    assert op.rounds.count > 1
    cycles = 64 * op.rounds.count * target.flow["isaac8"].interval_cycles
    assert done.meta["expected_interval_cycles"] == str(cycles)
    busy = simulate(isaac.emit(done, target), 1).unit_busy
    assert max(n for (_, unit), n in busy.items() if unit.startswith("matrix")) == cycles


def test_a_plan_decides(tmp_path: Path) -> None:
    """Either way, and what was decided is a plan that gives the same."""
    for wanted in (True, False):
        plan = tmp_path / "plan.toml"
        said = str(wanted).lower()
        plan.write_text(f"[fold-epitomes.v1]\nfolded = {said}\n[fold-epitomes.v2]\nfolded = {said}\n", encoding="utf-8")
        graph = folded(network(), plan=read_plan(plan))
        assert [conv(graph, name).rounds is not None for name in ("v1", "v2")] == [wanted, wanted]
        plan.write_text(plan_text(graph, isaac.passes()), encoding="utf-8")
        assert print_graph(folded(network(), plan=read_plan(plan))) == print_graph(graph)
    with pytest.raises(PassError, match=r"layer v3 has no epitome\nleave it out"):
        folded(network(), plan=PlanFile({}, {"fold-epitomes": {"v3": {"folded": True}}}))


def test_unmerged_rounds_are_an_option() -> None:
    passes = parse_pipeline("choose-flows;fold-epitomes{merge=false}", {p.name: type(p) for p in isaac.passes()})
    assert print_pipeline(passes) == "choose-flows;fold-epitomes{merge=false}"
    assert [each.name for each in options_of(FoldEpitomes)] == ["merge"]
    graph, place = network(), np.indices((4, 2)).sum(axis=0) % 2
    offsets = np.stack([8 * place, *(0 * place,) * 3], axis=2)  # each input block beside the other
    sampler = Sampler((32, 3, 3, 16), (16, 3, 3, 8), (8, 8), offsets)
    attach(graph, "v1", sampler.index(), sampler.stored)
    many = conv(run_passes(graph, passes, chip()), "v1").rounds
    few = conv(folded(graph), "v1").rounds
    assert many is not None
    assert few is not None
    assert few.count < many.count


def test_layers_with_one_epitome_share_its_cells() -> None:
    """And its tables, if their index is the same."""
    net = Net((4, 4, 16), 1)
    graph = net.finish(net.conv(net.conv(net.x, 16), 16))
    sampler = Sampler.evenly((16, 3, 3, 16), (8, 3, 3, 8), (8, 8))
    attach(graph, "v1", sampler.index(), sampler.stored)
    first, second = conv(graph, "v1"), conv(graph, "v2")
    graph.update(replace(second, weights=first.weights, epitome=first.epitome, index=first.index))
    done = folded(graph, "schedule-rows")
    cells = conv(done, "v1").cells
    assert cells == conv(done, "v2").cells
    assert done.constants["v1.i.patches"] is not None
    isaac.emit(done, chip())


def test_graphs_with_rounds_are_text_and_files(tmp_path: Path) -> None:
    for stop in ("fold-epitomes", "map-weights", "schedule-rows"):
        graph = folded(network(), stop)
        text = print_graph(graph)
        assert "folded = true" in text
        again = parse_graph(text, graph.constants, graph.reference)
        assert print_graph(again) == text
        verify(again)
        write_graph(graph, tmp_path / "g.ir")
        assert print_graph(read_graph(tmp_path / "g.ir")) == text


def test_rounds_for_other_crossbars_are_refused() -> None:
    """A flow with other columns, or another machine."""
    graph = folded(network())
    wide = replace(conv(graph, "v1"), flow="isaac16")
    for op, target in ((wide, chip()), (conv(graph, "v1"), chip(64))):
        other = graph.copy()
        other.update(op)
        with pytest.raises(
            PassError, match=r"the rounds of v1 are for crossbars of 32 rows and 32 outputs; .*\n.*fold"
        ):
            run_passes(other, isaac.passes()[2:], target)


# ---- what the verifier sees ----


def broken(change: Callable[[Graph, Conv], Any], stop: str) -> list[str]:
    graph = folded(network(), stop)
    change(graph, conv(graph, "v1"))
    return list(problems(graph, graph.stage))


def put(field: str, change: Callable[[Array], Array]) -> Callable[[Graph, Conv], None]:
    """Change the constant that a field of the op, or of its rounds, names."""

    def changed(graph: Graph, op: Conv) -> None:
        name = getattr(op, field, None) or getattr(op.rounds, field)
        graph.constants[name] = change(graph.constants[name].copy())

    return changed


def at(place: tuple[int, ...], value: int) -> Callable[[Array], Array]:
    def changed(array: Array) -> Array:
        array[place] = value
        return array

    return changed


def set_(**fields: Any) -> Callable[[Graph, Conv], None]:
    return lambda graph, op: graph.update(replace(op, **fields))


def rounds_(**fields: Any) -> Callable[[Graph, Conv], None]:
    def changed(graph: Graph, op: Conv) -> None:
        assert op.rounds is not None
        graph.update(replace(op, rounds=replace(op.rounds, **fields)))

    return changed


def swapped(array: Array) -> Array:
    array[0] = np.roll(array[0], 1)
    return array


def exchanged(array: Array) -> Array:
    """Two word lines of the first patch have each other's inputs; all others keep theirs."""
    two = np.flatnonzero(array[0] >= 0)[:2]
    array[0, two] = array[0, two[::-1]]
    return array


def twice(graph: Graph, op: Conv) -> None:
    """Every patch, and the first one once more."""
    assert op.rounds is not None
    for name in (op.rounds.patches, op.rounds.rows, op.rounds.columns):
        graph.constants[name] = np.concatenate([graph.constants[name], graph.constants[name][:1]])


FAULTS: list[tuple[str, Callable[[Graph, Conv], Any], str]] = [
    ("an index without", set_(epitome=None), "fold-epitomes"),
    ("epitome without an index", set_(index=None), "fold-epitomes"),
    ("but no rounds", set_(rounds=None), "fold-epitomes"),
    ("has folded=False, and rounds", set_(folded=False), "fold-epitomes"),
    ("has no epitome", set_(epitome=None, index=None), "fold-epitomes"),
    ("weights are not what the epitome has", put("weights", lambda w: w ^ 1), "choose-flows"),
    ("1 of 4608 weights are not", put("index", at((0, 0, 0, 0), -1)), "choose-flows"),
    ("the index has cells 0..1152, the epitome 1152", put("index", at((0, 0, 0, 0), 1152)), "choose-flows"),
    ("the index has cells -2..", put("index", at((0, 0, 0, 0), -2)), "choose-flows"),
    ("the index has shape", put("index", lambda i: i[1:]), "choose-flows"),
    ("is int64, not int32", put("index", lambda i: i.astype(np.int64)), "choose-flows"),
    ("has shape (1152,), not (-1, -1)", put("epitome", lambda e: e.reshape(-1)), "choose-flows"),
    ("the tables have", rounds_(count=1), "fold-epitomes"),
    ("in chains of () links", rounds_(chains=()), "fold-epitomes"),
    ("do not put together", put("rows", swapped), "fold-epitomes"),
    ("do not put together", put("rows", exchanged), "fold-epitomes"),
    ("do not put together", put("columns", swapped), "fold-epitomes"),
    ("do not put together", put("copies", at((1,), 0)), "fold-epitomes"),
    ("do not put together", twice, "fold-epitomes"),
    ("rounds, inputs or channels that there are not", put("rows", at((0, 0), 999)), "fold-epitomes"),
    ("do not fit an epitome of 72 x 16", put("columns", lambda c: c[:, 1:]), "fold-epitomes"),
    ("rounds go with one part, and a chain of 3 links", rounds_(chains=(3,)), "map-weights"),
]


@pytest.mark.parametrize(("says", "change", "stop"), FAULTS, ids=range(len(FAULTS)))
def test_the_verifier_sees_it(says: str, change: Callable[[Graph, Conv], Any], stop: str) -> None:
    assert any(says in problem for problem in broken(change, stop)), broken(change, stop)


def test_what_is_found_sound_is_not_what_takes_its_place() -> None:
    """A check that is made once for some arrays is made again for others."""
    graph = network()
    assert not list(problems(graph, "quantised"))
    op = conv(graph, "v1")
    assert op.epitome is not None
    assert op.index is not None
    graph.constants[op.epitome] = graph.constants[op.epitome] ^ 1
    assert len(list(problems(graph, "quantised"))) == 1
    graph.constants[op.weights] = reconstruct(graph.constants[op.epitome], graph.constants[op.index])
    assert not list(problems(graph, "quantised"))


def test_what_was_found_sound_is_known_while_it_lives() -> None:
    known, arrays = checks._Sound(), (np.zeros(2), np.zeros(3))
    known.add(arrays, 1)
    assert known.knows(arrays, 1)
    assert not known.knows(arrays, 2)
    assert not known.knows((arrays[0], np.zeros(3)), 1)


def test_limits_are_asked_for_the_tables_on_all_crossbars(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows of inputs are held for each of the crossbars side by side."""
    asked: list[tuple[str, int]] = []
    monkeypatch.setattr(fold_epitomes, "beyond", lambda kind, _, size: asked.append((kind, size)))
    graph = folded(network(1), target=chip(machine=small_crossbars(32, 16)))
    op = conv(graph, "v1")
    assert op.rounds is not None
    tables = [graph.constants[name] for name in (op.rounds.patches, op.rounds.rows, op.rounds.columns)]
    across = op.rounds.across
    assert tables[2].shape[1] > 2 * across
    held = tables[1].size * -(-tables[2].shape[1] // across)
    assert ("patches", max(held, tables[2].size)) in asked


def test_a_layer_whose_channels_are_all_unlike_stays_dense(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would save crossbars; the passes do not even look for rounds, and a plan cannot ask for it."""
    net = Net((3, 3, 64), 1)
    graph = net.finish(net.conv(net.x, 64))
    index = np.random.default_rng(0).integers(0, 64 * 32, (64, 3, 3, 64)).astype(np.int32)
    attach(graph, "v1", index, (64, 32))
    monkeypatch.setattr(fold_epitomes, "merged", None)
    monkeypatch.setattr(patches.patches_of, "__defaults__", (1, 1 << 10))
    assert conv(folded(graph), "v1").folded is False
    plan = PlanFile({}, {"fold-epitomes": {"v1": {"folded": True}}})
    with pytest.raises(PassError, match="needs more crossbars, memory or rounds"):
        folded(graph, plan=plan)
