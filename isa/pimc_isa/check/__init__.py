"""The static verifier of programs: everything that can be known without running one."""

from pimc_isa.check.program import check, check_structure, check_tensors

__all__ = ["check", "check_structure", "check_tensors"]
