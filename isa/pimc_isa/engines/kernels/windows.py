"""Gathering windows: im2col in the order kernel-y, kernel-x, channel, and its description."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pimc_isa.engines.memory import need
from pimc_isa.jit import compiled
from pimc_isa.operands import Window

__all__ = ["WindowGeometry", "gather", "is_plain", "taps"]

Array = np.ndarray
_MANY = 1 << 20  # window elements from which memory may be short


@dataclass(frozen=True)
class WindowGeometry:
    """Where the windows of an output box lie in an input array [images, height, width, channels].

    ``out`` is rows x columns of output; ``origin`` the (possibly negative) array position of the first window's first
    tap; ``step`` the distance of neighbouring windows (rows, columns); ``chans`` the channels of the array to take.
    """

    out: tuple[int, int]
    origin: tuple[int, int]
    kernel: tuple[int, int]
    step: tuple[int, int]
    dilation: tuple[int, int]
    chans: tuple[int, int]
    pad_value: int

    @property
    def depth(self) -> int:
        """Length of one window's vector."""
        return self.kernel[0] * self.kernel[1] * (self.chans[1] - self.chans[0])

    @classmethod
    def of(
        cls,
        window: Window,
        rows: tuple[int, int, int],
        cols: tuple[int, int],
        at: tuple[int, int],
        chans: tuple[int, int],
    ) -> WindowGeometry:
        """For output rows (first, step, count) and columns over an array whose first element stands at ``at``."""
        first, step, count = rows
        return cls(
            out=(count, cols[1] - cols[0]),
            origin=(
                first * window.stride[0] - window.pads[0] - at[0],
                cols[0] * window.stride[1] - window.pads[1] - at[1],
            ),
            kernel=window.kernel,
            step=(step * window.stride[0], window.stride[1]),
            dilation=window.dilation,
            chans=chans,
            pad_value=window.pad_value,
        )


def is_plain(g: WindowGeometry, shape: tuple[int, ...]) -> bool:
    """Whether the windows are the array itself: 1x1 at every position, or one window over everything."""
    if g.origin != (0, 0) or g.chans != (0, shape[3]):
        return False
    if g.kernel == (1, 1):
        return g.step == (1, 1) and g.out == (shape[1], shape[2])
    return g.out == (1, 1) and g.dilation == (1, 1) and g.kernel == (shape[1], shape[2])


def gather(x: Array, g: WindowGeometry, first: int, count: int, out: Array) -> None:
    """Window vectors of ``count`` output rows (of all images in turn) from ``first`` on into ``out`` [.., depth]."""
    kernel = compiled(_gather_loops)
    rows, cols = g.out
    if kernel is None:
        _gather_numpy(x, g, first, count, out)
        return
    kernel(
        x.reshape(-1), x.shape[1], x.shape[2], x.shape[3], out.reshape(-1), first, count, rows, cols,
        g.origin[0], g.origin[1], g.kernel[0], g.kernel[1], g.step[0], g.step[1], g.dilation[0], g.dilation[1],
        g.chans[0], g.chans[1], g.pad_value,
    )  # fmt: skip


def taps(x: Array, g: WindowGeometry) -> Array:
    """All windows as [images, rows, columns, taps, channels]."""
    rows, cols = g.out
    size = g.kernel[0] * g.kernel[1]
    chans = g.chans[1] - g.chans[0]
    if size * rows * cols > _MANY:
        need(x.shape[0] * rows * cols * size * chans * x.itemsize, "the windows of an instruction")
    out = np.empty((x.shape[0], rows, cols, size, chans), x.dtype)
    for t in range(size):
        ky, kx = divmod(t, g.kernel[1])
        _shifted(x, g, ky, kx, out[:, :, :, t])
    return out


def _shifted(x: Array, g: WindowGeometry, ky: int, kx: int, out: Array) -> None:
    """One tap of every window: a strided slice of ``x``, with padding where it leaves the array."""
    (y0, ny, dst_y), (x0, nx, dst_x) = (
        _clip(g.origin[axis] + k * g.dilation[axis], g.step[axis], g.out[axis], x.shape[1 + axis])
        for axis, k in ((0, ky), (1, kx))
    )
    if (ny, nx) != g.out:
        out[...] = g.pad_value
    if ny == 0 or nx == 0:
        return
    source = x[:, y0 : y0 + (ny - 1) * g.step[0] + 1 : g.step[0], x0 : x0 + (nx - 1) * g.step[1] + 1 : g.step[1]]
    out[:, dst_y : dst_y + ny, dst_x : dst_x + nx] = source[..., g.chans[0] : g.chans[1]]


def _clip(start: int, step: int, count: int, size: int) -> tuple[int, int, int]:
    """First position inside the array, how many are inside, and the index of the first one."""
    skip = (step - 1 - start) // step if start < 0 else 0
    inside = min(count, (size - 1 - start) // step + 1) - skip if size > start + skip * step else 0
    return start + skip * step, max(0, inside), skip


def _gather_numpy(x: Array, g: WindowGeometry, first: int, count: int, out: Array) -> None:
    rows, cols = g.out
    images = slice(first // rows, (first + count - 1) // rows + 1)
    every = taps(x[images], g).reshape(-1, cols, g.depth)
    skip = first % rows
    out.reshape(count, cols, g.depth)[...] = every[skip : skip + count]


def _gather_loops(  # type: ignore[no-untyped-def]
    x, height, width, depth, out, first, count, rows, cols, oy, ox, kh, kw, sy, sx, dy, dx, c0, c1, pad
):
    # Inner loops run over slices from 0: only then does the compiler know that no index is negative, and vectorises.
    chans = c1 - c0
    run = kw * chans
    whole = dx == 1 and chans == depth
    position = 0
    for q in range(first, first + count):
        image = q // rows
        top = oy + (q - image * rows) * sy
        for column in range(cols):
            left = ox + column * sx
            for ky in range(kh):
                y = top + ky * dy
                to = out[position : position + run]
                position += run
                if y < 0 or y >= height:
                    to[:] = pad
                elif whole and left >= 0 and left + kw <= width:
                    base = ((image * height + y) * width + left) * depth
                    source = x[base : base + run]
                    for c in range(run):
                        to[c] = source[c]
                else:
                    for kx in range(kw):
                        pixel = to[kx * chans : (kx + 1) * chans]
                        at = left + kx * dx
                        if at < 0 or at >= width:
                            pixel[:] = pad
                        else:
                            base = ((image * height + y) * width + at) * depth + c0
                            source = x[base : base + chans]
                            for c in range(chans):
                                pixel[c] = source[c]
