"""Patches and rounds against what crossbars do, read by read, and against bounds that no schedule can beat."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from random import Random
from typing import Any

import numpy as np
import pytest

from pimc.epitomes import rounds as module
from pimc.epitomes.epitome import tiled_index
from pimc.epitomes.patches import Patch, TooManyPatchesError, patches_of, voiced
from pimc.epitomes.rounds import Size, Tables, merged, unmerged
from tests.properties.epitome_nets import random_index

Array = np.ndarray


def drawn(seed: int) -> tuple[Array, Size, int]:
    """An index that makes every channel, small crossbars, and convolution groups."""
    rng = Random(seed)
    groups = rng.choice([1, 1, 2])
    index, (p, q) = random_index(rng, (groups * rng.randint(1, 6), rng.choice([1, 3]), 2, rng.randint(1, 6)))
    epitome, index = voiced(np.ones((p, q), np.int8), index)
    p, q = epitome.shape
    return index, Size(p, q, rng.randint(1, 9), rng.randint(1, 5)), groups


def wanted(index: Array, size: Size, groups: int) -> Counter[tuple[int, int, int, int]]:
    """(channel, input, row, column) of every weight."""
    outputs, _, kw, depth = index.shape
    found: Counter[tuple[int, int, int, int]] = Counter()
    for o, y, x, i in np.ndindex(index.shape):
        if index[o, y, x, i] >= 0:
            element = ((y * kw + x) * groups + o * groups // outputs) * depth + i
            found[o, element, *divmod(int(index[o, y, x, i]), size.columns)] += 1
    return found


def done(tables: Tables, size: Size) -> Counter[tuple[int, int, int, int]]:
    """The same of what columns sum, crossbar by crossbar: an output that is read sums all rows driven there."""
    found: Counter[tuple[int, int, int, int]] = Counter()
    for number in range(tables.count):
        now = tables.patches[:, 0] == number
        for left in range(0, size.columns, size.across):
            for top in range(0, size.rows, size.height):
                rows = tables.rows[now][:, top : top + size.height]
                columns = tables.columns[now][:, left : left + size.across]
                here = (columns >= 0).any(axis=1) & (rows >= 0).any(axis=1)
                driven, goes = rows[here], columns[here]
                assert ((driven < 0) | (driven == driven.max(axis=0, initial=-1))).all()
                assert ((goes < 0) | (goes == goes.max(axis=0, initial=-1))).all()
                for row, element in enumerate(driven.max(axis=0, initial=-1)):
                    for column, channel in enumerate(goes.max(axis=0, initial=-1)):
                        if element >= 0 and channel >= 0:
                            found[int(channel), int(element), top + row, left + column] += 1
    for channel, source in enumerate(tables.copies):
        if source >= 0:
            found.update({(channel, i, k, n): times for (o, i, k, n), times in list(found.items()) if o == source})
    return found


def least(index: Array, size: Size, groups: int) -> int:
    """Rounds that no schedule goes below: inputs that one row of a crossbar needs, channels that one column makes."""
    rows: dict[tuple[int, int], set[int]] = {}
    columns: dict[tuple[int, int], set[int]] = {}
    own = {
        channel: min(o for o in range(len(index)) if _alike(index, channel, o, groups)) for channel in range(len(index))
    }
    for o, element, row, column in wanted(index, size, groups):
        rows.setdefault((row, column // size.across), set()).add(element)
        columns.setdefault((row // size.height, column), set()).add(own[o])
    return max(map(len, [*rows.values(), *columns.values()]))


def _alike(index: Array, a: int, b: int, groups: int) -> bool:
    outputs = len(index)
    return a * groups // outputs == b * groups // outputs and bool((index[a] == index[b]).all())


def written(tables: Tables) -> bool:
    """Whether each channel's first round overwrites it, and all others add."""
    first: dict[int, int] = {}
    for (number, mode), columns in sorted(zip(tables.patches.tolist(), tables.columns.tolist(), strict=True)):
        for channel in {channel for channel in columns if channel >= 0}:
            if (first.setdefault(channel, number) != number) != (mode == 1):
                return False
    return True


@pytest.mark.parametrize("seed", range(60))
def test_rounds_do_every_weight_once_and_nothing_else(seed: int) -> None:
    index, size, groups = drawn(seed)
    patches, copies = patches_of(index, size.columns, groups)
    for schedule in (merged, unmerged):
        tables = schedule(patches, copies, size)
        assert done(tables, size) == wanted(index, size, groups)
        assert written(tables)
    best = merged(patches, copies, size).count
    assert least(index, size, groups) <= best <= unmerged(patches, copies, size).count


@pytest.mark.parametrize("seed", range(20))
def test_rows_apart_do_together_what_all_do(seed: int) -> None:
    index, size, groups = drawn(seed)
    patches, copies = patches_of(index, size.columns, groups)
    tables = merged(patches, copies, size)
    halves = [
        tables.within(k) for k in ((0, size.height), (size.height, size.rows)) if k[0] < size.rows and k[0] < k[1]
    ]
    nobody = np.full_like(copies, -1)
    total = sum((done(Tables(t.patches, t.rows, t.columns, nobody), size) for t in halves), Counter[Any]())
    assert total == done(Tables(tables.patches, tables.rows, tables.columns, nobody), size)
    assert all(written(half) and half.count <= tables.count for half in halves)


