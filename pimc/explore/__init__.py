"""Design-space exploration: one machine for each point of a grid, scored by its peak and by a network's program."""

from pimc.explore.run import Exploration, explore

__all__ = ["Exploration", "explore"]
