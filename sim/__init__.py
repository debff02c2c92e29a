"""Simulators as gymnasium environments: one by ``sim.make(name)``, n at once by ``make_vec``.

An adapter is a room: ``robosuite``, ``dmc``, ``mujoco`` (models of one's own), ``gym``,
``tabletop``. What they share is in ``base`` and ``rendering``, batches are in ``vector``, and what
is compiled is in ``engine``.
"""

from sim.batches import make_vec
from sim.registry import available, make

__all__ = ["available", "make", "make_vec"]
