"""Counting bits against the slow reference: every conversion of every slice."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pimc_isa import jit
from pimc_isa.crossbar.cells import Cells
from pimc_isa.crossbar.exactness import sliced_dot
from pimc_isa.engines.kernels.blocks import BlockProduct, block_product
from pimc_isa.engines.kernels.popcount import BitProduct, bit_product, pack
from pimc_isa.engines.values import Executor
from pimc_isa.flow import Block, Conversion, NormalForm
from pimc_isa.operands import Weights
from tests.unit.isa.engines.nets import layer
from tests.unit.isa.engines.test_values import chain_program, images, strips_program

Array = np.ndarray


def random_form(
    rng: np.random.Generator, slices: tuple[int, ...], bipolar: bool, width: int = 1, step: int = 0
) -> NormalForm:
    """Singletons that clip and, with ``step`` above 1, round all alike; with ``step`` 0, each pair as it likes."""
    inputs = tuple((lo, lo + width) for lo in range(0, 8, width))
    shifts = tuple(sum(slices[:j]) for j in range(len(slices)))

    def conversion() -> Conversion | None:
        if not step and rng.random() < 0.1:
            return None
        top = int(rng.integers(3, 200))
        return Conversion(-top if bipolar else 0, top, step or int(rng.choice([1, 1, 4])))

    one = conversion()
    blocks = tuple(
        Block(((i, j),), (0,), lo + shift, one if step else conversion())
        for i, (lo, _) in enumerate(inputs)
        for j, shift in enumerate(shifts)
    )
    return NormalForm(inputs, shifts, blocks, tuple(conversion() for _ in inputs))


def random_layer(rng: np.random.Generator, slices: tuple[int, ...], bipolar: bool) -> tuple[Cells, Weights]:
    """Cells, polarities and centres of any kind, as a file might hold them: two row blocks of 64 and one of 22."""
    k, n, rows = 150, int(rng.integers(1, 40)), 64
    low, kind = (-255, np.int16) if bipolar else (0, np.uint8)
    codes = rng.integers(low, 256, (1, k, n)).astype(kind)
    polarity = rng.integers(0, 2 ** len(slices), (1, 3, n)).astype(np.uint8)
    centre = rng.integers(-300, 300, (1, 3, n)).astype(np.int32)
    return Cells(codes, polarity, centre), Weights("w", 1, k, n, rows, slices, bipolar)


@pytest.mark.parametrize(
    ("slices", "bipolar", "width", "step"),
    [
        ((2, 2, 2, 2), False, 1, 1),
        ((2, 2, 2, 2), False, 1, 4),
        ((4, 2, 2), False, 2, 0),
        ((4, 4), True, 4, 1),
        ((3, 5), True, 2, 0),
    ],
)
def test_counting_bits_is_the_reference(slices: tuple[int, ...], bipolar: bool, width: int, step: int) -> None:
    for seed in range(10):
        rng = np.random.default_rng(seed)
        cells, weights = random_layer(rng, slices, bipolar)
        form = random_form(rng, slices, bipolar, width, step)
        x = rng.integers(0, 256, (9, weights.k), dtype=np.uint8)
        x[:3] = 255
        wide = np.zeros((9, 160), np.uint8)
        wide[:, : weights.k] = x
        ours = bit_product(cells, weights, form, 1, 160)
        assert isinstance(ours, BitProduct)
        expected = sliced_dot(x[:, None], cells, weights, form)[:, 0]
        np.testing.assert_array_equal(ours(pack(wide)), expected)


@pytest.mark.parametrize("order", ["up", "down", "any"])
@pytest.mark.parametrize(("slices", "bipolar", "width"), [((2, 2, 2, 2), False, 1), ((4, 4), True, 2), ((8,), True, 4)])
def test_input_slices_in_any_order(slices: tuple[int, ...], bipolar: bool, width: int, order: str) -> None:
    """All conversions alike: the kernel adds high slices first, whatever their numbers are."""
    rng = np.random.default_rng(0)
    cells, weights = random_layer(rng, slices, bipolar)
    up = random_form(rng, slices, bipolar, width, 1)
    count = len(up.input_slices)
    where = {"up": np.arange(count), "down": np.arange(count)[::-1], "any": rng.permutation(count)}[order]
    place = {int(old): new for new, old in enumerate(where)}
    blocks = tuple(replace(b, pairs=tuple((place[i], j) for i, j in b.pairs)) for b in up.blocks)
    units = tuple(up.unit_conversions[i] for i in where)
    form = replace(up, input_slices=tuple(up.input_slices[i] for i in where), blocks=blocks, unit_conversions=units)
    x = rng.integers(0, 256, (9, weights.k), dtype=np.uint8)
    wide = np.zeros((9, 160), np.uint8)
    wide[:, : weights.k] = x
    expected = sliced_dot(x[:, None], cells, weights, up)[:, 0]
    for made in (bit_product(cells, weights, form, 1, 160), block_product(cells, weights, form, 1, 160)):
        assert made is not None
        np.testing.assert_array_equal(made(pack(wide)), expected)
    np.testing.assert_array_equal(sliced_dot(x[:, None], cells, weights, form)[:, 0], expected)


def test_taps_packed_one_by_one_make_the_same_window() -> None:
    rng = np.random.default_rng(3)
    weights, held = layer("w", rng.integers(-128, 128, (1, 9 * 64, 10), dtype=np.int8), 128)
    cells = Cells(held["w.codes"], held["w.polarity"], held["w.centre"])
    form = random_form(rng, weights.slices, bipolar=False, step=1)
    x = rng.integers(0, 256, (20, 9, 64), dtype=np.uint8)
    ours = bit_product(cells, weights, form, 9, 64)
    assert ours is not None
    packed = pack(x).reshape(20, -1)
    expected = sliced_dot(x.reshape(20, 1, -1), cells, weights, form)[:, 0]
    np.testing.assert_array_equal(ours(packed), expected)


@pytest.mark.parametrize("form", ["compiled", "numpy"])
def test_pack_puts_bit_b_of_byte_c_into_plane_b(form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if form == "numpy":
        monkeypatch.setenv("PIMC_NUMBA", "0")
    jit.compiled.cache_clear()
    x = np.random.default_rng(0).integers(0, 256, (3, 5, 64), dtype=np.uint8)
    planes = np.unpackbits(pack(x), axis=-1, bitorder="little").reshape(3, 5, 8, 64)
    for bit in range(8):
        np.testing.assert_array_equal(planes[:, :, bit], x >> bit & 1)
    jit.compiled.cache_clear()


@pytest.mark.parametrize(
    "change",
    [
        {"blocks": (Block(((0, 0), (0, 1)), (0, 2), 0, Conversion(0, 99)),)},
        {"input_slices": ((0, 16),)},
    ],
)
def test_other_forms_are_left_to_the_reference(change: dict[str, object]) -> None:
    weights, held = layer("w", np.ones((1, 64, 4), np.int8), 32)
    cells = Cells(held["w.codes"], held["w.polarity"], held["w.centre"])
    fields = {"input_slices": ((0, 8),), "weight_shifts": (0, 2, 4, 6), "blocks": (Block(((0, 0),), (0,), 0, None),)}
    assert bit_product(cells, weights, NormalForm(**fields), 1, 64) is not None  # type: ignore[arg-type]
    assert bit_product(cells, weights, NormalForm(**(fields | change)), 1, 64) is None  # type: ignore[arg-type]
    assert bit_product(cells, weights, NormalForm(**fields), 1, 48) is None  # type: ignore[arg-type]


@pytest.mark.parametrize("make", [strips_program, chain_program])
@pytest.mark.parametrize("numba", ["0", "1"])
def test_every_slice_gives_what_the_proof_promises(make: type, numba: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIMC_NUMBA", numba)
    jit.compiled.cache_clear()
    x = images(5, 6, 4)
    proved, sliced = (Executor(make(), prove=prove).run({"x": x}, keep=True) for prove in (True, False))
    np.testing.assert_array_equal(proved.tensors["y"], sliced.tensors["y"])
    jit.compiled.cache_clear()


def random_blocks(rng: np.random.Generator, slices: tuple[int, ...], bipolar: bool, width: int) -> NormalForm:
    """Blocks of any pairs, some alone, with cells and converters that clip and round."""
    inputs = tuple((lo, lo + width) for lo in range(0, 8, width))
    shifts = tuple(sum(slices[:j]) for j in range(len(slices)))
    pairs = [(i, j) for i in range(len(inputs)) for j in range(len(slices))]
    rng.shuffle(pairs)
    blocks = []
    while pairs:
        size = int(rng.integers(1, 5))
        some, pairs = sorted((p[0], p[1]) for p in pairs[:size]), pairs[size:]
        places = [inputs[i][0] + shifts[j] for i, j in some]
        top = int(rng.integers(20, 900))
        step = int(rng.choice([1, 1, 4]))
        cell = None if rng.random() < 0.3 else Conversion(0, int(rng.integers(5, 70)), int(rng.choice([1, 3])))
        conversion = None if rng.random() < 0.1 else Conversion(-top * step, (top - 1) * step, step)
        exponents = tuple(place - min(places) for place in places)
        blocks.append(Block(tuple(some), exponents, min(places), conversion, cell))
    return NormalForm(inputs, shifts, tuple(blocks), tuple(None for _ in inputs))


@pytest.mark.parametrize(
    ("slices", "bipolar", "width"),
    [((1,) * 8, False, 1), ((2, 2, 2, 2), False, 1), ((4, 2, 2), False, 2), ((1,) * 8, True, 4), ((3, 5), True, 2)],
)
def test_blocks_of_pairs_are_the_reference(slices: tuple[int, ...], bipolar: bool, width: int) -> None:
    for seed in range(10):
        rng = np.random.default_rng(seed)
        cells, weights = random_layer(rng, slices, bipolar)
        form = random_blocks(rng, slices, bipolar, width)
        x = rng.integers(0, 256, (9, weights.k), dtype=np.uint8)
        x[:3] = 255
        wide = np.zeros((9, 160), np.uint8)
        wide[:, : weights.k] = x
        ours = block_product(cells, weights, form, 1, 160)
        assert isinstance(ours, BlockProduct)
        expected = sliced_dot(x[:, None], cells, weights, form)[:, 0]
        np.testing.assert_array_equal(ours(pack(wide)), expected)
