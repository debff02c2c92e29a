"""Who stands beside the robot: keys for success, failure and stop, and what heeds them."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from demos.deploy.config import DeployConfig
from demos.devices.contracts import Button, Command, Device, Heard, Source
from demos.devices.keys import KeyMap
from demos.devices.make import WITH_KEYS
from demos.devices.others import Beside
from robolearn.errors import UserError
from robolearn.types import Environment, Observation

STOPPED = "the operator stopped it"
STOPS = {"quit": "stop the arm, and end"}
JUDGES = {"start": "begin the episode", "keep": "it succeeded", "discard": "it failed"} | STOPS


class Watched:
    """An environment, and what is said of it: by itself, by its guard, and by the operator.

    With ``judged`` the operator alone says what succeeds: the reward is 1 then, and 0 before.
    """

    def __init__(self, env: Environment, judged: bool = False) -> None:
        self.env, self.interface, self._judged = env, env.interface, judged
        self.steps = self.changed = 0
        self.error = ""  # what has stopped the arm
        self._said: bool | None = None  # success or failure, of this episode
        self._stopped = ""  # why, by whom it was stopped here

    def __getattr__(self, name: str) -> Any:
        return getattr(self.env, name)

    def say(self, success: bool) -> None:
        """Take the operator's word for it; it counts from the next step on."""
        self._said = success

    @property
    def halted(self) -> bool:
        """Whether the arm was stopped in an episode, so that there can be no other one."""
        guard = getattr(self.env, "guard", None)
        return bool(self._stopped or (self.error and guard is not None and guard.is_stopped))

    def stop(self, reason: str = STOPPED) -> None:
        """Stop the arm, for good: its guard does, or the next step is the episode's last.

        From any thread, and from a signal's handler. The first reason stays.
        """
        self._stopped = self._stopped or reason
        guard = getattr(self.env, "guard", None)
        if guard is not None:
            guard.emergency_stop(reason)

    def reset(self, **options: Any) -> tuple[Observation, dict[str, Any]]:
        """Begin an episode; what is in the way of it is what has stopped the arm."""
        self._said = None
        try:
            return self.env.reset(**options)
        except UserError as error:
            self.error = self.error or str(error)
            raise

    def step(self, action: np.ndarray) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Take a step, and heed what was said."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        self.steps += 1
        self.changed += bool(info.get("changes"))
        if self._stopped:
            info, truncated = {"error": self._stopped} | info, True
        self.error = info.get("error", "")
        if self._judged:
            succeeded = self._said is True and not self.error
            reward = float(succeeded)
            info = info | {"success": succeeded, "is_success": succeeded}
            info |= {"reward_terms": {"task": reward}}
        if self._said is False:
            info, truncated = info | {"failed": True}, True
        return observation, reward, terminated, truncated, info


class Operated(Beside):
    """A Device beside which an operator has keys: to stop, and if they judge for what came of it.

    Once the arm is stopped it leaves.
    """

    def __init__(
        self, device: Device, watched: Watched, keyboard: Source | None, config: DeployConfig
    ) -> None:
        """Hear ``keyboard``, if there is one, beside the device's own buttons."""
        super().__init__(device, keyboard)
        self._watched = watched
        self._judges = config.success == "person"
        alone = config.takeover is None
        self._waits = self._judges and alone  # a policy alone would begin at once
        self.name = "policy" if alone else device.name
        keys = KeyMap.of({} if alone else config.takeover.keys)
        has_keys = keyboard is not None or not alone
        ours = keys.named(JUDGES if self._judges else STOPS) if has_keys else ()
        typed = not alone and config.takeover.kind in WITH_KEYS
        self.help = (*(keys.help_steering if typed else device.help), *ours)

    def command(self, observation: Observation, now_s: float) -> Command:
        """Give the device's command, and pass on what the operator says."""
        command = self.device.command(observation, now_s)
        pressed = (*command.buttons, *self._pressed(now_s))
        if Button.QUIT in pressed:
            self._watched.stop()
        elif self._judges and (Button.KEEP in pressed or Button.DISCARD in pressed):
            self._watched.say(Button.DISCARD not in pressed)
        ours = (Button.QUIT, Button.KEEP, Button.DISCARD)
        return dataclasses.replace(
            command, buttons=tuple(b for b in command.buttons if b not in ours)
        )

    def listen(self, now_s: float) -> Heard:
        """Give the buttons of both."""
        if self._watched.halted:
            return Heard((Button.QUIT,))
        heard = self.device.listen(now_s)
        theirs = () if self._waits else heard.buttons
        return Heard((*theirs, *self._pressed(now_s)), heard.lost)
