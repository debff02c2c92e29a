"""Simulators as gymnasium environments: one by ``sim.make(name)``, n at once by ``make_vec``."""

from sim.registry import available, make
from sim.vector_make import make_vec

__all__ = ["available", "make", "make_vec"]
