# ruff: noqa: E501  # the page's own lines and rows of tables
"""Renders docs/claims/raella.md from the counts of compiled programs, the recorded statistics and the machine files."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from claims_energy import geometric, table
from raella_assumptions import ASSUMPTIONS, saved
from raella_data import NETWORKS, bars
from raella_energy import GROUPS, actions_of, joules, parts, prices_of
from raella_recipe import conversions
from raella_shapes import layers_of

__all__ = ["PAPER", "page"]

Data = Mapping[str, Mapping[str, Mapping[str, Any]]]

ISAAC, OFFSET, OFF, ON = "isaac", "center_offset", "center_offset_aws", "raella"

#: Names of the designs on the page.
NAMES = {ISAAC: "isaac-8b", OFFSET: "centre + offset", OFF: "and adaptive slices", ON: "and speculation"}

#: Energy efficiency and throughput over ISAAC, read off the author's slides (+-0.02).
PAPER = {
    "googlenet": (4.62, 3.21),
    "inceptionv3": (4.92, 2.27),
    "resnet18": (4.97, 2.99),
    "resnet50": (4.30, 2.76),
    "mobilenetv2": (3.15, 1.42),
    "shufflenet1_0": (2.88, 0.75),
}


def page(found: Mapping[str, Any]) -> str:
    """The whole page, from the counts of ``programs`` and of runs of ``trained`` networks."""
    data = found["programs"]
    parts = [section(data) for section in (_head, _energy, _throughput, _conversions, _breakdown, _assumptions)]
    return "\n".join([*parts, _trained(found["trained"]), _reading(data), _tuned()])


def _head(data: Data) -> str:
    return f"""# RAELLA over the 8-bit ISAAC of its paper

Andrulis, Emer, Sze, "RAELLA" (ISCA 2023), section 6: 3.9 times the energy efficiency and 2.0 times the throughput of an
ISAAC of equal area (geometric means of seven networks); without speculation 2.8 and 2.7. Here: targets `raella` and `isaac-8b`, one
chip each (600 mm2), the same mapper, {len(data)} of the paper's seven networks in its artifact's shapes (BERT is not one of our
topologies). `python benchmarks/raella_claims.py` writes this page from `raella.json`, the counts of compiled programs.

**What data decide is recorded by the artifact, not measured here**: of each layer the slices of its weights (their number; we
take 4-4, 4-2-2 and eight of one bit), the share *s* of conversions with speculation, pulses on a word line and the average level of a
cell (`benchmarks/data`). All other counts are those of programs, whose weights are seeded: they depend on shapes only.
GoogLeNet has its published widths; in the artifact's table 9 of its layers have 6 to 9 % more inputs or outputs, which no network has.
"""


def _ratio(data: Data, network: str, design: str) -> float:
    found = data[network]
    return joules(network, ISAAC, found[ISAAC]) / joules(network, design, found[design])


def _energy(data: Data) -> str:
    rows = []
    for network, found in data.items():
        mj = [f"{joules(network, design, found[design]) * 1e3:.3f}" for design in (ISAAC, OFF, ON)]
        barred = [bars()[network, ISAAC]["total_mj"] / bars()[network, design]["total_mj"] for design in (OFF, ON)]
        rows.append([network, *mj, *(f"{r:.2f}" for r in (_ratio(data, network, OFF), barred[0]))])
        rows[-1] += [f"{r:.2f}" for r in (_ratio(data, network, ON), barred[1], PAPER[network][0])]
    means = [geometric(_ratio(data, n, d) for n in data) for d in (OFF, ON)]
    shown = [means[0], _bars(data, OFF), means[1], _bars(data, ON), geometric(PAPER[n][0] for n in data)]
    rows.append(["**geometric mean**", "", "", "", *(f"**{value:.2f}**" for value in shown)])
    columns = [
        "network",
        "mJ isaac-8b",
        "raella, no speculation",
        "raella",
        "no speculation: ours",
        "bars",
        "speculation: ours",
    ]
    return f"""## Energy

Of one image, all but bytes off the chip. *Bars*: total of the energy figure, which counts what we count. *Slides*: the
paper's comparison, mapped otherwise. The paper's mean of seven is 3.93, 2.8 without speculation.

