"""Devices that are no person's hand: a stored episode, a policy with a person, a scripted operator.

Also what stands beside another device: a keyboard whose buttons count, but not its motion.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable

import numpy as np

from demos.devices.contracts import Button, Command, Device, Heard, Help, Setting, Source, as_policy
from demos.devices.steering import Steered
from robolearn.types import Episode, Observation, Policy

BACK_S = 0.5  # after letting go, before the policy acts again: as long as a gripper takes


class Replay:
    """A Device that gives a stored episode's actions, one a step, from its first state."""

    name = "replay"
    help: Help = ()
    setting = Setting()

    def __init__(self, episode: Episode) -> None:
        self._episode = episode
        self.start_state = None if episode.states is None else episode.states[0]
        self._next = 0

    def open(self) -> None:
        """Nothing needs to be had."""

    def close(self) -> None:
        """Nothing needs to be let go of."""

    def reset(self, n: int) -> None:
        """Begin with the first action."""
        self._next = 0

    def command(self, observation: Observation, now_s: float) -> Command:
        """Give the next action; after the last one it has ended, and nothing moves."""
        actions = self._episode.actions
        if self._next == len(actions):
            return Command(np.zeros_like(actions[0]), False, now_s, ended=True)
        action = actions[self._next]
        self._next += 1
        return Command(action, True, now_s)

    def listen(self, now_s: float) -> Heard:
        """Begin, and leave when the episode has been played."""
        return Heard((Button.START, Button.QUIT) if self._next else (Button.START,))

    def act(self, observation: Observation, explore: bool = False) -> np.ndarray:
        """Give the next action [1, A]."""
        return as_policy(self, observation, time.monotonic())


class TakeOver:
    """A Device in which a policy acts until a person does; each such step is an intervention.

    A person moves, or opens or closes the gripper, and begins with it as it is. The policy acts
    again a moment after that, and ``on_return`` is called before; until then nothing moves but the
    gripper.
    """

    start_state = None

    def __init__(
        self,
        policy: Policy,
        person: Steered,
        back_s: float = BACK_S,
        on_return: Callable[[], None] = lambda: None,
    ) -> None:
        self.policy, self.person, self._back_s = policy, person, back_s
        self._on_return, self._persons = on_return, False
        self.name = f"policy, {person.name} takes over"
        self.help = person.help
        self._last: np.ndarray | None = None
        self._until_s = -np.inf

    @property
    def setting(self) -> Setting:
        """Frame and speed of the person's device."""
        return self.person.setting

    def open(self) -> None:
        """Take hold of the person's device."""
        self.person.open()

    def close(self) -> None:
        """Let go of it."""
        self.person.close()

    def reset(self, n: int) -> None:
        """Begin an episode with the policy."""
        self.policy.reset(n)
        self.person.reset(n)
        self._last, self._until_s, self._persons = None, -np.inf, False

    def command(self, observation: Observation, now_s: float) -> Command:
        """Give the person's action while engaged and a moment longer, else the policy's."""
        if self._last is not None and now_s > self._until_s:
            self.person.steering.follow(self._last)
        closed = self.person.steering.closed
        asked = self.person.command(observation, now_s)
        if asked.engaged or self.person.steering.closed != closed:
            self._until_s = now_s + self._back_s
        before, self._persons = self._persons, now_s <= self._until_s or bool(asked.lost)
        if before and not self._persons:
            self._on_return()
        rows = {name: array[None] for name, array in observation.items()}
        theirs = np.clip(self.policy.act(rows)[0], -1.0, 1.0)  # it sees every step, to remember
        if self._persons:
            command = dataclasses.replace(asked, intervention=not asked.lost)
        else:
            command = dataclasses.replace(asked, action=theirs, engaged=True)
        self._last = command.action
        return command

    def listen(self, now_s: float) -> Heard:
        """Give the person's buttons."""
        return self.person.listen(now_s)

    def act(self, observation: Observation, explore: bool = False) -> np.ndarray:
        """Give the action [1, A] of whoever acts."""
        return as_policy(self, observation, time.monotonic())


class Scripted:
    """A Device without hands: a policy, made anew for each demonstration, that does as proposed."""

    name = "scripted operator"
    help: Help = ()
    start_state = None
    setting = Setting()

    def __init__(self, make_policy: Callable[[], Policy]) -> None:
        self._make = make_policy
        self._policy: Policy | None = None

    def open(self) -> None:
        """Nothing needs to be had."""

    def close(self) -> None:
        """Nothing needs to be let go of."""

    def reset(self, n: int) -> None:
        """Begin an episode with a new operator."""
        self._policy = self._make()
        self._policy.reset(n)

    def command(self, observation: Observation, now_s: float) -> Command:
        """Give the operator's action."""
        rows = {name: array[None] for name, array in observation.items()}
        action = np.clip(self._policy.act(rows)[0], -1.0, 1.0)
        return Command(action, True, now_s)

    def listen(self, now_s: float) -> Heard:
        """Begin, and do as proposed."""
        return Heard((Button.START,))

    def act(self, observation: Observation, explore: bool = False) -> np.ndarray:
        """Give the operator's action [1, A]."""
        return as_policy(self, observation, time.monotonic())


class Beside:
    """A Device with a keyboard beside it, if there is one, whose buttons count, but not its motion.

    ``help`` says which those are; what the device has in its own is not said twice.
    """

    def __init__(self, device: Device, keyboard: Source | None, help: Help = ()) -> None:
        self.device, self._keyboard = device, keyboard
        self.name, self.help = device.name, tuple(dict.fromkeys((*device.help, *help)))

    @property
    def start_state(self) -> np.ndarray | None:
        """State in which the device's next episode must begin."""
        return self.device.start_state

    @property
    def setting(self) -> Setting:
        """Frame and speed of the device."""
        return self.device.setting

    def open(self) -> None:
        """Take hold of both."""
        self.device.open()
        if self._keyboard is not None:
            self._keyboard.open()

    def close(self) -> None:
        """Let go of both."""
        if self._keyboard is not None:
            self._keyboard.close()
        self.device.close()

    def reset(self, n: int) -> None:
        """Begin an episode."""
        self.device.reset(n)

    def command(self, observation: Observation, now_s: float) -> Command:
        """Give the device's command with the keyboard's buttons."""
        command = self.device.command(observation, now_s)
        return dataclasses.replace(command, buttons=(*command.buttons, *self._pressed(now_s)))

    def listen(self, now_s: float) -> Heard:
        """Give the buttons of both."""
        heard = self.device.listen(now_s)
        return Heard((*heard.buttons, *self._pressed(now_s)), heard.lost)

    def act(self, observation: Observation, explore: bool = False) -> np.ndarray:
        """Give the device's action [1, A]."""
        return as_policy(self, observation, time.monotonic())

    def _pressed(self, now_s: float) -> tuple[Button, ...]:
        return () if self._keyboard is None else self._keyboard.poll(now_s).buttons
