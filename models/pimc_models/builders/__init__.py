"""Seeded topologies: published network shapes with random weights. Reached through `pimc_models.zoo`."""
