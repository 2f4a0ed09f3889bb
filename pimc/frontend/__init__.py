"""The front end: ONNX models, float or 8-bit, to the graph of quantised ops."""

from pimc.frontend.calibration import CalibrationWarning
from pimc.frontend.check import CheckReport, NodeReport, check_model
from pimc.frontend.errors import FrontendError
from pimc.frontend.external import external_files
from pimc.frontend.load import load_model
from pimc.frontend.options import CalibrationMethod, QuantiserOptions

__all__ = [
    "CalibrationMethod",
    "CalibrationWarning",
    "CheckReport",
    "FrontendError",
    "NodeReport",
    "QuantiserOptions",
    "check_model",
    "external_files",
    "load_model",
]
