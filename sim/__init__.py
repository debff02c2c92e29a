"""Simulators as gymnasium environments: ``sim.make(name, **options)``, or n at once: ``make_vec``."""

from sim.registry import available, make
from sim.vector import make_vec

__all__ = ["available", "make", "make_vec"]
