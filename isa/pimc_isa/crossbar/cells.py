"""Cells: weights to codes and back, and the column sums that decide what a converter can see.

Everything follows ``w = centre + sum_s 2**l_s * sign_s * field_s`` (see ``operands.Weights``).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from pimc_isa.errors import ProgramError
from pimc_isa.operands import Weights

__all__ = ["Cells", "column_sums", "decode", "encode", "encode_differential", "row_blocks", "slice_shifts"]

Array = np.ndarray


@dataclass(frozen=True)
class Cells:
    """Encoded weights: ``codes`` [groups, k, n], ``polarity`` and ``centre`` [groups, blocks, n]."""

    codes: Array
    polarity: Array
    centre: Array


def slice_shifts(slices: tuple[int, ...]) -> tuple[int, ...]:
    """Bit position of each slice, low slices first."""
    return tuple(sum(slices[:s]) for s in range(len(slices)))


def row_blocks(k: int, block_rows: int) -> Iterator[tuple[int, slice]]:
    """Number and rows of each row block."""
    for block, first in enumerate(range(0, k, block_rows)):
        yield block, slice(first, min(first + block_rows, k))


def encode(weights: Array, slices: tuple[int, ...], block_rows: int) -> Cells:
    """ISAAC's encoding of integer weights [groups, k, n]: offset binary with flipped columns.

    The code is ``w + 2**(bits-1)``. A column (one slice of one output in one row block) whose cells sum to more than
    half of the possible stores ``2**width - 1 - field`` instead and is subtracted; its worst sum, and with it the
    converter, gets by with one bit less (Shafiee et al., ISCA 2016, section on encoding). So the centre is
    ``-2**(bits-1) + sum over flipped slices of (2**width - 1) * 2**l``. Codes are u8 up to 8 bits, u16 up to 16.
    Raises ValueError for weights that do not fit.
    """
    bits, (groups, k, n) = sum(slices), weights.shape
    if bits > 16:
        raise ValueError(f"weights of {bits} bits; at most 16")
    half, kind = 1 << (bits - 1), np.uint8 if bits <= 8 else np.uint16
    if weights.size and not (weights.dtype == np.int8 and bits >= 8) and not _within(weights, -half, half - 1):
        raise ValueError(f"weights outside {-half}..{half - 1} do not fit {bits} bits")
    codes = weights.astype(kind, order="C")  # wraps, and the offset wraps it to the right code
    np.add(codes, kind(half), out=codes)
    blocks = -(-k // block_rows)
    polarity = np.zeros((groups, blocks, n), np.uint8 if len(slices) <= 8 else np.uint16)
    flips = np.zeros((groups, blocks, n), kind)
    for block, rows in row_blocks(k, block_rows):
        part = codes[:, rows]
        for s, (shift, width) in enumerate(zip(slice_shifts(slices), slices, strict=True)):
            top = (1 << width) - 1
            flip = 2 * _field_sums(part, shift, width) > part.shape[1] * top
            polarity[:, block] |= flip.astype(polarity.dtype) << s
            flips[:, block] |= flip.astype(kind) * kind(top << shift)
        np.bitwise_xor(part, flips[:, block, None], out=part)
    return Cells(codes, polarity, flips.astype(np.int32) - half)


def encode_differential(
    weights: Array, slices: tuple[int, ...], block_rows: int, *, centred: bool = False, centre: Array | None = None
) -> Cells:
    """Integer weights [groups, k, n] as differences: ``w = P - N``, one of them 0, each in the slices of ``|w|``.

    Codes are the weights themselves (sign and magnitude), i16, or i32 where slices have more than 15 bits; centre 0,
    nothing flipped. W+ and W- lie in neighbouring columns (Neural-PIM, section 5.2.1). ``centred``: codes are the
    weights less the mean of their column in the row block, which is the centre, as far as the slices hold them; so what
    all inputs have in common adds nothing to a sum. ``centre`` [groups, blocks, n]: other centres (RAELLA's, see
    ``centres``). Raises ValueError for weights whose magnitude, less their centre, does not fit the slices.
    """
    bits, (groups, k, n) = sum(slices), weights.shape
    if bits > 31:
        raise ValueError(f"weights of {bits} bits; at most 31")
    top = (1 << bits) - 1
    if not _within(weights, -top, top):
        raise ValueError(f"weights outside {-top}..{top} do not fit slices of {bits} bits")
    blocks = -(-k // block_rows)
    codes = weights.astype(np.int16 if bits <= 15 else np.int32, order="C")
    polarity = np.zeros((groups, blocks, n), np.uint8 if len(slices) <= 8 else np.uint16)
    centres = np.zeros((groups, blocks, n), np.int32) if centre is None else centre.astype(np.int32)
    for block, rows in row_blocks(k, block_rows) if centred or centre is not None else ():
        part = codes[:, rows].astype(np.int64)
        lowest, highest = part.max(axis=1) - top, part.min(axis=1) + top  # beyond them a code would not fit
        if centre is None:
            centres[:, block] = np.clip(np.rint(part.mean(axis=1)), lowest, highest)
        elif (centres[:, block] < lowest).any() or (centres[:, block] > highest).any():
            raise ValueError(f"weights less their centres do not fit slices of {bits} bits")
        codes[:, rows] = part - centres[:, block, None]
    return Cells(codes, polarity, centres)


def decode(cells: Cells, weights: Weights, dtype: type[np.integer[Any]] = np.int32) -> Array:
    """The integer weights [groups, k, n] that cells stand for. Raises ProgramError if ``dtype`` cannot hold them.

    For unipolar cells a flipped field is its complement, so ``w = (code ^ flips) + (centre - flips)`` with the flipped
    slices' bits in ``flips``: one exclusive-or and one addition instead of a sum over slices.
    """
    groups, k, n = cells.codes.shape
    out = np.empty((groups, k, n), dtype)
    info = np.iinfo(dtype)
    for block, rows in row_blocks(k, weights.block_rows):
        codes, polarity = cells.codes[:, rows], cells.polarity[:, block, None]
        values = (_sum_fields if weights.bipolar else _unflip)(codes, polarity, weights.slices)
        values += cells.centre[:, block, None].astype(values.dtype)
        if not _within(values, info.min, info.max):
            raise ProgramError(f"weights {weights.name} hold values outside {info.min}..{info.max}")
        out[:, rows] = values
    return out


def column_sums(codes: Array, weights: Weights) -> tuple[Array, Array]:
    """Sums of the positive and of the negative cells of every column: two int32 arrays [groups, blocks, n, slices].

    Unipolar cells are all positive here; their polarity is applied after conversion.
    """
    groups, k, n = codes.shape
    blocks = -(-k // weights.block_rows)
    positive = np.zeros((groups, blocks, n, len(weights.slices)), np.int32)
    negative = np.zeros_like(positive)
    for block, rows in row_blocks(k, weights.block_rows):
        part = codes[:, rows]
        signs = [(positive, part)]
        if weights.bipolar:
            signs = [(positive, np.maximum(part, 0)), (negative, np.maximum(-part, 0))]
        for s, shift in enumerate(slice_shifts(weights.slices)):
            for sums, magnitude in signs:
                sums[:, block, :, s] = _field_sums(magnitude, shift, weights.slices[s])
    return positive, negative


def _within(values: Array, lowest: int, highest: int) -> bool:
    return values.size == 0 or (int(values.min()) >= lowest and int(values.max()) <= highest)


def _field_sums(codes: Array, shift: int, width: int) -> Array:
    """Sum over rows of one bit field of codes [groups, rows, n]; narrow sums, because numpy then adds many at once."""
    field = codes >> shift
    field &= (1 << width) - 1
    small = codes.shape[1] * ((1 << width) - 1) < 1 << 16
    sums: Array = np.add.reduce(field, axis=1, dtype=np.uint16 if small else np.int64).astype(np.int32)
    return sums


def _unflip(codes: Array, polarity: Array, slices: tuple[int, ...]) -> Array:
    flips = np.zeros(polarity.shape, np.int32)
    for s, (shift, width) in enumerate(zip(slice_shifts(slices), slices, strict=True)):
        flips |= (polarity.astype(np.int32) >> s & 1) * (((1 << width) - 1) << shift)
    plain = codes & ((1 << sum(slices)) - 1) if sum(slices) < 8 * codes.itemsize else codes
    return np.asarray((plain ^ flips.astype(codes.dtype)).astype(np.int32) - flips)


def _sum_fields(codes: Array, polarity: Array, slices: tuple[int, ...]) -> Array:
    magnitude, sign = np.abs(codes.astype(np.int32)), np.sign(codes).astype(np.int32)
    total = np.zeros(codes.shape, np.int32)
    for s, (shift, width) in enumerate(zip(slice_shifts(slices), slices, strict=True)):
        side = 1 - 2 * (polarity.astype(np.int32) >> s & 1)
        total += ((magnitude >> shift & ((1 << width) - 1)) * side * sign) << shift
    return total
