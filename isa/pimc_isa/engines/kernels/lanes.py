"""Sixteen integers at once, as values in numba's loops: vectors whatever the compiler makes of a loop.

Imports numba, so it is imported only where a kernel is wanted. ``Lanes`` are sixteen 32-bit integers; ``Eight`` are
eight of these, one for each bit of an input. All operations wrap, as integers of the machine do. Arrays are
one-dimensional, and places in them are counted in elements.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic, models, register_model

__all__ = [
    "WIDTH",
    "bits_put",
    "capped",
    "clipped",
    "count_more",
    "count_ones",
    "count_own",
    "doubled",
    "either",
    "ends",
    "folded",
    "load",
    "load_bytes",
    "lowered",
    "minus",
    "multiples",
    "negative",
    "none",
    "plus",
    "put",
    "rounded",
    "same",
    "shifted",
    "store",
    "times",
]

#: Integers side by side.
WIDTH = 16
_BITS = 8
_INT = ir.IntType(32)
_VECTOR = ir.VectorType(_INT, WIDTH)
_EIGHT = ir.ArrayType(_VECTOR, _BITS)


class _Lanes(types.Type):
    """Sixteen integers."""


class _Eight(types.Type):
    """Sixteen integers for each of eight bits."""


_lanes, _eight = _Lanes("Lanes"), _Eight("Eight")


@register_model(_Lanes)
class _LanesModel(models.PrimitiveModel):
    def __init__(self, manager: Any, kind: Any) -> None:
        super().__init__(manager, kind, _VECTOR)  # type: ignore[no-untyped-call]


@register_model(_Eight)
class _EightModel(models.PrimitiveModel):
    def __init__(self, manager: Any, kind: Any) -> None:
        super().__init__(manager, kind, _EIGHT)  # type: ignore[no-untyped-call]


def _operation(result: Any, *takes: Any) -> Callable[[Callable[..., Any]], Any]:
    """Make an intrinsic of a function (builder, values...); ``takes`` None: an array, of which it gets the address."""

    def make(body: Callable[..., Any]) -> Any:
        def lower(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            given = [
                context.make_array(kind)(context, builder, value).data if wanted is None else value
                for wanted, kind, value in zip(takes, signature.args, values, strict=True)
            ]
            made = body(builder, *given)
            return context.get_dummy_value() if result is types.void else made

        def typed(arguments: Any) -> Any:
            kinds = (kind if wanted is None else wanted for wanted, kind in zip(takes, arguments, strict=True))
            return result(*kinds), lower

        return intrinsic(_of_arity(len(takes), typed))

    return make


def _of_arity(count: int, typed: Callable[[Any], Any]) -> Callable[..., Any]:
    """Numba counts an intrinsic's arguments by those of its function."""
    made: tuple[Callable[..., Any], ...] = (
        lambda context: typed(()),
        lambda context, a: typed((a,)),
        lambda context, a, b: typed((a, b)),
        lambda context, a, b, c: typed((a, b, c)),
        lambda context, a, b, c, d: typed((a, b, c, d)),
        lambda context, a, b, c, d, e: typed((a, b, c, d, e)),
    )
    return made[count]


def _constant(value: int) -> Any:
    return ir.Constant(_VECTOR, [value] * WIDTH)


def _splat(builder: Any, value: Any) -> Any:
    nothing = ir.Constant(_VECTOR, ir.Undefined)
    one = builder.insert_element(nothing, value, ir.Constant(_INT, 0))
    return builder.shuffle_vector(one, nothing, ir.Constant(_VECTOR, [0] * WIDTH))


def _place(builder: Any, data: Any, at: Any, kind: Any = _VECTOR) -> Any:
    return builder.bitcast(builder.gep(data, [at]), kind.as_pointer())


def _each(builder: Any, value: Any, change: Callable[[int, Any], Any]) -> Any:
    """The eight with each of them changed."""
    for bit in range(_BITS):
        value = builder.insert_value(value, change(bit, builder.extract_value(value, bit)), bit)
    return value


