"""Random programs whose convolutions work in rounds: any weights, smaller or larger than what they stand for."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import numpy as np

from pimc_isa.define import Instr
from pimc_isa.instructions import Mvm, Mvma, Quant, Recv, Send
from pimc_isa.operands import Group, Range, Rounds, RowExpr, Slab, Weights, Window
from pimc_isa.program import Program
from tests.properties.drafts import NEXT, I, Tensor, TileDraft, strips
from tests.properties.drafts_flows import GUARDED, KINDS, SIGNED, make_cells, make_flow, make_guarded, make_signed
from tests.properties.drafts_rounds import Plan, group_of, random_plan
from tests.properties.programs import Drafter

__all__ = ["random_rounds_program"]

Array = np.ndarray
Part = tuple[Range, Group]  # the channels that a group makes, and the group


class RoundsDrafter(Drafter):
    """A drafter whose crossbars are so narrow that a row block takes several of them."""

    def __init__(self, rng: Random) -> None:
        super().__init__(rng)
        self.columns = rng.choice([8, 16, 24, 128])
        self.rounds: list[Rounds] = []

    def conv(self, x: Tensor) -> Tensor:
        rng = self.rng
        w = self.window(x, rng.randint(0, 255))
        y = self.windowed(x, w, rng.randint(1, 5))
        weights, flow, scale = self._weights()
        parts = [self._group(weights, flow, scale, w, x, part) for part in strips(rng, y.channels, 2)]
        more = self._group(weights, flow, scale, w, x, (0, y.channels)) if rng.random() < 0.4 else None
        for cols in strips(rng, y.width, 3):
            if more and rng.random() < 0.5:
                self._rounds_chained(x, y, w, cols, parts, more)
            else:
                self._rounds_tile(x, y, w, cols, [*parts, *([more] if more else [])])
        return y

    def _weights(self) -> tuple[Weights, str, tuple[float, float]]:
        """Cells of any weights, and a flow that reads them."""
        rng, name = self.rng, f"w{len(self.weights)}"
        k, n = rng.randint(1, 14), rng.randint(1, 6)
        block_rows = rng.randint(1, 8)
        slices = rng.choice([(2, 2, 2, 2), (4, 4), (1, 3, 4), (8,)])
        values = np.random.default_rng(rng.randrange(1 << 30)).integers(-128, 128, (1, k, n)).astype(np.int8)
        kind = rng.choice(KINDS) if rng.random() < 0.7 else "offset"
        kind = rng.choice(SIGNED if self.signed else GUARDED) if self.guarded else kind
        cells = make_cells(kind, values, slices, block_rows)
        self.weights.append(Weights(name, 1, k, n, block_rows, slices, kind != "offset"))
        for part in ("codes", "polarity", "centre"):
            self.tensors[f"{name}.{part}"] = getattr(cells, part)
        flow, exact = f"f{len(self.flows)}", rng.random() < 0.6
        if self.signed:
            made, self.zero = make_signed(rng, flow, kind, slices), rng.randint(0, 255)
        else:
            made = make_guarded(rng, flow, kind, slices) if self.guarded else make_flow(rng, flow, kind, slices, exact)
        self.flows.append(made)
        scale = (rng.choice([0.5, 0.125, 0.02]), rng.choice([1.0, 3.0, 17.0])) if "ranged" in kind else (0.0, 1.0)
        return self.weights[-1], self.flows[-1].name, scale

    def _group(
        self, weights: Weights, flow: str, scale: tuple[float, float], w: Window, x: Tensor, outputs: Range
    ) -> Part:
        """A group over some row blocks and outputs of the weights, and the channels that it makes."""
        rng, name = self.rng, f"r{len(self.rounds)}"
        blocks, first = rng.choice(strips(rng, weights.blocks, 2)), rng.randint(0, weights.n - 1)
        k = blocks[0] * weights.block_rows, min(weights.k, blocks[1] * weights.block_rows)
        n = first, rng.randint(first + 1, weights.n)
        inputs = w.kernel[0] * w.kernel[1] * x.channels
        sizes = Plan(weights, k, n, inputs, outputs, self.columns // weights.columns)
        plan = random_plan(rng, sizes)
        self.rounds.append(plan.declared(name))
        self.tensors.update(plan.tensors(name, rng))
        return outputs, replace(group_of(plan, name, flow, rng.randint(1, 3), scale), zero=self.zero)

    def _rounds_tile(self, x: Tensor, y: Tensor, w: Window, cols: Range, groups: list[Part]) -> None:
        t = self.tile("rounds")
        body = [*self._received(t, x, y, w, cols), *_products(t, y, groups)]
        self._finished(t, y, cols, body)

    def _rounds_chained(self, x: Tensor, y: Tensor, w: Window, cols: Range, parts: list[Part], more: Part) -> None:
        """A second tile adds to the sums of a first."""
        first, second = self.tile("partial"), self.tile("sum")
        link = self.channel(first.number)
        body = [*self._received(first, x, y, w, cols), *_products(first, y, parts)]
        self.finish(first, y.rows, [*body, Send(link, Slab("acc", I))])
        body = self._received(second, x, y, w, cols)
        second.recvs.append((Slab("acc", RowExpr()), link))
        self.dests[link].append(second.number)
        second.groups.append(more[1])
        body += [Recv(Slab("acc", RowExpr()), link, NEXT), Mvma(Slab("acc", I), "x", "w", "g")]
        self._finished(second, y, cols, body)

    def _received(self, t: TileDraft, x: Tensor, y: Tensor, w: Window, cols: Range) -> list[Instr]:
        until = self.window_source(t, x, w, cols)
        self.ring(t, "acc", y, cols, "i32")
        return self.receive(t, until)

    def _finished(self, t: TileDraft, y: Tensor, cols: Range, body: list[Instr]) -> None:
        self.ring(t, "y", y, cols)
        self.requant(t, y.channels)
        self.finish(t, y.rows, [*body, Quant(Slab("y", I), Slab("acc", I), "q"), *self.sends(t, y, cols)])

    def program(self, layers: int) -> Program:
        made = super().program(layers)
        array = replace(made.machine.array, columns=self.columns)
        return replace(made, rounds=tuple(self.rounds), machine=replace(made.machine, array=array))


def _products(t: TileDraft, y: Tensor, groups: list[Part]) -> list[Instr]:
    """Products of all groups: stored, or added where all channels are there already."""
    body: list[Instr] = []
    made = 0
    for number, (chans, group) in enumerate(groups):
        t.groups.append(replace(group, name=f"g{number}"))
        kind: type[Mvm | Mvma] = Mvma if made == y.channels else Mvm
        body.append(kind(Slab("acc", I, None, chans), "x", "w", f"g{number}"))
        made = chans[1]
    return body


def random_rounds_program(rng: Random, most_layers: int = 3, guarded: bool = False, signed: bool = False) -> Program:
    """A program of up to ``most_layers`` layers, of which convolutions work in rounds; others: see `programs`."""
    drafter = RoundsDrafter(rng)
    drafter.guarded, drafter.signed = guarded or signed, signed
    return drafter.program(rng.randint(1, most_layers))
