"""Observations of robosuite's raw files: every state is put into the task, and looked at."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import h5py
import numpy as np

from demos.formats.hdf5 import attribute
from demos.formats.terms import About
from robolearn.errors import DataError, UserError
from robolearn.names import load

PART = ("kp", "damping_ratio", "impedance_mode", "input_max", "input_min", "output_max",
        "output_min", "input_type", "input_ref_frame", "type")  # fmt: skip


class Recorded:
    """The task of a raw file; ``options`` are those with which our adapter makes it."""

    def __init__(
        self,
        task: str,
        arguments: Mapping[str, Any],
        cameras: Sequence[str],
        image_size: Sequence[int],
        where: str,
    ) -> None:
        """Make the task that ``arguments`` describe, robosuite's; DataError if that fails."""
        options = options_of(arguments)
        drawn = {"cameras": list(cameras), "image_size": list(image_size)} if cameras else {}
        make = load("sim.robosuite.recorded:Recorded")
        self.note = "observations: computed from the states, in each episode's own model"
        try:
            self._world = make(task, options | drawn)
        except UserError as error:
            if "controller" not in options:
                raise DataError(f"{where}: {error}") from error
            del options["controller"]  # no observation depends on it
            self._world = self._made(make, task, options | drawn, where)
            self.note += f"; its controller is not known here ({error})"
        self.options = options | drawn
        self._knows_controller = "controller" in options or "controller_configs" not in arguments

    def _made(self, make: Any, task: str, options: Mapping[str, Any], where: str) -> Any:
        try:
            return make(task, options)
        except UserError as error:
            raise DataError(f"{where}: {error}") from error

    def describe(self, about: About) -> About:
        """Add what the task says of its state, its actions, its robot and its controller."""
        spec = self._world.interface
        known = self._knows_controller
        return dataclasses.replace(
            about,
            environment=spec.environment,
            period_s=spec.period_s,
            robot=spec.robot,
            controller=dict(spec.controller) if known else {},
            entries={"state": spec.observations["state"].names},
            action_names=spec.action.names if known else (),
            spec=spec if known else None,
        )

    def observe(
        self, demo: h5py.Group, states: np.ndarray | None, where: str
    ) -> dict[str, np.ndarray]:
        """Give the observations [T, ...] in the states [T, D] of a demonstration."""
        if states is None or states.ndim != 2 or not len(states):
            raise DataError(f"{where} has neither observations nor states")
        try:
            self._world.use(attribute(demo, "model_file"))
            seen = [self._world.observe(np.asarray(state, np.float64)) for state in states]
        except (UserError, ValueError) as error:
            raise DataError(f"{where}: {str(error).splitlines()[0]}") from error
        return {name: np.stack([one[name] for one in seen]) for name in seen[0]}

    def close(self) -> None:
        """Free the simulator."""
        self._world.close()


def options_of(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Give our adapter's options that mean what robosuite's arguments mean."""
    found: dict[str, Any] = {}
    robots = arguments.get("robots")
    if isinstance(robots, str) and robots:
        found["robot"] = robots
    elif isinstance(robots, list) and robots and all(isinstance(r, str) for r in robots):
        found["robot"] = robots[0] if len(robots) == 1 else robots
    rate = arguments.get("control_freq")
    if isinstance(rate, int | float) and rate > 0 and rate == int(rate):
        found["control_hz"] = int(rate)
    controller = arguments.get("controller_configs")
    if isinstance(controller, list) and controller:
        controller = controller[0]
    if isinstance(controller, dict) and "body_parts" in controller:
        found["controller"] = controller
    elif isinstance(controller, dict) and "type" in controller:
        found["controller"] = {key: controller[key] for key in PART if key in controller}
    return found