def test_aligned_blocks_take_as_few_rounds_as_they_can() -> None:
    """EPIM's example (recalled): 2304 x 256 on 1024 x 256, crossbars of 256 x 256: 9 blocks on 4, in 3 rounds."""
    for outputs, rounds in ((256, 3), (512, 5)):
        index = tiled_index((outputs, 3, 3, 256), (1024, 256), (256, 256), wraps=False)
        patches, copies = patches_of(index, 256)
        assert (copies < 0).all()
        assert merged(patches, copies, Size(1024, 256, 256, 256)).count == rounds


def test_sums_of_one_channel_go_together() -> None:
    """The second crossbar waits for the round in which the first one has something for the same channel."""
    one, two = np.array([0]), np.array([0, 1])
    patches = [Patch(one, one, one, one), Patch(two, two + 1, one + 1, one + 1)]
    tables = merged(patches, np.full(2, -1, np.int32), Size(2, 2, 1, 2))
    assert tables.patches.tolist() == [[0, 0], [1, 0]]
    assert tables.rows.tolist() == [[0, -1], [1, 2]]
    assert tables.columns.tolist() == [[0, -1], [-1, 1]]


def test_wrapped_channels_are_copies() -> None:
    """Two output blocks with the same cells: one is made. Of two groups with the same cells, both are."""
    index = np.tile(np.arange(12, dtype=np.int32).reshape(1, 1, 1, 12), (4, 1, 1, 1)) * 2
    index[1::2] += 1
    patches, copies = patches_of(index, 2)
    assert copies.tolist() == [-1, -1, 0, 1]
    assert merged(patches, copies, Size(12, 2, 12, 2)).count == 1
    patches, copies = patches_of(index, 2, groups=2)
    assert copies.tolist() == [-1] * 4
    assert merged(patches, copies, Size(12, 2, 12, 2)).count == 2


def test_tables_say_what_they_make() -> None:
    def tables(columns: list[list[int]], copies: list[int]) -> Tables:
        heads = np.array([[n, 0] for n in range(len(columns))], np.int32).reshape(-1, 2)
        goes = np.array(columns, np.int32).reshape(-1, 2)
        return Tables(heads, np.zeros_like(goes), goes, np.array(copies, np.int32))

    found = tables([[0, -1], [-1, 2]], [-1, 0, -1])
    assert found.count == 2
    assert found.makes().tolist() == [True, False, True]
    assert found.complete
    assert not tables([[1, -1]], [-1, 1]).complete
    assert tables([], [-1]).count == 0


def test_a_channel_of_nothing_reads_a_cell_of_nothing() -> None:
    index = np.array([[0, 1], [-1, -1], [-1, -1]], np.int32).reshape(3, 1, 1, 2)
    epitome = np.array([[3, 4]], np.int8)
    larger, read = voiced(epitome, index)
    assert larger.tolist() == [[3, 4], [0, 0]]
    assert read.reshape(3, 2).tolist() == [[0, 1], [2, -1], [2, -1]]
    same, read = voiced(np.array([[3, 0]], np.int8), index)
    assert same.tolist() == [[3, 0]]
    assert read.reshape(3, 2).tolist() == [[0, 1], [1, -1], [1, -1]]
    assert voiced(epitome, index[:1])[0] is epitome


# ---- a judge that can fail ----


def rows_pollute(patch: pytest.MonkeyPatch) -> None:
    """Reads of one crossbar in one round, whatever their rows."""
    patch.setattr(module, "_coloured", lambda reads: [(0, read.does) for read in reads])


def columns_share_rows(patch: pytest.MonkeyPatch) -> None:
    """Columns are read with whatever is driven first."""
    add = module._Crossbar.add

    def first(crossbar: Any, piece: Patch) -> None:
        driven = [(rows, inputs) for rows, inputs, _ in crossbar.drives.values()]
        rows = (driven or [(piece.rows, piece.inputs)])[0]
        add(crossbar, Patch(rows[0], rows[1], piece.columns, piece.channels))

    patch.setattr(module._Crossbar, "add", first)


def all_overwrite(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(module, "ADD", 0)


@pytest.mark.parametrize("fault", [rows_pollute, columns_share_rows, all_overwrite], ids=lambda f: f.__name__)
def test_a_broken_schedule_is_seen(
    fault: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    fault(monkeypatch)
    assert any(_wrong(seed) for seed in range(60))


def _wrong(seed: int) -> bool:
    index, size, groups = drawn(seed)
    tables = merged(*patches_of(index, size.columns, groups), size)
    try:
        return done(tables, size) != wanted(index, size, groups) or not written(tables)
    except AssertionError:
        return True


def test_an_index_of_channels_unlike_each_other_is_refused_before_its_patches_are_made() -> None:
    """Every channel has patches of its own, one for each column at least."""
    index = np.random.default_rng(0).integers(0, 16 * 8, (32, 1, 1, 64)).astype(np.int32)
    patches, _ = patches_of(index, 8)
    assert len(patches_of(index, 8, most=len(patches))[0]) == len(patches) > 32 * 8
    for most in (len(patches) - 1, 31):
        with pytest.raises(TooManyPatchesError, match=f"more than {most} patches\nleave the layer dense"):
            patches_of(index, 8, most=most)
