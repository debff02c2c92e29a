"""Simulators as gymnasium environments: ``sim.make(name, **options)``."""

from sim.registry import available, make

__all__ = ["available", "make"]
