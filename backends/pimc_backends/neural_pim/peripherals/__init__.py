"""Training of the Neural-PIM peripherals: the scripts, the committed parameters and the measurements."""

from pimc_backends.neural_pim.peripherals.store import PARAMETERS, Variants, load, load_variants, save

__all__ = ["PARAMETERS", "Variants", "load", "load_variants", "save"]
