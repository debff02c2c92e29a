"""A leader arm: a small arm that a person moves by hand, and another arm follows.

It is any robot of ``robots.registry``, read in a thread of its own and never activated. Each of
its joints says a share of its range, and the follower's joint of the same name goes to the same
share of its own: arms of different makes go together. That the follower does not jump when it
begins, and stops when nothing comes, is its guard's affair.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from pydantic import PositiveFloat

from demos.devices.contracts import Button, Command, Heard, Help, Setting, as_policy
from robolearn.errors import SpecError, UserError
from robolearn.names import load
from robolearn.settings import Settings
from robolearn.types import Observation, Spec

HELP: Help = (("the leader arm", "move it: the other arm follows, gripper too"),)
CLOSING_S = 2.0  # a reading that takes longer than this is not waited for


@dataclass(frozen=True)
class LeaderConfig(Settings):
    """Which arm the person has in hand."""

    robot: str = "so101"
    """Its name, as ``robolearn robots list`` has it."""
    options: dict[str, Any] = field(default_factory=dict)
    """Of this robot: ``{port: /dev/ttyACM1, name: leader}``."""
    rate_hz: PositiveFloat = 30.0
    """How often it is read."""
    stale_s: PositiveFloat = 0.2
    """Age of its last reading beyond which the follower stays where it is."""
    hands_free: bool = False
    """Whether demonstrations begin by themselves, and are decided on as proposed."""


class Leader:
    """A Device that an arm of its own is; see the module."""

    name, help, setting, start_state = "leader arm", HELP, Setting(), None

    def __init__(
        self, config: LeaderConfig, interface: Spec, make: Callable[..., Any] | None = None
    ) -> None:
        """Make the arm, which is not opened yet.

        Raises SpecError unless the follower's actions are positions of the leader's joints.
        """
        self.config = config
        self._arm = (make or load("robots.registry:make_robot"))(config.robot, config.options)
        joints = tuple(joint.name for joint in self._arm.joints)
        if interface.action.names != joints:
            raise SpecError(
                f"device: leader {config.robot} has joints {', '.join(joints)}, but actions are "
                f"{', '.join(interface.action.names)}; env.options.action: {{kind: joints}}?"
            )
        self._lock = threading.Lock()
        self._latest: tuple[np.ndarray, float] | None = None  # action [A], when it was read
        self._lost = ""
        self._held = np.zeros(len(joints), np.float32)
        self._ending = threading.Event()
        self._thread: threading.Thread | None = None

    def open(self) -> None:
        """Connect the arm, wait for its first reading, and go on reading; UserError if it fails."""
        self._arm.connect()
        try:
            self._read()
        except UserError:
            self._arm.disconnect()
            raise
        self._ending.clear()
        self._thread = threading.Thread(target=self._run, name="leader arm", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Let go of it; calling it again does nothing."""
        if self._thread is not None:
            self._ending.set()
            self._thread.join(CLOSING_S)
            self._thread = None
            self._arm.disconnect()

    def reset(self, n: int) -> None:
        """Begin an episode; nothing is remembered of the last one."""

    def command(self, observation: Observation, now_s: float) -> Command:
        """Give where the follower is to be: where the leader is, or was when it was last heard."""
        with self._lock:
            (action, given_s), lost = self._latest, self._lost
        fresh = not lost and now_s - given_s <= self.config.stale_s
        self._held = action if fresh else self._held
        return Command(self._held, fresh, given_s, lost=lost)

    def listen(self, now_s: float) -> Heard:
        """Give no buttons, which a keyboard beside it has; START if it is hands-free."""
        with self._lock:
            return Heard((Button.START,) if self.config.hands_free else (), self._lost)

    def act(self, observation: Observation, explore: bool = False) -> np.ndarray:
        """Give the action [1, A]."""
        return as_policy(self, observation, time.monotonic())

    def _run(self) -> None:
        while not self._ending.wait(1 / self.config.rate_hz):
            try:
                self._read()
            except UserError as error:
                with self._lock:
                    self._lost = str(error)
                if not self._arm.is_connected:
                    return

    def _read(self) -> None:
        """Read the arm, and note its joints' shares as an action."""
        values = self._arm.get_observation()
        shares = [
            (values[f"{joint.name}.pos"] - joint.lower) / (joint.upper - joint.lower)
            for joint in self._arm.joints
        ]
        action = np.clip(2 * np.array(shares) - 1, -1, 1).astype(np.float32)
        with self._lock:
            self._latest, self._lost = (action, time.monotonic()), ""
