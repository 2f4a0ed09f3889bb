"""The static verifier of programs: everything that can be known without running one."""

from pimc_isa.check.program import check

__all__ = ["check"]
