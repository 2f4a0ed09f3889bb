"""Noise of real hardware, reproducible: what it is, and random numbers that depend on what they are for alone.

Three models. ``sinad=DB`` is the paper's lumped one (Neural-PIM, section 5.3, eq. 13): to every layer's sums, as real
numbers before requantisation, Gaussian noise of sigma ``max|x| / 10**(DB/20)`` is added, the maximum taken over the
layer's sums of one image. ``device`` goes down to cells, reads and held voltages. ``column=E`` is that of RAELLA
(section 7.2): every column sum N+ - N- strays by sigma ``E * sqrt(N+ + N-)`` before it is converted.

A number is a hash of seed, layer, image, position, output and row block, so results do not depend on batches, on the
order of images or on how the work is cut.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from math import inf
from zlib import crc32

import numpy as np

from pimc_isa.errors import RunError
from pimc_isa.peripherals.randomness import GOLDEN, MIX_1, MIX_2, NORMAL_TABLE_BITS, normal_table, stream_key

__all__ = ["DeviceNoise", "Noise", "add_lumped", "layer_key", "normals_at", "parse_noise", "position_numbers"]

Array = np.ndarray

#: What streams of random numbers are for.
CELL, SUM, LUMPED, COLUMN = 1, 2, 3, 4


@dataclass(frozen=True)
class DeviceNoise:
    """Device-level noise; figures are ours but for ``cell`` (Neural-PIM, section 4.1).

    ``cell``: a programmed cell conducts ``exp(N(0, cell))`` times its value, the same for every read of a chip (copies
    of a layer vary alike; cells that are off stay off). ``read`` and ``hold``: standard deviation of a column's current
    at each read and of a voltage at each hold, as parts of the full swing. ``peripherals``: trained peripherals are
    drawn for each layer instead of nominal (1 or 0).
    """

    cell: float = 0.025
    read: float = 0.0005
    hold: float = 0.0005
    peripherals: float = 1.0


@dataclass(frozen=True)
class Noise:
    """One noisy chip: ``sinad_db`` for the lumped model, ``device``, or ``column``, the E of column sums."""

    seed: int
    sinad_db: float | None = None
    device: DeviceNoise | None = None
    column: float | None = None

    def __str__(self) -> str:
        """Return the text that ``parse_noise`` reads, and the seed."""
        if self.sinad_db is not None:
            return f"sinad={self.sinad_db:g}, seed {self.seed}"
        if self.column is not None:
            return f"column={self.column:g}, seed {self.seed}"
        values = ",".join(f"{f.name}={getattr(self.device, f.name):g}" for f in fields(DeviceNoise))
        return f"device:{values}, seed {self.seed}"


def parse_noise(seed: int, text: str = "device") -> Noise:
    """Noise from ``sinad=50``, ``column=0.06``, ``device`` or ``device:cell=0.05``. Raises RunError for other texts."""
    kind, _, rest = text.partition(":")
    try:
        if kind.startswith("sinad=") and not rest:
            return Noise(seed, sinad_db=float(kind.removeprefix("sinad=")))
        if kind.startswith("column=") and not rest and 0 <= float(kind.removeprefix("column=")) < inf:
            return Noise(seed, column=float(kind.removeprefix("column=")))
        pairs = [item.split("=") for item in rest.split(",") if item]
        values = {name: float(value) for name, value in pairs}
        known = {f.name for f in fields(DeviceNoise)}
        if kind == "device" and set(values) <= known and all(v >= 0 for v in values.values()):
            return Noise(seed, device=DeviceNoise(**values))
    except ValueError:
        pass
    raise RunError(
        f"noise model {text!r} is not known\nwrite sinad=50, column=0.06, device, or device:cell=0.05,read=0.001,hold=0"
    )


def layer_key(seed: int, use: int, name: str, *more: int) -> int:
    """The stream of a layer (its weights' or data's name) for one use."""
    return stream_key(seed, use, crc32(name.encode()), *more)


def hashes_at(key: int, numbers: Array) -> Array:
    """uint64 hashes of any numbers of a stream."""
    value = np.uint64(key) + (numbers + np.uint64(1)) * np.uint64(GOLDEN)
    value = (value ^ (value >> np.uint64(30))) * np.uint64(MIX_1)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(MIX_2)
    return np.asarray(value ^ (value >> np.uint64(31)))


def normals_at(key: int, numbers: Array) -> Array:
    """float32 standard normals of numbers (uint64) of a stream."""
    return np.asarray(normal_table()[hashes_at(key, numbers) >> np.uint64(64 - NORMAL_TABLE_BITS)])


def position_numbers(image: Array, row: Array, col: Array) -> Array:
    """uint64 numbers of output positions; images, rows and columns are absolute."""
    place = image.astype(np.uint64) << np.uint64(32) | row.astype(np.uint64) << np.uint64(16)
    return np.asarray(place | col.astype(np.uint64))


def add_lumped(
    noise: Noise,
    name: str,
    sums: Array,
    scale: tuple[Array, Array],
    first: int,
    at: tuple[Array, Array, Array],
) -> Array:
    """Sums i32 [images, rows, columns, channels] with the lumped noise of layer ``name``.

    ``scale`` is multiplier and bias of each channel: ``(sum + bias) * multiplier`` is the activation in steps of the
    result, whose largest magnitude in an image sets the noise of all its channels. ``first`` is the number of the first
    image, ``at`` absolute rows, columns and channels.
    """
    assert noise.sinad_db is not None
    out = np.empty_like(sums)
    rows, cols, chans = (a.astype(np.uint64) for a in at)
    place = (rows[:, None, None] << np.uint64(16) | cols[:, None]) << np.uint64(20) | chans
    multiplier, bias = (np.asarray(a, np.float64) for a in scale)
    for n, image in enumerate(sums.astype(np.int64)):
        largest = float(np.abs((image + bias) * multiplier).max(initial=0))
        sigma = largest / 10.0 ** (noise.sinad_db / 20) / multiplier
        draws = normals_at(layer_key(noise.seed, LUMPED, name, first + n), place).astype(np.float64)
        noisy = np.rint(image + sigma * draws)
        out[n] = np.clip(noisy, -(2**31), 2**31 - 1).astype(np.int64)
    return out
