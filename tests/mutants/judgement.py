"""What became of the mutants, and whether that is good enough."""

from __future__ import annotations

import time
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.mutants.mutant import Mutant, MutantError
from tests.mutants.pool import Job, Result, run_jobs

__all__ = ["Judgement", "check_unchanged", "judge", "judge_generated", "judge_listed"]

#: Share of generated mutants that may live, explained or not.
MAY_LIVE = 0.05

#: Processor time for the tests of unchanged code.
UNCHANGED_SECONDS = 300

#: What a mutant is given: some seconds, and so many times what its tests took on unchanged code.
MUTANT_SECONDS, MUTANT_TIMES = 10, 2


#: Seconds between two lines about how far it is.
PROGRESS_SECONDS = 15


@dataclass(frozen=True)
class Judgement:
    """Results of one part; ``explained`` are survivors called equivalent, ``problems`` what fails the run."""

    title: str
    results: tuple[Result, ...]
    explained: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems

    @property
    def seconds(self) -> float:
        """Processor time."""
        return sum(r.seconds for r in self.results)

    def lines(self) -> Iterator[str]:
        """The report."""
        alive = [r for r in self.results if r.alive]
        ended = [r for r in self.results if r.outcome in ("time", "died")]
        yield (
            f"{self.title}: {len(self.results)} mutants, {len(self.results) - len(alive)} killed "
            f"({len(ended)} of them by the limits of time and memory), {len(alive)} alive"
        )
        yield from (f"  over a limit: {_key(r)}" for r in ended)
        yield from (f"  equivalent: {key}" for key in self.explained)
        yield from (f"  PROBLEM: {problem}" for problem in self.problems)


def _key(result: Result) -> str:
    return result.job.mutant.key if result.job.mutant else "unchanged"


def check_unchanged(root: Path, selections: Sequence[tuple[str, ...]], workers: int) -> dict[tuple[str, ...], int]:
    """Every selection of tests must pass on the code as it is; returns how many seconds each may take on a mutant.

    That is several times what it took, so that a mutant that goes over its limit has not only met slow tests. Raises
    MutantError with pytest's output.
    """
    files: dict[str, list[str]] = {}
    for test in dict.fromkeys(t for tests in selections for t in tests):
        files.setdefault(test.partition("::")[0], []).append(test)
    jobs = [Job(None, tuple(tests), UNCHANGED_SECONDS) for tests in files.values()]
    seconds: dict[str, float] = {}
    for result in _told("files of tests on the code as it is", len(jobs), run_jobs(root, jobs, workers)):
        if not result.alive:
            raise MutantError(f"these tests fail without any mutant: {' '.join(result.job.tests)}\n{result.output}")
        seconds[result.job.tests[0].partition("::")[0]] = result.seconds
    return {tests: _limit(seconds, tests) for tests in selections}


def _limit(seconds: Mapping[str, float], tests: Iterable[str]) -> int:
    return MUTANT_SECONDS + round(MUTANT_TIMES * sum(seconds[file] for file in {t.partition("::")[0] for t in tests}))


def judge(
    root: Path, mutants: Sequence[Mutant], limits: Mapping[tuple[str, ...], int], workers: int, verbose: bool = False
) -> list[Result]:
    """Run every mutant's tests on it, within ``limits``; results in the order of the mutants."""
    jobs = [Job(m, m.tests, limits[m.tests]) for m in mutants]
    found = []
    for result in _told("mutants", len(jobs), run_jobs(root, jobs, workers)):
        if result.outcome == "broken":
            raise MutantError(f"{_key(result)}: its tests could not be run\n{result.output}")
        found.append(result)
        if verbose:
            print(f"{result.outcome:>6} {result.seconds:5.1f} s  {_key(result)}  [{result.failed}]", flush=True)
    order = {m.key: n for n, m in enumerate(mutants)}
    return sorted(found, key=lambda r: order[_key(r)])


def _told(what: str, total: int, results: Iterable[Result]) -> Iterator[Result]:
    """The results, with a line about how far it is now and then."""
    told = time.monotonic()
    for number, result in enumerate(results, 1):
        if time.monotonic() - told > PROGRESS_SECONDS:
            told = time.monotonic()
            print(f"  {number} of {total} {what}", flush=True)
        yield result


def judge_listed(results: Iterable[Result]) -> Judgement:
    """All of the list must be killed."""
    every = tuple(results)
    problems = tuple(f"alive: {_key(r)} ({r.job.mutant.change if r.job.mutant else ''})" for r in every if r.alive)
    return Judgement("committed list", every, problems=problems)


def judge_generated(results: Iterable[Result], known: Path) -> Judgement:
    """At most 5 % may live, and only those that ``known`` explains."""
    every = tuple(results)
    reasons = _reasons(known)
    alive = [_key(r) for r in every if r.alive]
    problems = [f"alive, and not in {known.name}: {key}" for key in alive if key not in reasons]
    problems += [f"{known.name} calls it equivalent, but it was killed: {_key(r)}" for r in every if _wrong(r, reasons)]
    if len(alive) > MAY_LIVE * len(every):
        problems.append(f"{len(alive)} of {len(every)} live, more than {MAY_LIVE:.0%}")
    explained = tuple(key for key in alive if key in reasons)
    return Judgement("generated", every, explained, tuple(problems))


def _wrong(result: Result, reasons: dict[str, str]) -> bool:
    return not result.alive and _key(result) in reasons


def _reasons(path: Path) -> dict[str, str]:
    """Why a mutant changes nothing that anybody could see, by its key. Raises MutantError for one without a reason."""
    found: dict[str, str] = {}
    for entry in tomllib.loads(path.read_text(encoding="utf-8")).get("mutant", []) if path.is_file() else []:
        if not entry.get("why", "").strip():
            raise MutantError(f"{path.name}: {entry['key']}: say why it is equivalent")
        found[entry["key"]] = entry["why"]
    return found
