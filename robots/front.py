"""A robot in front of another one: what it is, and how it is, are that one's."""

from __future__ import annotations

from collections.abc import Mapping

from robots.base import Features, Joint, LifeCycle, Robot


class InFront:
    """The facts of a Robot, as the one behind it gives them; subclasses add what is done."""

    def __init__(self, robot: Robot) -> None:
        self.robot = robot

    @property
    def name(self) -> str:
        """The robot's."""
        return self.robot.name

    @property
    def joints(self) -> tuple[Joint, ...]:
        """The robot's."""
        return self.robot.joints

    @property
    def life_cycle(self) -> LifeCycle:
        """The robot's."""
        return self.robot.life_cycle

    @property
    def observation_features(self) -> Features:
        """The robot's."""
        return self.robot.observation_features

    @property
    def action_features(self) -> Features:
        """The robot's."""
        return self.robot.action_features

    @property
    def is_connected(self) -> bool:
        """The robot's."""
        return self.robot.is_connected

    @property
    def is_calibrated(self) -> bool:
        """The robot's."""
        return self.robot.is_calibrated

    @property
    def measured_s(self) -> Mapping[str, float]:
        """The robot's."""
        return self.robot.measured_s
