"""What a model must be before anything is computed with it: its bytes, structure, operators, sizes, and values.

Libraries that work on models (onnx, onnxslim, onnxruntime) allocate and loop as a model says, so that a small file
could take any memory or time. Everything here is cheap and comes before them: `wire` counts the fields of a file that
is not parsed yet, `structure` looks at names and stored tensors, `operators` at attributes and weights, `sizes` at the
shapes of all tensors, `values` at scales. The limits are in `limits`.
"""

from pimc.frontend.admit.model import admit_model, admit_quantised
from pimc.frontend.admit.wire import admit_bytes

__all__ = ["admit_bytes", "admit_model", "admit_quantised"]
