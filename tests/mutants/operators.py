"""The changes that the generator makes of one expression: numbers, comparisons, terms, roundings, conditions."""

from __future__ import annotations

import ast
import copy
from collections.abc import Iterator

__all__ = ["changes"]

#: Kind of change and the new expression.
Change = tuple[str, ast.expr]

_COMPARISONS: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
}
_SIGNS: dict[type[ast.operator], type[ast.operator]] = {ast.Add: ast.Sub, ast.Sub: ast.Add}
_TERMS = (ast.Add, ast.Sub, ast.Mult, ast.BitAnd, ast.BitOr)
_EXTREMES = {"min": "max", "max": "min", "minimum": "maximum", "maximum": "minimum", "all": "any", "any": "all"}


def changes(node: ast.expr, tested: bool = False) -> Iterator[Change]:
    """Every change of one expression; ``tested``: it decides about a branch."""
    if tested and not _has_an_opposite(node):
        yield "condition", ast.UnaryOp(ast.Not(), node)
    if isinstance(node, ast.Constant):
        yield from _numbers(node)
    elif isinstance(node, ast.Compare):
        yield from _comparisons(node)
    elif isinstance(node, ast.BinOp):
        yield from _terms(node)
    elif isinstance(node, ast.BoolOp):
        yield from _conditions(node)
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        yield "condition", node.operand
    elif isinstance(node, ast.Call):
        yield from _extremes(node)


def _numbers(node: ast.Constant) -> Iterator[Change]:
    if isinstance(node.value, bool) or not isinstance(node.value, int | float):
        return
    yield "number", ast.Constant(node.value + 1)
    yield "number", ast.Constant(node.value - 1)


def _comparisons(node: ast.Compare) -> Iterator[Change]:
    for n, op in enumerate(node.ops):
        ops = list(node.ops)
        ops[n] = _COMPARISONS[type(op)]()
        yield "comparison", ast.Compare(node.left, ops, node.comparators)


def _terms(node: ast.BinOp) -> Iterator[Change]:
    if _is_text(node.left) or _is_text(node.right):
        return
    if type(node.op) in _SIGNS:
        yield "sign", ast.BinOp(node.left, _SIGNS[type(node.op)](), node.right)
    if isinstance(node.op, _TERMS):
        yield "term", node.left
        yield "term", ast.UnaryOp(ast.USub(), node.right) if isinstance(node.op, ast.Sub) else node.right
    if isinstance(node.op, ast.FloorDiv):
        up = ast.BinOp(ast.UnaryOp(ast.USub(), node.left), ast.FloorDiv(), node.right)
        yield "rounding", ast.UnaryOp(ast.USub(), up)


def _is_text(node: ast.expr) -> bool:
    return isinstance(node, ast.JoinedStr) or (isinstance(node, ast.Constant) and isinstance(node.value, str))


def _conditions(node: ast.BoolOp) -> Iterator[Change]:
    for n in range(len(node.values)):
        left = [v for m, v in enumerate(node.values) if m != n]
        yield "term", left[0] if len(left) == 1 else ast.BoolOp(node.op, left)


def _extremes(node: ast.Call) -> Iterator[Change]:
    if isinstance(node.func, ast.Name) and node.func.id in _EXTREMES:
        yield "extreme", ast.Call(ast.Name(_EXTREMES[node.func.id], ast.Load()), node.args, node.keywords)
    elif isinstance(node.func, ast.Attribute) and node.func.attr in _EXTREMES:
        func = copy.copy(node.func)
        func.attr = _EXTREMES[node.func.attr]
        yield "extreme", ast.Call(func, node.args, node.keywords)


def _has_an_opposite(node: ast.expr) -> bool:
    """Whether another kind of change negates it: ``not x``, ``a == b``, ``a in b``."""
    if isinstance(node, ast.UnaryOp):
        return isinstance(node.op, ast.Not)
    return isinstance(node, ast.Compare) and isinstance(node.ops[0], ast.Eq | ast.NotEq | ast.In | ast.NotIn | ast.Is)
