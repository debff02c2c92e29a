"""Random numbers for robosuite, which draws from the global generators of numpy and Python.

Its modules see a ``numpy`` and a ``random`` that draw from generators of the thread's own while
``seeded`` lasts, and from the global ones otherwise. So two environments may be reset in two
threads, and nobody else's random numbers change.
"""

from __future__ import annotations

import contextlib
import importlib
import random
from collections.abc import Iterator
from contextvars import ContextVar
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

DRAWING = (
    "environments.manipulation.nut_assembly",
    "environments.manipulation.pick_place",
    "environments.manipulation.wipe",
    "models.arenas.wipe_arena",
    "models.objects.composite.hammer",
    "robots.robot",
    "utils.mjcf_utils",
    "utils.placement_samplers",
)


class Generators(NamedTuple):
    """What one thread draws from."""

    numpy: np.random.RandomState
    python: random.Random


_current: ContextVar[Generators | None] = ContextVar("generators", default=None)


class _Numpy(ModuleType):
    def __getattr__(self, name: str) -> Any:
        generators = _current.get()
        return generators.numpy if generators and name == "random" else getattr(np, name)


class _Random(ModuleType):
    def __getattr__(self, name: str) -> Any:
        generators = _current.get()
        return getattr(generators.python if generators else random, name)


@contextlib.contextmanager
def seeded(seed: int) -> Iterator[Generators]:
    """Let robosuite draw, in this thread, what it would draw from global generators so seeded."""
    generators = Generators(np.random.RandomState(seed), random.Random(seed))  # noqa: NPY002
    token = _current.set(generators)
    try:
        yield generators
    finally:
        _current.reset(token)


def separate() -> None:
    """Give robosuite's modules that draw random numbers a ``numpy`` and a ``random`` of ours."""
    stand_ins = {"np": _Numpy("numpy"), "random": _Random("random")}
    for module in DRAWING:
        loaded = importlib.import_module(f"robosuite.{module}")
        for name, stand_in in stand_ins.items():
            if isinstance(vars(loaded).get(name), ModuleType):
                setattr(loaded, name, stand_in)
