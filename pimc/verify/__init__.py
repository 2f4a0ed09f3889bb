"""Runs a program beside onnxruntime and compares every tensor, element by element."""

from pimc.verify.report import TensorReport, VerifyReport
from pimc.verify.run import verify
from pimc.verify.trials import TrialsReport, verify_trials

__all__ = ["TensorReport", "TrialsReport", "VerifyReport", "verify", "verify_trials"]
