"""Passes over the graph IR, one file each, and the manager that runs them."""
