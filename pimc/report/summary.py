"""The figures of a program that other tools rely on."""

from __future__ import annotations

import json
from typing import Any

from pimc_isa.crossbar.cells import Cells
from pimc_isa.crossbar.exactness import conversions_exact
from pimc_isa.crossbar.footprint import footprint, group_arrays
from pimc_isa.flow import normal_form
from pimc_isa.program import Program

__all__ = ["arrays_of_one_copy", "clipping", "conversions_proved", "summary"]


def summary(program: Program) -> dict[str, Any]:
    """Return target, tiles, chips, arrays, instructions, the share of conversions proved exact, and of multiplications.

    ``quantisation``: how the quantised model compares with the float one it was made of; None for one that came
    quantised. ``epitomes``: by layer the shape of the stored matrix, the weights it stands for, signal to noise of
    weights quantised so and what that is below scales by channel, dB; the crossbars of one copy, dense and as it is
    held, and its rounds (None: left dense); None where no epitome was found. ``weight_bits``: bits of weights by layer,
    None where nobody chose them. ``clipping``: the share of each layer's sums that its converters clip on the
    calibration images, the worst first; None where no range was chosen from them.
    """
    tiles = [t for t in program.tiles if t.kind == "tile"]
    return {
        "target": program.meta.get("target", program.machine.name),
        "network": program.meta.get("network", ""),
        "tiles": program.physical_tiles,
        "chips": 1 + max((t.chip for t in tiles), default=0),
        "arrays": sum(group_arrays(program, g) for t in tiles for g in t.groups),
        "arrays_one_copy": arrays_of_one_copy(program),
        "instructions": sum(len(t.code) for t in program.tiles),
        "channels": len(program.channels),
        "conversions_proved": conversions_proved(program),
        "crossbar_macs_share": json.loads(program.meta.get("crossbar_macs_share", "null")),
        "quantisation": json.loads(program.meta.get("quantisation", "null")),
        "epitomes": json.loads(program.meta.get("epitomes", "null")),
        "weight_bits": json.loads(program.meta.get("weight_bits", "null")),
        "clipping": clipping(program),
    }


def clipping(program: Program) -> dict[str, float] | None:
    """Share of the sums that clip by layer, of those where some do, the worst first."""
    if "range_plan" not in program.meta:
        return None
    shares = {plan["layer"]: plan["clipped"] for plan in json.loads(program.meta["range_plan"])}
    return {name: shares[name] for name in sorted(shares, key=lambda n: (-shares[n], n)) if shares[name]}


def arrays_of_one_copy(program: Program) -> int:
    """Crossbars that hold every layer's weights once."""
    return sum(
        footprint(w.groups, w.k, w.n, w.columns, program.machine.array, w.block_rows).arrays for w in program.weights
    )


def conversions_proved(program: Program) -> float:
    """Share of conversions (of one position of every layer) that provably neither round nor clip, for any input."""
    groups = {group.weights: group for tile in program.tiles for group in tile.groups}
    proved = total = 0
    for weights in program.weights:
        if weights.name not in groups:
            continue
        codes, polarity, centre = (
            program.tensors[f"{weights.name}.{part}"] for part in ("codes", "polarity", "centre")
        )
        group = groups[weights.name]
        form = normal_form(program.flow[group.flow]).at(group.zero)
        proof = conversions_exact(Cells(codes, polarity, centre), weights, form)
        proved, total = proved + proof.proved, total + proof.total
    return proved / total if total else 1.0
