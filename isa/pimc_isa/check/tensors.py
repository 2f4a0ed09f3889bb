"""Checks of what is in the tensors: shapes, types, and values that no arithmetic is defined for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from pimc_isa.define import Context
from pimc_isa.element import U8
from pimc_isa.instructions import Quant
from pimc_isa.operands import Requant, Weights
from pimc_isa.program import Program, Tile

__all__ = ["program_tensors", "tile_tensors", "weights_tensors"]

Array = np.ndarray
Tensors = Mapping[str, Array]

_LARGEST = np.float32(2.0**64)  # its product with any i32 is a float32
#: Element types of cells: unipolar and bipolar codes, above 8 bits of weight the wider ones.
CODE_DTYPES = {False: ("uint8", "uint16", "uint32"), True: ("int16", "int32")}


def program_tensors(program: Program) -> Iterator[str]:
    """The reference model, if there is one, is a list of bytes."""
    if "reference" in program.tensors:
        yield from _tensor(program.tensors, "reference", ("uint8",), None, "verification", empty=True)


def weights_tensors(program: Program, weights: Weights) -> Iterator[str]:
    """What is wrong with the cells of a layer."""
    blocks = (weights.groups, weights.blocks, weights.n)
    right = True
    for part, shape, dtypes in (
        ("codes", (weights.groups, weights.k, weights.n), CODE_DTYPES[weights.bipolar]),
        ("polarity", blocks, ("uint8", "uint16")),
        ("centre", blocks, ("int32",)),
    ):
        tensor = program.tensors.get(f"{weights.name}.{part}")
        if tensor is None:
            yield f"the program has no tensor '{weights.name}.{part}'"
            right = False
        elif tensor.shape != shape or tensor.dtype.name not in dtypes:
            right = False
            yield (
                f"tensor '{weights.name}.{part}' is {tensor.dtype} {list(tensor.shape)}, "
                f"expected {' or '.join(dtypes)} {list(shape)}"
            )
    if right:
        yield from _cells(program.tensors, weights)


def _cells(tensors: Tensors, weights: Weights) -> Iterator[str]:
    """Codes, flipped columns and centres lie within what the slices can hold."""
    bits, slices = sum(weights.slices), len(weights.slices)
    codes = tensors[f"{weights.name}.codes"]
    low = -(1 << bits) + 1 if weights.bipolar else 0
    for part, least, most in (("codes", low, (1 << bits) - 1), ("polarity", 0, (1 << slices) - 1)):
        tensor = tensors[f"{weights.name}.{part}"]
        limits = np.iinfo(tensor.dtype)
        if least <= limits.min and limits.max <= most:
            continue  # the type cannot hold anything else
        found = int(tensor.min()), int(tensor.max())
        if found[0] < least or found[1] > most:
            yield f"tensor '{weights.name}.{part}' has values {found[0]}..{found[1]}, the slices hold {least}..{most}"
    centre = tensors[f"{weights.name}.centre"]
    reach = max(abs(int(centre.min())), abs(int(centre.max())))
    if codes.size and reach > 1 << bits:
        yield f"tensor '{weights.name}.centre' reaches {reach}, weights of {bits} bits lie within {1 << bits}"


def tile_tensors(program: Program, tile: Tile) -> Iterator[str]:
    """What is wrong with the tensors that a tile's descriptors name."""
    tensors = program.tensors
    for requant in tile.requants:
        yield from _requant(tensors, requant)
    for table in tile.tables:
        held = tensors.get(table.data)
        channels = held.shape[:1] if held is not None and held.ndim == 2 and held.size else ()
        shape = (*channels, U8.entries)
        yield from _tensor(tensors, table.data, (U8.dtype.name,), shape, f"table '{table.name}'")
    for call in tile.calls:
        yield from _tensor(tensors, call.model, ("uint8",), None, f"call '{call.name}'")


def _tensor(
    tensors: Tensors, name: str, dtypes: tuple[str, ...], shape: tuple[int, ...] | None, user: str, empty: bool = False
) -> Iterator[str]:
    tensor = tensors.get(name)
    if tensor is None:
        yield f"{user} uses tensor '{name}', which the program does not have"
        return
    fits = tensor.shape == shape if shape is not None else tensor.ndim == 1 and (empty or tensor.size > 0)
    if tensor.dtype.name not in dtypes or not fits:
        wanted = list(shape) if shape is not None else "[n]"
        yield f"{user}: tensor '{name}' is {tensor.dtype} {list(tensor.shape)}, expected {dtypes[0]} {wanted}"


def _requant(tensors: Tensors, q: Requant) -> Iterator[str]:
    what, name = f"requant '{q.name}'", f"{q.data}.multiplier"
    yield from _tensor(tensors, name, ("float32",), None, what)
    yield from _tensor(tensors, f"{q.data}.bias", ("int32",), None, what)
    multiplier = tensors[name]
    if not ((multiplier >= 0) & (multiplier <= _LARGEST)).all():
        yield f"{what}: tensor '{name}' has a value that is no number from 0 to 2**64"


def quant_problems(ctx: Context, instr: Quant) -> Iterator[str]:
    """Multiplier and bias must reach to the last channel."""
    last = ctx.chans(instr.src)[1]
    for part in ("multiplier", "bias"):
        name = f"{ctx.tile.requant[instr.requant].data}.{part}"
        size = ctx.program.tensors[name].size
        if size != 1 and size < last:
            yield f"tensor '{name}' has {size} channels, the row goes up to channel {last - 1}"
