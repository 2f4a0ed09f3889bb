"""One network on several chips of the same area: what comes out, when, and for how much energy."""

from pimc.comparison.run import Comparison, compare

__all__ = ["Comparison", "compare"]
