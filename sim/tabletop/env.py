"""A Panda at a table with one to three objects, as an environment.

``tabletop/cube``, ``tabletop/cylinder``, ``tabletop/mug``, or several: ``tabletop/cube+mug``,
``tabletop/cube+cube+cylinder``. What is seen: ``sim.tabletop.state``; what is rewarded, forbidden
and asked for: ``sim.tabletop.task``; what an action does: ``sim.tabletop.physics``; the model:
``sim.tabletop.model``.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping
from typing import Any

import numpy as np

from robolearn.errors import UserError
from robolearn.types import Observation
from sim.base.options import choose, parse
from sim.base.physics_env import PhysicsEnv
from sim.rendering.images import Images
from sim.tabletop.batch import Tabletop
from sim.tabletop.model import COLLISION_GROUP, KINDS
from sim.tabletop.task import TabletopOptions

MOST_OBJECTS = 3


def make(name: str, options: Mapping[str, Any]) -> TabletopEnv:
    """Make the environment with these objects; raise UserError for an unknown one or option."""
    return TabletopEnv(kinds_of(name), parse(TabletopOptions, options, f"tabletop/{name}"))


def names() -> list[str]:
    """List the names of one to three objects; their order is free."""
    counts = range(1, MOST_OBJECTS + 1)
    return [
        "+".join(kinds)
        for count in counts
        for kinds in itertools.combinations_with_replacement(KINDS, count)
    ]


def kinds_of(name: str) -> list[str]:
    """Take ``cube+mug`` apart; raise UserError for an unknown object or too many."""
    kinds = [choose(kind, KINDS, f"tabletop/{name}", "object") for kind in name.split("+")]
    if len(kinds) > MOST_OBJECTS:
        raise UserError(f"tabletop/{name}: {len(kinds)} objects; {MOST_OBJECTS} at most")
    return kinds


class TabletopEnv(PhysicsEnv):
    """One table; see ``robolearn.types.Environment``."""

    def __init__(self, kinds: list[str], options: TabletopOptions) -> None:
        self.tabletop = Tabletop(kinds, options, n=1, seen=True)
        self.horizon = options.horizon
        self.model, self.data = self.tabletop.model, self.tabletop.physics.data[0]
        self._images = Images(
            self.model, self.data, options, self.tabletop.where, (COLLISION_GROUP,), keep=("table",)
        )
        interface = self.tabletop.interface
        observations = interface.observations | self._images.specs
        self._present(
            dataclasses.replace(interface, observations=observations), options.render_mode
        )

    def _step(self, action: np.ndarray) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        outcome = self.tabletop.step(action[None], [0], pool=None, threads=1)
        success = bool(outcome.success[0])
        terms = {name: float(value[0]) for name, value in outcome.terms.items()}
        info = {"success": success, "is_success": success, "reward_terms": terms}
        failures = self.tabletop.physics.failures([0])
        if failures:
            info["error"] = failures[0]
        truncated = bool(self.tabletop.steps[0] >= self.horizon) or bool(failures)
        reward, thrown = float(outcome.reward[0]), bool(outcome.thrown[0])
        return self._observe(), reward, thrown, truncated, info

    @property
    def _own_state_size(self) -> int:
        return self.tabletop.state_size

    def set_goals(self, goals: np.ndarray) -> Observation:
        """Give every object another goal, [K, 4] (x, y, z in metres, yaw); return what is seen.

        Raises SpecError for goals of another shape and DataError for some that are not finite.
        """
        self._require_begun("its goals are set")
        self.tabletop.set_goals(goals)
        return self._observe()

    def _begin_episode(self) -> Observation:
        self.tabletop.restart(0, self.np_random)
        return self._observe()

    def _get_state(self) -> np.ndarray:
        return self.tabletop.get_state(0)

    def _set_state(self, state: np.ndarray) -> Observation:
        self.tabletop.set_state(0, state)
        return self._observe()

    def _observe(self) -> Observation:
        return {"state": self.tabletop.observe()[0], **self._images.observe()}
