"""Errors a user can cause, one class per phase. Each message says what, where and the remedy in one to three lines."""

__all__ = ["AsmError", "DeadlockError", "FlowError", "MachineError", "PimcError", "ProgramError", "RunError"]


class PimcError(Exception):
    """Base of every error that is the input's fault; commands print it without a traceback and exit with code 2."""


class AsmError(PimcError):
    """Assembly text that does not parse: carries line, column and a caret."""


class ProgramError(PimcError):
    """A program file that is damaged, of another version, or refers to things that do not exist."""


class FlowError(PimcError):
    """An analog micro-program with a structural hazard or an impossible step."""


class MachineError(PimcError):
    """A machine description with a missing or impossible value."""


class RunError(PimcError):
    """Inputs of the wrong shape or type, or a program that cannot be run."""


class DeadlockError(RunError):
    """A program in which every unit waits; the message says who waits for whom."""
