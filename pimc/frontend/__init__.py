"""The front end: ONNX models, float or 8-bit, to the graph of quantised ops."""

from pimc.frontend.errors import FrontendError
from pimc.frontend.load import load_model

__all__ = ["FrontendError", "load_model"]
