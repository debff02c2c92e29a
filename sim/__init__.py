"""Simulators as gymnasium environments: one by ``sim.make(name)``, n at once by ``make_vec``."""

from sim.batches import make_vec
from sim.registry import available, make

__all__ = ["available", "make", "make_vec"]
