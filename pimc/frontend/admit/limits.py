"""Limits on models, each well above real networks."""

from __future__ import annotations

__all__ = [
    "MAX_ELEMENTS",
    "MAX_FIELDS",
    "MAX_FLOAT_NODES",
    "MAX_FOLDED",
    "MAX_INPUT_ELEMENTS",
    "MAX_LINKS",
    "MAX_LISTED",
    "MAX_NAME",
    "MAX_NESTING",
    "MAX_NODES",
    "MAX_RANK",
]

MAX_FIELDS = 1_000_000
"""Protobuf fields of a file; a network of 10,000 nodes has some 200,000."""
MAX_NODES = 10_000
"""Nodes, those of subgraphs and called functions counted each time; NASNet-A Large, quantised, has some 5,000."""
MAX_FLOAT_NODES = 2_500
"""Nodes of a float model that are no Constant: its clean-up takes 2 ms a node. NASNet-A Large has some 1,500."""
MAX_LINKS = 256
"""Inputs, or outputs, of one node; DenseNet-264 joins 65."""
MAX_NESTING = 8
"""Graphs in attributes of nodes of graphs."""
MAX_NAME = 1_000
"""Characters of a name."""
MAX_RANK = 16
"""Axes of a tensor."""
MAX_INPUT_ELEMENTS = 1 << 26
"""Elements of one input: 4096 x 4096 pixels in four channels."""
MAX_ELEMENTS = 1 << 30
"""Elements of any tensor of one image: 64 channels of 4096 x 4096."""
MAX_LISTED = 1 << 18
"""Elements of all lists together that Concat nodes join."""
MAX_FOLDED = 160_000_000
"""Elements of all constants together that nodes compute from other constants; VGG-19 has 144,000,000 weights."""
