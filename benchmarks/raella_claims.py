"""RAELLA over the 8-bit ISAAC of its paper, counted from programs with the artifact's recorded statistics.

    python benchmarks/raella_claims.py [--measure [NETWORK ...]] [--run IMAGES [NETWORK ...]]

Writes docs/claims/raella.md from docs/claims/raella.json. ``--measure`` first compiles and times the networks named (or
all six) and renews their counts in the JSON file: some five minutes of one core. Programs have seeded weights; what
data decide is put in when the page is written, from benchmarks/data. ``--run`` runs networks with trained weights on so
many images and renews their counts.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

import raella_page
from raella_area import bound_cycles
from raella_programs import CHIPS, measure
from raella_shapes import CNNS
from raella_trained import TRAINED
from raella_trained import measure as run

DATA = Path(__file__).parents[1] / "docs" / "claims" / "raella.json"


def renew(networks: Sequence[str], path: Path) -> None:
    """Measure networks and put their counts into the JSON file as they come."""
    data = read(path)
    for network in networks:
        for design in CHIPS:
            bound = {name: bound_cycles(network, design, shifted=name == "shifted") for name in ("shifted", "apart")}
            found = measure(network, design) | {"bound_cycles": bound}
            data["programs"].setdefault(network, {})[design] = found
            write(path, data)
            print(f"{network}: {design}: {found['interval_cycles']} cycles, {found['tiles']} tiles", flush=True)


def renew_runs(images: int, networks: Sequence[str], path: Path) -> None:
    """Run networks and put their counts into the JSON file as they come."""
    data = read(path)
    for network in networks:
        data["trained"][network] = run(network, images)
        write(path, data)


def read(path: Path) -> dict[str, Any]:
    """The counts so far."""
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return {"programs": {}, "trained": {}} | found


def write(path: Path, data: dict[str, Any]) -> None:
    """The counts in the order of the networks, a line for each layer."""
    programs, trained = data["programs"], data["trained"]
    parts = [f" {json.dumps(n)}: {{\n{_designs(programs[n])}\n }}" for n in CNNS if n in programs]
    runs = [f" {json.dumps(n)}: {json.dumps(trained[n])}" for n in TRAINED if n in trained]
    text = (f'"{part}": {{\n' + ",\n".join(of) + "\n}" for part, of in (("programs", parts), ("trained", runs)))
    path.write_text("{\n" + ",\n".join(text) + "\n}\n", encoding="utf-8")


def _designs(found: dict[str, Any]) -> str:
    return ",\n".join(
        f"  {json.dumps(design)}: {{\n{_facts(found[design])}\n  }}" for design in CHIPS if design in found
    )


def _facts(found: dict[str, Any]) -> str:
    layers = [f"    {json.dumps(name)}: {json.dumps(counts)}" for name, counts in found["bounds"].items()]
    others = [f"   {json.dumps(fact)}: {json.dumps(value)}" for fact, value in found.items() if fact != "bounds"]
    return ",\n".join([*others, '   "bounds": {\n' + ",\n".join(layers) + "\n   }"])


def main() -> None:
    """Measure where asked, then write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--measure", nargs="*", metavar="NETWORK", default=None)
    parser.add_argument("--run", nargs="+", metavar="IMAGES [NETWORK]", default=None)
    parser.add_argument("--data", type=Path, default=DATA)
    args = parser.parse_args()
    if args.measure is not None:
        renew(args.measure or CNNS, args.data)
    if args.run is not None:
        renew_runs(int(args.run[0]), args.run[1:] or TRAINED, args.data)
    args.data.with_suffix(".md").write_text(raella_page.page(read(args.data)), encoding="utf-8")


if __name__ == "__main__":
    main()
