"""Layers of random programs that work row by row, without a window."""

from __future__ import annotations

import numpy as np

from pimc_isa.instructions import (
    Add,
    Copy,
    Lut,
    Max,
    Min,
    Mul,
    Sub,
    Sum,
)
from pimc_isa.operands import (
    RowExpr,
    Slab,
    Table,
)
from tests.properties.drafts import (
    NEXT,
    Draft,
    I,
    Tensor,
    strips,
)

PAIRS = {op.mnemonic: op for op in (Add, Mul, Sub, Max, Min, Sum)}


class RowLayers(Draft):
    """Tables, two-input operations, concatenation and row maps."""

    def lut(self, x: Tensor) -> Tensor:
        y = Tensor(*x.shape)
        shape = (y.channels, 256) if self.rng.random() < 0.3 else (256,)
        table = self.data("t", np.random.default_rng(self.rng.randrange(1 << 30)).integers(0, 256, shape, np.uint8))
        for cols in strips(self.rng, y.width, 2):
            t = self.tile("lut")
            t.tables.append(Table("t", table))
            self.source(t, x, "x", cols, 1 + self.extra(3))
            self.ring(t, "y", y, cols)
            body = [*self.receive(t, NEXT), Lut(Slab("y", I), Slab("x", I, cols), "t"), *self.sends(t, y, cols)]
            self.finish(t, y.rows, body)
        return y

    def pair(self, a: Tensor, b: Tensor) -> Tensor:
        """Combine two tensors element by element, or concatenate them."""
        rng = self.rng
        kind = rng.choice([*PAIRS, "concat"]) if a.shape == b.shape else "concat"
        y = Tensor(a.rows, a.width, a.channels + b.channels if kind == "concat" else a.channels)
        scales = self.elementwise()
        for cols in strips(rng, y.width, 2):
            t = self.tile(kind)
            t.elementwises.append(scales)
            for name, x in (("a", a), ("b", b)):
                self.source(t, x, name, cols, 1 + (a.rows if rng.random() < 0.5 else self.extra(4)))
            self.ring(t, "y", y, cols)
            body = self.receive(t, NEXT)
            if kind == "concat":
                body.append(Copy(Slab("y", I, None, (0, a.channels)), Slab("a", I, cols)))
                body.append(Copy(Slab("y", I, None, (a.channels, y.channels)), Slab("b", I, cols)))
            else:
                body.append(PAIRS[kind](Slab("y", I), Slab("a", I, cols), Slab("b", I, cols), "e"))
            self.finish(t, y.rows, [*body, *self.sends(t, y, cols)])
        return y

    def stretch(self, x: Tensor) -> Tensor:
        """Every row twice."""
        y = Tensor(2 * x.rows, x.width, x.channels)
        t = self.tile("stretch")
        cols = (0, x.width)
        self.source(t, x, "x", cols, 1 + self.extra(3))
        self.ring(t, "y", y, cols)
        body = [*self.receive(t, RowExpr(1, 2, 2)), Copy(Slab("y", I), Slab("x", RowExpr(1, 0, 2)))]
        self.finish(t, y.rows, [*body, *self.sends(t, y, cols)])
        return y