def _ones(builder: Any, words: Any) -> Any:
    """Set bits of each."""
    declare: Any = cgutils.get_or_insert_function
    count = declare(builder.module, ir.FunctionType(_VECTOR, [_VECTOR]), f"llvm.ctpop.v{WIDTH}i32")
    return builder.call(count, [words])


# ---- sixteen integers ----


@_operation(_lanes, None, types.intp)
def load(builder: Any, data: Any, at: Any) -> Any:
    """Sixteen elements of an array of 32-bit integers."""
    return builder.load(_place(builder, data, at), align=4)


@_operation(_lanes, None, types.intp)
def load_bytes(builder: Any, data: Any, at: Any) -> Any:
    """Sixteen elements of an array of bytes."""
    narrow = ir.VectorType(ir.IntType(8), WIDTH)
    return builder.zext(builder.load(_place(builder, data, at, narrow), align=1), _VECTOR)


@_operation(types.void, _lanes, None, types.intp)
def store(builder: Any, value: Any, data: Any, at: Any) -> None:
    """Put sixteen integers into an array."""
    builder.store(value, _place(builder, data, at), align=4)


@_operation(_lanes, types.int32)
def same(builder: Any, value: Any) -> Any:
    """One integer sixteen times."""
    return _splat(builder, value)


@_operation(_lanes, _lanes, _lanes)
def plus(builder: Any, a: Any, b: Any) -> Any:
    """Sums."""
    return builder.add(a, b)


@_operation(_lanes, _lanes, _lanes)
def times(builder: Any, a: Any, b: Any) -> Any:
    """Products."""
    return builder.mul(a, b)


@_operation(_lanes, _lanes, _lanes)
def minus(builder: Any, a: Any, mask: Any) -> Any:
    """``-a`` where the mask is -1, ``a`` where it is 0."""
    return builder.sub(builder.xor(a, mask), mask)


@_operation(_lanes, _lanes, types.int32)
def shifted(builder: Any, a: Any, places: Any) -> Any:
    """``a << places``."""
    return builder.shl(a, _splat(builder, places))


def _clip(builder: Any, a: Any, low: Any, high: Any) -> Any:
    return _least(builder, builder.select(builder.icmp_signed("<", a, low), low, a), high)


def _least(builder: Any, a: Any, high: Any) -> Any:
    return builder.select(builder.icmp_signed(">", a, high), high, a)


@_operation(_lanes, _lanes, types.int32, types.int32)
def clipped(builder: Any, a: Any, low: Any, high: Any) -> Any:
    """At least ``low``, then at most ``high``."""
    return _clip(builder, a, _splat(builder, low), _splat(builder, high))


@_operation(_lanes, _lanes, types.int32)
def rounded(builder: Any, a: Any, step: Any) -> Any:
    """The nearest multiples of ``step``, halves up."""
    wide = _splat(builder, step)
    raised = builder.add(a, builder.lshr(wide, _constant(1)))
    quotient = builder.sdiv(raised, wide)
    below = builder.icmp_signed("<", builder.sub(raised, builder.mul(quotient, wide)), _constant(0))
    return builder.mul(builder.add(quotient, builder.sext(below, _VECTOR)), wide)


@_operation(_lanes, _lanes, types.int32)
def multiples(builder: Any, a: Any, step: Any) -> Any:
    """As ``rounded``, for a step that is a power of two."""
    wide = _splat(builder, step)
    return builder.and_(builder.add(a, builder.lshr(wide, _constant(1))), builder.neg(wide))


@_operation(_lanes, _lanes, types.int32)
def lowered(builder: Any, a: Any, places: Any) -> Any:
    """``a >> places``."""
    return builder.ashr(a, _splat(builder, places))


@_operation(_lanes, _lanes, _lanes, types.int32)
def count_more(builder: Any, count: Any, cells: Any, word: Any) -> Any:
    """Add the ones that cells have in common with a word."""
    return builder.add(count, _ones(builder, builder.and_(cells, _splat(builder, word))))


@_operation(_lanes, _lanes, types.int32, types.int32)
def ends(builder: Any, a: Any, low: Any, high: Any) -> Any:
    """-1 where ``a`` is one of two integers, else 0."""
    hits = [builder.icmp_signed("==", a, _splat(builder, end)) for end in (low, high)]
    return builder.sext(builder.or_(*hits), _VECTOR)


