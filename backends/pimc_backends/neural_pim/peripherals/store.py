"""The committed parameters of the trained peripherals."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from safetensors.numpy import load_file

from pimc_isa.binary.tensorfile import chunks, header_of
from pimc_isa.files import write_file
from pimc_isa.peripherals import NnsaDesign, Peripherals, from_tensors, to_tensors

__all__ = ["PARAMETERS", "Variants", "load", "load_variants", "save"]

#: The parameters that the last committed training run wrote.
PARAMETERS = Path(__file__).parent / "data" / "peripherals.safetensors"
_VARIANTS = "variants."


def load(path: Path = PARAMETERS) -> Peripherals:
    """The trained peripherals of a file. Raises ProgramError for a file that does not hold them."""
    return from_tensors(load_file(path))


@dataclass(frozen=True)
class Variants:
    """NNS+As that only the report uses: high input slice first, and with a source follower as the output driver."""

    msb_first: NnsaDesign
    follower: NnsaDesign


def load_variants(path: Path = PARAMETERS) -> Variants:
    """The networks for comparison that the same training run wrote."""
    return Variants(*from_tensors(load_file(path), _VARIANTS).nnsa)


def save(path: Path, peripherals: Peripherals, variants: Variants) -> None:
    """Write a safetensors file whose bytes depend on nothing but the parameters."""
    others = Peripherals((variants.msb_first, variants.follower), (), ())
    tensors = to_tensors(peripherals) | to_tensors(others, _VARIANTS)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_file(path, [header_of(tensors, {}), *chunks(tensors)])