{table([*columns, "bars", "slides"], rows)}"""


def _faster(data: Data, network: str, design: str, what: str, part: str = "") -> float:
    one, other = (data[network][each][what] for each in (ISAAC, design))
    return float(one[part] / other[part] if part else one / other)


#: Throughputs of the page: the fact in the JSON file, its part.
_SPEEDS = (("planned_cycles", ""), ("interval_cycles", ""), ("bound_cycles", "apart"), ("bound_cycles", "shifted"))


def _throughput(data: Data) -> str:
    rows = []
    for network, found in data.items():
        tiles = [f"{found[design]['tiles']}" for design in (ISAAC, OFF, ON)]
        ratios = [f"{_faster(data, network, d, *how):.2f}" for how in _SPEEDS for d in (OFF, ON)]
        rows.append([network, "/".join(tiles), *ratios, f"{PAPER[network][1]:.2f}"])
    means = [geometric(_faster(data, n, d, *how) for n in data) for how in _SPEEDS for d in (OFF, ON)]
    theirs = geometric(PAPER[n][1] for n in data)
    rows.append(["**geometric mean**", "", *(f"**{mean:.2f}**" for mean in [*means, theirs])])
    columns = ["network", "tiles used", *(f"{n}: {m}" for n in ("links free", "with the mesh") for m in ("off", "on"))]
    columns += [f"{n}: {m}" for n in ("area, whole copies", "area, shifted copies") for m in ("off", "on")]
    return f"""## Throughput over isaac-8b

Speculation off and on; the paper's mean of seven is 2.0 with it (1.94 by its bars) and 2.7 without. *Links free*: the mapper's step model with
links that are never the limit. *With the mesh*: simulated, links of 8 bytes a cycle. *Area*: a bound, as if every crossbar of the chip
were always at work, each copy on crossbars of its own, with or without shifted copies (partial Toeplitz) in their spare room.

{table([*columns, "slides (on)"], rows)}
**Why links free gives 1 and 8/11.** Today's copies share out the positions of one row, and rows follow each other: the first layer's
112 rows of one interval each are the limit on both chips, which are nearly empty ("tiles used" of 1,024 and 743). Throughput then compares
intervals, 8 steps with 8 or 11. Area can decide only where copies run several rows at once and share crossbars.
"""


def _conversions(data: Data) -> str:
    rows = []
    for network, found in data.items():
        macs = sum(layer.macs for layer in layers_of(network).values())
        row = [network, f"{macs / 1e9:.3f}"]
        for design in NAMES:
            ours = actions_of(network, design, found[design])["adc_conversion"] / macs
            cut = sum(conversions(layer, design) for layer in layers_of(network).values()) / macs
            row += [f"{ours:.4f}", f"{cut:.4f}"]
        rows.append(row)
    columns = [f"{NAMES[design]}: {who}" for design in NAMES for who in ("ours", "artifact's cuts")]
    return f"""## Conversions for each multiply-accumulate

Ours: programs, times *s* where they speculate; a dot product takes as few row blocks as can be. The artifact's mapper knows only cuts
into equal parts (`benchmarks/raella_recipe.py`, which gives all 28 bars of conversions within 2 %).

{table(["network", "GMAC", *columns], rows)}"""


def _breakdown(data: Data) -> str:
    rows = []
    for design in NAMES:
        ours, theirs = dict.fromkeys(GROUPS, 0.0), dict.fromkeys(GROUPS, 0.0)
        for network, found in data.items():
            bar = bars()[network, design]
            for part, spent in parts(actions_of(network, design, found[design]), prices_of(design)).items():
                ours[part] += spent * 1e3 * bar["batch"]
                theirs[part] += bar[f"{part}_mj"]
        for who, sums in (("ours", ours), ("bars", theirs)):
            rows.append([NAMES[design] if who == "ours" else "", who, f"{sum(sums.values()):.3f}"])
            rows[-1] += [f"{value:.3f}" for value in sums.values()]
    labels = [part.replace("_", " ").replace("quantization", "quantisation") for part in GROUPS]
    return f"""## Parts of the energy beside the figure's bars

Sum of the six networks' batches in mJ. The figure's *adc* has shift-and-add in it, and ours too; its output register is twice the intended
size and ISAAC's cells are overstated (the artifact's own list). *Global movement* is memory, bus and mesh; *input buffer* has the
sums of inputs in it.

{table(["design", "", "total", *labels], rows)}"""


def _assumptions(data: Data) -> str:
    rows = [[how.text, *(f"{saved(data, design, how):.2f}" for design in (OFFSET, OFF, ON))] for how in ASSUMPTIONS]
    for text, networks in (("the six networks", data), ("with BERT", NETWORKS)):
        rows.append(
            [f"bars of the figure, {text}", *(f"{_bars(networks, design):.2f}" for design in (OFFSET, OFF, ON))]
        )
    return f"""## Assumptions and what each does

Energy over isaac-8b, geometric means of the six; one assumption changed at a time, on both chips unless it says otherwise.

