"""The model that an episode was in, as robosuite and robomimic keep it beside their states."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from sim.robosuite.env import make

DRAWN = ("cameras", "image_size")  # options without which a model is the same


class Models:
    """A task whose states say in which model they were; make it with the options of its adapter."""

    def __init__(self, task: str, options: Mapping[str, Any]) -> None:
        """Make the task; UserError for an unknown one, or for options that it does not know."""
        plain = {name: value for name, value in options.items() if name not in DRAWN}
        self._env = make(task, plain)
        self._env.reset(seed=0)

    def of(self, state: np.ndarray) -> str:
        """Give the XML of the model in a state [S] of our adapter; ValueError for another size.

        MuJoCo writes the model that this process has loaded last: meanwhile no other may be.
        """
        self._env.set_state(np.asarray(state, np.float64))
        return self._env._env.sim.model.get_xml()

    def close(self) -> None:
        """Free the simulator."""
        self._env.close()
