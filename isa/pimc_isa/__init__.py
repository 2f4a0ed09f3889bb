"""The Neural-PIM ISA: programs, their text and binary forms, and the engines that run them.

This package is the contract between compilers and simulators. It imports nothing of the compiler, so that the
referee shares no code with the player.
"""

ISA_VERSION = "1.0"

__all__ = ["ISA_VERSION"]
