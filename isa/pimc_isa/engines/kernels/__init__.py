"""Kernels of the values engine: integer products, window gathering, fused epilogues, pooling.

Each kernel has a loop form that numba compiles when it is installed and a numpy form that gives the same bytes.
"""
