"""Weights on crossbars: cells, what they take, and when their sums are exact."""
