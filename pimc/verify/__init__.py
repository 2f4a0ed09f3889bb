"""Runs a program beside onnxruntime and compares every tensor, element by element."""

from pimc.verify.report import TensorReport, VerifyReport
from pimc.verify.run import verify

__all__ = ["TensorReport", "VerifyReport", "verify"]
