"""Simulators as gymnasium environments: one by ``sim.make(name)``, n at once by ``make_vec``.

An adapter is a room: ``robosuite``, ``dmc``, ``mujoco`` (models of one's own), ``gym``,
``tabletop``. What they share is in ``base`` and ``rendering``, batches are in ``vector``, and what
is compiled is in ``engine``.

Importing it also makes them known to ``gymnasium.make`` (``sim.gymnasium_ids``).
"""

from sim.batches import make_vec
from sim.gymnasium_ids import register_ids
from sim.registry import available, make

__all__ = ["available", "make", "make_vec"]

register_ids()
