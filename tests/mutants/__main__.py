"""Mutants: changes of the code that the tests must notice. ``make mutants`` runs this.

Two parts: the committed list, of which each entry names the tests that kill it, and a seeded sample of generated ones,
of which at most 5 % may live, each of them explained in ``equivalent.toml``.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

from tests.mutants.areas import read_areas
from tests.mutants.generated import sample
from tests.mutants.judgement import Judgement, check_unchanged, judge, judge_generated, judge_listed
from tests.mutants.listed import read_mutants
from tests.mutants.mutant import MutantError
from tests.mutants.pool import preload

HERE = Path(__file__).parent


def main(arguments: list[str] | None = None) -> int:
    """Run both parts, or the one that is asked for; 0 if nothing lives that should not, 2 for a list that is wrong."""
    given = _parser().parse_args(arguments)
    started = time.monotonic()
    try:
        judgements = _run(given)
    except MutantError as error:
        print(f"error: {error}")
        return 2
    for judgement in judgements:
        print("\n".join(judgement.lines()))
    used = sum(j.seconds for j in judgements)
    print(f"{time.monotonic() - started:.0f} s, {used:.0f} s of processor time")
    return 0 if all(j.passed for j in judgements) else 1


def _run(given: argparse.Namespace) -> list[Judgement]:
    root = given.root.resolve()
    areas = read_areas(given.folder / "areas.toml", root)
    listed = [] if given.only == "generated" else read_mutants(given.folder / "mutants.toml", root)
    generated = [] if given.only == "listed" else sample(areas, root, given.number, given.seed)
    listed, generated = ([m for m in part if given.match in m.key] for part in (listed, generated))
    with tempfile.TemporaryDirectory() as caches:
        if not given.bare:
            preload(Path(caches))
        limits = check_unchanged(root, [m.tests for m in (*listed, *generated)], given.workers)
        found = []
        if listed:
            found.append(judge_listed(judge(root, listed, limits, given.workers, given.verbose)))
        if generated:
            known = given.folder / "equivalent.toml"
            found.append(judge_generated(judge(root, generated, limits, given.workers, given.verbose), known))
    return found


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    parser.add_argument("--root", type=Path, default=HERE.parents[1], help="the repository")
    parser.add_argument("--folder", type=Path, default=HERE, help="where mutants.toml and the tables are")
    parser.add_argument("--only", choices=("listed", "generated"), help="one of the two parts")
    parser.add_argument("--match", default="", help="only mutants whose key holds this text")
    parser.add_argument("--number", type=int, default=200, help="generated mutants in the sample")
    parser.add_argument("--seed", type=int, default=0, help="of the sample")
    parser.add_argument("--workers", type=int, default=2, help="children at a time")
    parser.add_argument("--bare", action="store_true", help="import no libraries beforehand")
    parser.add_argument("--verbose", action="store_true", help="say which test killed each mutant")
    return parser


if __name__ == "__main__":
    sys.exit(main())
