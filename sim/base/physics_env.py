"""What environments on MuJoCo share: how episodes begin, and what a state of theirs is."""

from __future__ import annotations

from typing import Any

import gymnasium
import mujoco
import numpy as np

from robolearn.types import Observation, Spec
from sim.base.physics import Physics
from sim.base.spaces import ActionRange


class PhysicsEnv(gymnasium.Env):
    """Episodes from seeds or stored states; see ``robolearn.types.Environment``.

    A state [S] is that of ``physics`` and the number of control steps taken.
    """

    metadata = {"render_modes": []}
    interface: Spec
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

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Begin an episode; ``options={"state": state}`` begins it in a stored state [S]."""
        super().reset(seed=seed)
        if options and "state" in options:
            return self.set_state(options["state"]), {}
        self._begin_episode()
        return self._observe(), {}

    def restart(self, seed: int) -> None:
        """Begin the episode that a seed draws; show nothing."""
        raise NotImplementedError

    def get_state(self) -> np.ndarray:
        """Give the state float64 [S] from which ``set_state`` restarts bit-exactly."""
        return np.append(self.physics.get_state(), self._steps)

    def set_state(self, state: np.ndarray) -> Observation:
        """Restore what ``get_state`` of an environment with the same options gave."""
        state = self.physics.checked(state, self.physics.size + 1)
        self.physics.set_state(state[:-1])
        self._steps = int(state[-1])
        return self._observe()

    def _begin_episode(self) -> None:
        self.restart(int(self.np_random.integers(2**32)))

    def _observe(self) -> Observation:
        raise NotImplementedError
