"""The runner of mutants must be able to fail: on a toy module with tests of its own, in a process of its own."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.mutants.generated import candidates, sample
from tests.mutants.listed import read_mutants
from tests.mutants.mutant import MutantError, module_name

ROOT = Path(__file__).parents[3]

TOY = """
def least(a, b):
    '''The smaller one.'''
    if a < b:
        return a
    return b


def busy(seconds):
    while seconds > 0:
        seconds = seconds - 1
    return seconds
"""
TESTS = """
from toy import busy, least


def test_least():
    assert least(1, 2) == 1


def test_both_ways():
    assert least(1, 2) == least(2, 1) == 1


def test_busy():
    assert busy(3) == 0
"""


@pytest.fixture
def toy(tmp_path: Path) -> Path:
    """A tree with one module, its tests and nothing that mutates it."""
    (tmp_path / "toy.py").write_text(TOY)
    (tmp_path / "test_toy.py").write_text(TESTS)
    (tmp_path / "areas.toml").write_text('[[area]]\nname = "toy"\nfiles = ["toy.py"]\ntests = ["test_toy.py"]\n')
    (tmp_path / "mutants.toml").write_text("")
    return tmp_path


def entry(key: str, old: str, new: str, *tests: str) -> str:
    named = ", ".join(f'"test_toy.py::{t}"' for t in tests)
    return f'[[mutant]]\nid = "{key}"\nfile = "toy.py"\nold = "{old}"\nnew = "{new}"\nwhy = "toy"\ntests = [{named}]\n'


def run(toy: Path, *options: str) -> tuple[int, str]:
    command = [sys.executable, "-m", "tests.mutants", "--root", str(toy), "--folder", str(toy), "--bare", *options]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(toy)])}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300, check=False)
    return done.returncode, done.stdout + done.stderr


def test_survivors_fail_the_run_and_killed_ones_do_not(toy: Path) -> None:
    killed = entry("turned", "a < b", "a > b", "test_both_ways")
    (toy / "mutants.toml").write_text(killed)
    code, out = run(toy, "--only", "listed")
    assert code == 0, out
    assert "1 mutants, 1 killed" in out
    (toy / "mutants.toml").write_text(killed + entry("blind", "return b", "return a", "test_least"))
    code, out = run(toy, "--only", "listed")
    assert code == 1, out
    assert "PROBLEM: alive: blind (return b -> return a)" in out
    assert "2 mutants, 1 killed" in out
    assert (toy / "toy.py").read_text() == TOY


def test_tests_that_fail_or_are_gone_say_nothing_about_mutants(toy: Path) -> None:
    (toy / "mutants.toml").write_text(entry("lost", "a < b", "a > b", "test_that_is_gone"))
    code, out = run(toy, "--only", "listed")
    assert (code, "these tests fail without any mutant" in out) == (2, True), out


def test_generated_survivors_need_a_reason(toy: Path) -> None:
    code, out = run(toy, "--only", "generated", "--match", "least")
    assert code == 1, out
    alive = "toy.py least comparison: a < b -> a <= b"
    assert f"PROBLEM: alive, and not in equivalent.toml: {alive}" in out
    assert "more than 5%" in out
    reason = '[[mutant]]\nkey = "{}"\nwhy = "{}"\n'
    (toy / "equivalent.toml").write_text(reason.format(alive, "equal numbers are the same number"))
    code, out = run(toy, "--only", "generated", "--match", "least")
    assert f"equivalent: {alive}" in out
    assert "not in equivalent.toml" not in out
    (toy / "equivalent.toml").write_text(reason.format("toy.py least condition: a < b -> not a < b", "wrong"))
    code, out = run(toy, "--only", "generated", "--match", "least")
    assert "it was killed: toy.py least condition" in out
    (toy / "equivalent.toml").write_text(reason.format(alive, ""))
    assert run(toy, "--only", "generated", "--match", "least")[0] == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (entry("k", "a <= b", "a > b", "test_least"), "no longer holds 'a <= b'"),
        (entry("k", "return", "yield", "test_least"), "holds 'return' 3 times"),
        (entry("k", "a < b", "a <", "test_least"), "no Python"),
        (entry("k", "a < b", "(a < b)", "test_least"), "changes nothing"),
        (entry("k", "a < b", "a > b"), "give the tests"),
        (entry("k", "a < b", "a > b", "test_least") * 2, "given twice"),
        (entry("k", "a < b", "a > b", "test_least").replace("toy.py", "no.py", 1), "no file no.py"),
        (entry("k", "a < b", "a > b", "test_least").replace("why", "because"), "missing"),
        (entry("k", "return", "yield", "test_least") + "index = 3\n", "no occurrence number 3"),
    ],
)
def test_entries_that_do_not_fit_are_errors(toy: Path, text: str, message: str) -> None:
    (toy / "mutants.toml").write_text(text)
    with pytest.raises(MutantError, match=message):
        read_mutants(toy / "mutants.toml", toy)


def test_the_index_chooses_an_occurrence(toy: Path) -> None:
    (toy / "mutants.toml").write_text(entry("k", "return", "yield", "test_least") + "index = 1\n")
    (mutant,) = read_mutants(toy / "mutants.toml", toy)
    changed = ast.unparse(mutant.tree())
    assert "yield b" in changed
    assert "yield a" not in changed


def test_the_generator_makes_each_kind_of_change(toy: Path) -> None:
    lines = [
        "def f(a, b):",
        "    if a and b > 1:",
        "        return min(a + b, 2 * -(-a // b))",
        "    raise ValueError(f'{a + 1} is less')",
    ]
    (toy / "toy.py").write_text("\n".join(lines))
    changes = {m.key.split(" ", 2)[2] for m in candidates("toy.py", toy, ())}
    for wanted in (
        "number: b > 1 -> b > 2",
        "number: b > 1 -> b > 0",
        "comparison: b > 1 -> b >= 1",
        "condition: a and b > 1 -> not (a and b > 1)",
        "term: a and b > 1 -> a",
        "term: a and b > 1 -> b > 1",
        "sign: a + b -> a - b",
        "term: a + b -> a",
        "term: a + b -> b",
        "rounding: -a // b -> -(--a // b)",
        "extreme: min(a + b, 2 * -(-a // b)) -> max(a + b, 2 * -(-a // b))",
    ):
        assert wanted in changes
    assert not any("a + 1" in change for change in changes)


def test_a_sample_outlives_edits(toy: Path) -> None:
    """Code put in front moves every line, and neither a key nor what is drawn of the old code changes."""
    table = {"toy.py": ("test_toy.py",)}
    whole = {m.key for m in sample(table, toy, 1000, 0)}
    before = [m.key for m in sample(table, toy, 5, 0)]
    assert before != [m.key for m in sample(table, toy, 5, 1)]
    (toy / "toy.py").write_text("\n\ndef more(c):\n    return c + 7\n" + TOY)
    after = [m.key for m in sample(table, toy, 1000, 0)]
    assert [key for key in after if key in whole][:5] == before
    assert set(after) > whole


def test_names_of_modules() -> None:
    assert module_name("isa/pimc_isa/route.py") == "pimc_isa.route"
    assert module_name("pimc/verify/__init__.py") == "pimc.verify"
    assert module_name("toy.py") == "toy"
