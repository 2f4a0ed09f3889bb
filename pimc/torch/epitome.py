"""A convolution whose weights are windows of a smaller tensor, which is what is trained.

Source: epitomes with whole-numbered offsets, as EPIM uses them (arXiv 2311.07620; recalled). Autograd gives every
element of the epitome the sum of the gradients of all weights that it is.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from pimc.epitomes.epitome import even_offsets

__all__ = ["EpitomeConv2d", "even_offsets"]

Offset = tuple[int, int, int, int]


class EpitomeConv2d(nn.Module):  # type: ignore[misc]  # torch is an extra, and without it has no types
    """As `torch.nn.Conv2d`, but its weights [O, I/groups, kh, kw] are blocks cut out of ``epitome``.

    ``epitome``: its shape (outputs, inputs, rows, columns). ``block``: outputs and inputs of a block, by default the
    epitome's, as far as the layer has them; the last ones are cut short. ``offsets`` [output blocks][input blocks] says
    where each begins, in even steps by default. Output blocks with the same offsets are wrapped: copies of each other.
    Raises ValueError for shapes that do not fit.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, int],
        epitome: Offset,
        *,
        block: tuple[int, int] | None = None,
        offsets: Sequence[Sequence[Offset]] | None = None,
        stride: int | tuple[int, int] = 1,
        padding: int | tuple[int, int] | str = 0,
        dilation: int | tuple[int, int] = 1,
        groups: int = 1,
        bias: bool = True,
    ) -> None:
        super().__init__()
        if in_channels % groups or out_channels % groups:
            raise ValueError(f"{in_channels} inputs and {out_channels} outputs do not make {groups} groups")
        kernel = (kernel_size, kernel_size) if isinstance(kernel_size, int) else kernel_size
        self.weight_shape = (out_channels, in_channels // groups, *kernel)
        self.block = block or (min(epitome[0], out_channels), min(epitome[1], in_channels // groups))
        blocks = (math.ceil(out_channels / self.block[0]), math.ceil(self.weight_shape[1] / self.block[1]))
        room = tuple(e - b for e, b in zip(epitome, (*self.block, *kernel), strict=True))
        if min(room) < 0:
            raise ValueError(f"an epitome of {epitome} has no block of {(*self.block, *kernel)}; make it larger")
        given = even_offsets(blocks, room) if offsets is None else offsets
        self.offsets = [[tuple(int(n) for n in offset) for offset in row] for row in given]
        self._refuse_offsets(blocks, room)
        self.stride, self.padding, self.dilation, self.groups = stride, padding, dilation, groups
        self.epitome = nn.Parameter(torch.empty(epitome))
        self.bias = nn.Parameter(torch.zeros(out_channels)) if bias else None
        nn.init.kaiming_uniform_(self.epitome, nonlinearity="relu")
        with torch.no_grad():  # the fan is the layer's, not the epitome's
            self.epitome.mul_(math.sqrt(math.prod(epitome[1:]) / math.prod(self.weight_shape[1:])))

    def _refuse_offsets(self, blocks: tuple[int, int], room: tuple[int, ...]) -> None:
        if [len(row) for row in self.offsets] != [blocks[1]] * blocks[0]:
            raise ValueError(f"offsets are needed for {blocks[0]} x {blocks[1]} blocks")
        for row in self.offsets:
            for offset in row:
                if len(offset) != 4 or any(not 0 <= n <= most for n, most in zip(offset, room, strict=True)):
                    raise ValueError(f"offset {offset} is outside the epitome; offsets are at most {tuple(room)}")

    @property
    def weight(self) -> Any:
        """The weights [O, I/groups, kh, kw], made anew: windows side by side; wrapped blocks are made once."""
        made: dict[tuple[Any, int], Any] = {}
        rows = []
        for m, offsets in enumerate(self.offsets):
            size = min(self.block[0], self.weight_shape[0] - m * self.block[0])
            key = (tuple(offsets), size)
            if key not in made:
                made[key] = torch.cat([self._window(offset, size, n) for n, offset in enumerate(offsets)], 1)
            rows.append(made[key])
        return torch.cat(rows, 0)

    def _window(self, offset: Sequence[int], outputs: int, n: int) -> Any:
        inputs = min(self.block[1], self.weight_shape[1] - n * self.block[1])
        o, i, y, x = offset
        kh, kw = self.weight_shape[2:]
        return self.epitome[o : o + outputs, i : i + inputs, y : y + kh, x : x + kw]

    def forward(self, x: Any) -> Any:
        """Convolve [N, C, H, W] with the weights."""
        how = (self.stride, self.padding, self.dilation, self.groups)
        return functional.conv2d(x, self.weight, self.bias, *how)

    def extra_repr(self) -> str:
        """What is shown of it."""
        shape = "x".join(map(str, self.epitome.shape))
        return f"{'x'.join(map(str, self.weight_shape))} of {shape}, blocks {self.block[0]}x{self.block[1]}"
