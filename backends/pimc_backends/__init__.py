"""Targets: one folder per chip, each with its machine file, pipeline and emitter."""
