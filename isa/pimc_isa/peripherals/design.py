"""All peripherals of a chip as one value that travels in a program: trained conductances, curves, fitted errors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from pimc_isa.errors import ProgramError
from pimc_isa.peripherals.chain import Chain, ErrorModel, Kind
from pimc_isa.peripherals.devices import Columns, Inverters
from pimc_isa.peripherals.nnadc import NnadcDesign
from pimc_isa.peripherals.nnsa import NnsaDesign
from pimc_isa.peripherals.randomness import stream_key

__all__ = ["RANGES", "Peripherals", "from_tensors", "ideal_chain", "to_tensors"]

Array = np.ndarray

#: Which NNS+A and which NNADC make each range, largest first. The first three are the paper's (section 4.2), whose sums
#: often stay far below the smallest; the last two use a second NNS+A with four times the gain, which is ours.
RANGES = ((0, 0), (0, 1), (0, 2), (1, 1), (1, 2))
_COLUMNS = ("sub_hidden", "sub_output", "residue_hidden", "residue_output")


@dataclass(frozen=True)
class Peripherals:
    """Trained NNS+As (gain 1 and 4), trained NNADCs (largest range first), and an error model fitted to each range."""

    nnsa: tuple[NnsaDesign, ...]
    nnadc: tuple[NnadcDesign, ...]
    errors: tuple[ErrorModel, ...]

    def parts(self, v_range: int) -> tuple[NnsaDesign, NnadcDesign]:
        """The networks of a range. Raises ProgramError for a range that does not exist."""
        if not 0 <= v_range < len(RANGES):
            raise ProgramError(f"peripherals: converter range {v_range} does not exist\nuse 0..{len(RANGES) - 1}")
        fold, converter = RANGES[v_range]
        return self.nnsa[fold], self.nnadc[converter]

    def volts(self, step: int, v_range: int, slices: int = 2) -> float:
        """Bit-line volts of one unit of a column sum, so that one code counts ``step`` of the dot product."""
        fold, converter = self.parts(v_range)
        lsb = 2 * converter.v_max / 256
        return lsb * fold.fold ** -(slices - 1) / (fold.line * step)

    def smallest_step(self, v_range: int, largest_column_sum: float, slices: int = 2) -> float:
        """The finest step at which a bit line with that column sum is not clipped at the full scale."""
        return self.volts(1, v_range, slices) * largest_column_sum / self.nnsa[0].full_scale

    def chain(self, kind: Kind, step: int, v_range: int, seed: int = 0, number: int = 0, slices: int = 2) -> Chain:
        """The chain ``number`` of the chip ``seed``: converter range ``v_range`` (0 is the largest).

        A trained chain draws its two devices, which takes about a tenth of a second: draw once, use often.
        """
        fold, converter = self.parts(v_range)
        volts = self.volts(step, v_range, slices)
        if kind == "ideal":
            return Chain(kind, step, converter.v_max, volts, slices)
        if kind == "fitted":
            key = stream_key(seed, 0xF17, number)
            return Chain(kind, step, converter.v_max, volts, slices, errors=self.errors[v_range], key=key)
        drawn = fold.draw(seed, number), converter.draw(seed, number)
        return Chain(kind, step, converter.v_max, volts, slices, *drawn)


def ideal_chain(step: int, slices: int = 2, v_max: float = 0.5) -> Chain:
    """A chain of ideal peripherals; needs no trained parameters."""
    return Chain("ideal", step, v_max, 0.0, slices)


def to_tensors(peripherals: Peripherals, prefix: str = "") -> dict[str, Array]:
    """Named tensors that hold everything; ``from_tensors`` gives back an equal value."""
    tensors: dict[str, Array] = {}
    layers: dict[str, Columns] = {}
    for k, fold in enumerate(peripherals.nnsa):
        constants = [fold.supply, fold.full_scale, fold.sigma, fold.fold, fold.line]
        tensors[f"nnsa{k}.constants"] = np.array(constants)
        tensors[f"nnsa{k}.inverters"] = _curves(fold.inverters)
        layers |= {f"nnsa{k}.hidden": fold.hidden, f"nnsa{k}.output": fold.output}
    for k, adc in enumerate(peripherals.nnadc):
        tensors[f"nnadc{k}.constants"] = np.array([adc.v_max, adc.sigma])
        tensors[f"nnadc{k}.inverters"] = _curves(adc.inverters)
        layers |= {f"nnadc{k}.{name}": getattr(adc, name) for name in _COLUMNS}
    for k, errors in enumerate(peripherals.errors):
        tensors[f"errors{k}"] = np.stack([errors.bias, errors.sigma])
    for name, columns in layers.items():
        tensors[name] = np.stack([columns.up, columns.low])
    return {prefix + name: tensor for name, tensor in sorted(tensors.items())}


def _curves(inverters: Inverters) -> Array:
    return np.stack([inverters.gain, inverters.offset, inverters.rail])


def from_tensors(tensors: Mapping[str, Array], prefix: str = "") -> Peripherals:
    """Peripherals from their tensors. Raises ProgramError if one is missing or impossible."""

    def get(name: str) -> Array:
        if prefix + name not in tensors:
            raise ProgramError(f"peripherals: tensor {prefix + name} is missing\ncompile the program again")
        return np.asarray(tensors[prefix + name])

    def columns(name: str) -> Columns:
        return Columns(*get(name))

    def count(kind: str) -> int:
        return sum(name.startswith(prefix + kind) and name.endswith(".constants") for name in tensors)

    folds = []
    for k in range(count("nnsa")):
        constants = (float(value) for value in get(f"nnsa{k}.constants"))
        inverters = Inverters(*get(f"nnsa{k}.inverters"))
        folds.append(NnsaDesign(columns(f"nnsa{k}.hidden"), columns(f"nnsa{k}.output"), inverters, *constants))
    adcs = []
    for k in range(count("nnadc")):
        a, b, c, d = (columns(f"nnadc{k}.{name}") for name in _COLUMNS)
        v_max, sigma = (float(value) for value in get(f"nnadc{k}.constants"))
        inverters = Inverters(*get(f"nnadc{k}.inverters"))
        adcs.append(NnadcDesign(v_max, a, b, c, d, inverters, sigma))
    errors = []
    if adcs:  # a set without converters has no chains
        errors = [ErrorModel(*np.ascontiguousarray(get(f"errors{k}"), np.float32)) for k in range(len(RANGES))]
    return Peripherals(tuple(folds), tuple(adcs), tuple(errors))
