"""Mutants made from the code: every small change that the operators allow, and a seeded sample of them.

A mutant's key is file, function, kind and the changed expression, never a line, and the sample takes the keys with the
smallest digests: an edit elsewhere changes neither a key nor whether it is drawn.
"""

from __future__ import annotations

import ast
import copy
import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

from tests.mutants.mutant import Mutant
from tests.mutants.operators import changes

__all__ = ["candidates", "sample"]

#: Parts of the code that no mutant touches: types, text of messages, checks for the type checker, lists of names.
_SKIPPED = (ast.JoinedStr, ast.Assert, ast.Import, ast.ImportFrom)


def candidates(file: str, root: Path, tests: tuple[str, ...]) -> list[Mutant]:
    """All mutants of a file, in the order of its text."""
    tree = ast.parse((root / file).read_text(encoding="utf-8"))
    seen: Counter[str] = Counter()
    found = []
    for number, (node, function, tested, around) in enumerate(_places(tree)):
        for kind, new in changes(node, tested):
            change = f"{_text(around)} -> {_text(_with(around, node, new))}"
            key = f"{file} {function} {kind}: {change}"
            seen[key] += 1
            if seen[key] > 1:
                key = f"{key} #{seen[key]}"
            found.append(Mutant(key, file, change, partial(_replaced, tree, number, new), tests))
    return found


def sample(table: Mapping[str, tuple[str, ...]], root: Path, number: int, seed: int) -> list[Mutant]:
    """``number`` mutants of the files in ``table`` (file: its tests), the same for the same seed."""
    everything = [m for file, tests in table.items() for m in candidates(file, root, tests)]
    return sorted(everything, key=lambda m: hashlib.sha256(f"{seed} {m.key}".encode()).digest())[:number]


def _text(node: ast.AST) -> str:
    return " ".join(ast.unparse(node).split())


def _with(around: ast.expr, old: ast.expr, new: ast.expr) -> ast.expr:
    """A copy of an expression with a part of it replaced."""
    number = next(n for n, node in enumerate(ast.walk(around)) if node is old)
    twin = copy.deepcopy(around)
    part = next(node for n, node in enumerate(ast.walk(twin)) if n == number)
    changed = _Replacer(part, new).visit(twin)
    assert isinstance(changed, ast.expr)
    return changed


def _replaced(tree: ast.Module, number: int, new: ast.expr) -> ast.Module:
    """A copy of the tree with the node at place ``number`` replaced."""
    twin = copy.deepcopy(tree)
    old = next(node for n, (node, *_) in enumerate(_places(twin)) if n == number)
    ast.copy_location(new, old)
    changed = _Replacer(old, new).visit(twin)
    assert isinstance(changed, ast.Module)
    return ast.fix_missing_locations(changed)


class _Replacer(ast.NodeTransformer):
    def __init__(self, old: ast.AST, new: ast.expr) -> None:
        self.old, self.new = old, new

    def visit(self, node: ast.AST) -> ast.AST:
        """Replace the one node."""
        return self.new if node is self.old else super().visit(node)


#: An expression, the qualified name of the function or class around it, whether it decides about a branch, and the
#: expression that names it in reports: itself, or for a number the smallest one around it that holds a name.
Place = tuple[ast.expr, str, bool, ast.expr]


def _places(tree: ast.Module) -> Iterator[Place]:
    """Expressions that may be changed, in an order that depends on the tree only."""
    yield from _walk(tree.body, "module")


def _walk(
    nodes: Iterable[ast.AST], function: str, tests: Sequence[ast.AST] = (), around: ast.expr | None = None
) -> Iterator[Place]:
    for node in nodes:
        if isinstance(node, _SKIPPED) or _is_bookkeeping(node):
            continue
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            inner = node.name if function == "module" else f"{function}.{node.name}"
            yield from _walk([*_defaults(node), *node.body], inner)
            continue
        if isinstance(node, ast.expr):
            yield node, function, any(node is test for test in tests), around if around and _is_bare(node) else node
        inside = node if isinstance(node, ast.expr) and not _is_bare(node) else around
        yield from _walk(_children(node), function, _tests(node), inside if isinstance(node, ast.expr) else None)


def _is_bare(node: ast.expr) -> bool:
    return not any(isinstance(part, ast.Name) for part in ast.walk(node))


def _defaults(node: ast.FunctionDef | ast.ClassDef) -> list[ast.expr]:
    if isinstance(node, ast.ClassDef):
        return []
    return [*node.args.defaults, *(d for d in node.args.kw_defaults if d is not None)]


def _tests(node: ast.AST) -> list[ast.expr]:
    """The conditions of a node; a loop's are left out, because negated ones run for ever."""
    if isinstance(node, ast.If | ast.IfExp):
        return [node.test]
    return node.ifs if isinstance(node, ast.comprehension) else []


def _children(node: ast.AST) -> Iterator[ast.AST]:
    for name, value in ast.iter_fields(node):
        if name == "annotation":
            continue
        yield from (v for v in (value if isinstance(value, list) else [value]) if isinstance(v, ast.AST))


def _is_bookkeeping(node: ast.AST) -> bool:
    if isinstance(node, ast.If):
        return isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
    if isinstance(node, ast.Assign):
        alias = isinstance(node.value, ast.BinOp) and isinstance(node.value.op, ast.BitOr)  # of types
        return alias or any(isinstance(t, ast.Name) and t.id in ("__all__", "__slots__") for t in node.targets)
    return False
