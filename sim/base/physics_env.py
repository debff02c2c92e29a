"""What environments on MuJoCo share: how episodes begin, and what a state of theirs is."""

from __future__ import annotations

import mujoco
import numpy as np

from robolearn.types import Observation
from sim.base.env import Env
from sim.base.physics import Physics
from sim.base.spaces import ActionRange


class PhysicsEnv(Env):
    """Episodes from seeds or stored states; see ``robolearn.types.Environment``.

    A state [S] is that of ``physics`` and the number of control steps taken.
    """

    model: mujoco.MjModel
    physics: Physics
    action_range: ActionRange
    substeps: int  # of the physics in a control step
    horizon: float  # control steps of an episode; infinite where nothing ends it
    _steps: int

    @property
    def mujoco_state_size(self) -> int:
        """How many leading entries of a state are time, qpos and qvel."""
        return 1 + self.model.nq + self.model.nv

    @property
    def _own_state_size(self) -> int:
        return self.physics.size + 1

    def restart(self, seed: int) -> None:
        """Begin the episode that a seed draws; show nothing."""
        raise NotImplementedError

    def _begin_episode(self) -> Observation:
        self.restart(int(self.np_random.integers(2**32)))
        return self._observe()

    def _get_state(self) -> np.ndarray:
        return np.append(self.physics.get_state(), self._steps)

    def _set_state(self, state: np.ndarray) -> Observation:
        self.physics.set_state(state[:-1])
        self._steps = int(state[-1])
        return self._observe()

    def _observe(self) -> Observation:
        raise NotImplementedError