{table(["assumption", "centre + offset", "no speculation", "speculation"], rows)}"""


def _trained(runs: Mapping[str, Any]) -> str:
    rows = []
    for network, run in runs.items():
        spent, codes = {}, {}
        for design, each in run["designs"].items():
            spent[design] = sum(parts(each["actions"], prices_of(design)).values())
            codes[design] = each["actions"]["adc_conversion"] / run["macs"]
        row = [network, str(run["images"]), f"{run['designs'][ON]['slices']:.2f}"]
        row += [f"{codes[design]:.4f}" for design in (ISAAC, OFF, ON)]
        row += [f"{spent[design] * 1e3:.3f}" for design in (ISAAC, OFF, ON)]
        rows.append([*row, f"{codes[ON] / codes[OFF]:.2f}", *(f"{spent[ISAAC] / spent[d]:.2f}" for d in (OFF, ON))])
    columns = ["network", "images", "slices, mean", "conversions/MAC isaac-8b", "no speculation", "speculation"]
    columns += [
        "mJ isaac-8b",
        "no speculation",
        "speculation",
        "*s*",
        "isaac-8b over no speculation",
        "over speculation",
    ]
    return f"""## Measured on networks with trained weights

Nothing recorded: each a run of programs on photographs, slices of weights chosen by their error (`choose-slices`), inputs of all layers
driven alike (`--set signed=off`), conversions, pulses and the charge of cells counted as they come. Accuracy is on a page of its own (`raella-accuracy.md`).

{table(columns, rows)}"""


def _reading(data: Data) -> str:
    off, on = (saved(data, design) for design in (OFF, ON))
    core = [saved(data, design, ASSUMPTIONS[1]) for design in (OFF, ON)]
    compact = [_ratio(data, network, ON) for network in ("mobilenetv2", "shufflenet1_0") if network in data]
    least = " and ".join(f"{value:.2f}" for value in compact)
    fewer, longer = (1 - _over(data, "adc_conversion"), _over(data, "dac_pulse"))
    return f"""What this says:

* **Energy.** {on:.2f} with speculation beside {_bars(data, ON):.2f} for the same six, {off:.2f} without beside {_bars(data, OFF):.2f}. Conversions agree with the figure
  within 5 %, and alone would save {core[1]:.2f} and {core[0]:.2f} times. What dilutes that: our programs read a position's whole window from
  the tile's memory, where the artifact's buffers keep what neighbouring positions share; arrays, because both devices of a pair
  conduct while off and so do empty cells; and input registers at ISAAC's price, which count for both chips.
* **Compact networks** ({least}) gain least, as in the paper: their depthwise layers have dot products of 9. Here these share
  crossbars block by block, which saves area and lets empty cells conduct.
* **Speculation pays where conversions are dear.** It cuts them by {100 * fewer:.0f} % and sends {longer:.1f} times the pulses: {100 * (on / off - 1):.0f} % of gain here,
  and none with a converter of less than {_even(data):.2f} pJ a conversion.
* **Throughput** cannot be compared yet: see above. The bound by area, {_speed(data, ON):.2f} with and {_speed(data, OFF):.2f} without speculation, lies below the
  paper's 2.0 and 2.7.
"""


def _over(data: Data, action: str) -> float:
    """How much of an action there is with speculation over without: geometric mean."""
    counts = ((actions_of(n, d, found[d])[action] for d in (ON, OFF)) for n, found in data.items())
    return geometric(on / off for on, off in counts)


def _even(data: Data) -> float:
    """Energy of a conversion in pJ at which speculation neither saves nor costs energy over all networks."""
    free = {"adc_conversion": 0.0}
    more = fewer = 0.0
    for network, found in data.items():
        more += joules(network, ON, found[ON], changed=free) - joules(network, OFF, found[OFF], changed=free)
        fewer += sum(sign * actions_of(network, d, found[d])["adc_conversion"] for sign, d in ((1, OFF), (-1, ON)))
    return more / fewer * 1e12


def _bars(networks: Iterable[str], design: str) -> float:
    """The figure's energy over ISAAC's for the same networks."""
    return geometric(bars()[n, ISAAC]["total_mj"] / bars()[n, design]["total_mj"] for n in networks)


def _speed(data: Data, design: str) -> float:
    return geometric(_faster(data, n, design, "bound_cycles", "shifted") for n in data)


def _tuned() -> str:
    return """## What was chosen after seeing the paper's results

* The price of a pulse on a word line, 0.04 pJ, from the talk's bars of the DACs (no price is printed): 1 % of the energy.
* Nothing else: resistances and read voltage are the paper's, prices the artifact's library's or ISAAC's Table I, statistics the
  artifact's records. Areas that no one prints are one part, "rest", on both chips.
"""