@_operation(_lanes, _lanes, _lanes, _lanes)
def either(builder: Any, mask: Any, a: Any, b: Any) -> Any:
    """``a`` where the mask is -1, ``b`` where it is 0."""
    return builder.or_(builder.and_(mask, a), builder.and_(builder.not_(mask), b))


# ---- sixteen integers for each of eight bits ----


@_operation(_eight)
def none(builder: Any) -> Any:
    """Zeros."""
    return ir.Constant(_EIGHT, None)


@_operation(_eight, _eight, _lanes, None, types.intp, types.intp)
def count_ones(builder: Any, counts: Any, cells: Any, words: Any, at: Any, step: Any) -> Any:
    """Add the ones that cells have in common with a word of each bit: element ``at``, ``at + step`` and so on."""

    def counted(bit: int, count: Any) -> Any:
        where = builder.add(at, builder.mul(step, ir.Constant(step.type, bit)))
        word = _splat(builder, builder.load(builder.gep(words, [where])))
        return builder.add(count, _ones(builder, builder.and_(cells, word)))

    return _each(builder, counts, counted)


@_operation(_eight, _eight, _lanes, None, types.intp, types.intp)
def count_own(builder: Any, counts: Any, cells: Any, words: Any, at: Any, step: Any) -> Any:
    """As ``count_ones``, but each of the sixteen has a word of its own, one after the other from the element on."""

    def counted(bit: int, count: Any) -> Any:
        where = builder.add(at, builder.mul(step, ir.Constant(step.type, bit)))
        word = builder.load(_place(builder, words, where), align=4)
        return builder.add(count, _ones(builder, builder.and_(cells, word)))

    return _each(builder, counts, counted)


@_operation(_eight, _eight, _eight)
def doubled(builder: Any, sums: Any, counts: Any) -> Any:
    """Twice the sums plus the counts."""

    def next_sum(bit: int, total: Any) -> Any:
        return builder.add(builder.shl(total, _constant(1)), builder.extract_value(counts, bit))

    return _each(builder, sums, next_sum)


@_operation(_eight, _eight)
def negative(builder: Any, counts: Any) -> Any:
    """Minus the counts."""
    return _each(builder, counts, lambda bit, count: builder.neg(count))


@_operation(types.void, _eight, None, types.intp, types.intp)
def put(builder: Any, value: Any, data: Any, at: Any, step: Any) -> None:
    """Put eight times sixteen integers into an array: at ``at``, ``at + step`` and so on."""
    for bit in range(_BITS):
        where = builder.add(at, builder.mul(step, ir.Constant(step.type, bit)))
        builder.store(builder.extract_value(value, bit), _place(builder, data, where), align=4)


@_operation(_lanes, _eight, types.int32, types.int32)
def folded(builder: Any, value: Any, low: Any, high: Any) -> Any:
    """The eight, clipped, each times two to its bit, added."""
    limits = _splat(builder, low), _splat(builder, high)
    return _fold(builder, value, lambda part: _clip(builder, part, *limits))


@_operation(_lanes, _eight, types.int32)
def capped(builder: Any, value: Any, high: Any) -> Any:
    """As ``folded``, of what is never too low."""
    limit = _splat(builder, high)
    return _fold(builder, value, lambda part: _least(builder, part, limit))


def _fold(builder: Any, value: Any, change: Callable[[Any], Any]) -> Any:
    total = change(builder.extract_value(value, _BITS - 1))
    for bit in reversed(range(_BITS - 1)):
        total = builder.add(builder.shl(total, _constant(1)), change(builder.extract_value(value, bit)))
    return total


@_operation(_eight, _eight, _lanes, types.int32)
def bits_put(builder: Any, words: Any, value: Any, place: Any) -> Any:
    """Words with bit b of each value set at ``place`` in word b."""
    wide = _splat(builder, place)

    def with_bit(bit: int, word: Any) -> Any:
        one = builder.and_(builder.lshr(value, _constant(bit)), _constant(1))
        return builder.or_(word, builder.shl(one, wide))

    return _each(builder, words, with_bit)
