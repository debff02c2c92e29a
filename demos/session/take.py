"""One demonstration under way: what was seen, asked for and sent, and when. All of it in memory."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from demos.devices.contracts import Command
from demos.session.contracts import Ending
from robolearn.loops.rollout import Recording
from robolearn.types import Environment, Episode, Observation, Step


class Take:
    """Records one demonstration, and moves the environment along."""

    def __init__(
        self,
        env: Environment,
        *,
        seed: int | None,
        state: np.ndarray | None,
        horizon: int,
        settle_steps: int,
    ) -> None:
        """Begin an episode with a seed, or in a state [S]."""
        options = None if state is None else {"state": state}
        observation, _ = env.reset(seed=seed, options=options)
        self._env, self._seed = env, seed
        self.recording = Recording(horizon, settle_steps, [observation], [env.get_state()])
        self.began_s = 0.0  # set when the clock starts
        self.pauses: list[dict[str, float]] = []
        self._commands: list[Command] = []
        self._times: list[tuple[float, float, float]] = []  # input, asked, sent

    def __len__(self) -> int:
        return len(self._commands)

    @property
    def over(self) -> bool:
        """Whether the environment, the task or the horizon has ended it."""
        return self.recording.over

    @property
    def ending(self) -> Ending:
        """What has ended it, once it is over."""
        last = self.recording.steps[-1]
        if self.stopped:
            return Ending.STOPPED
        if self.recording.succeeded_at is not None:
            return Ending.SUCCESS
        if last.info.get("failed"):
            return Ending.FAILURE
        return Ending.TASK if last.terminated else Ending.TIME

    @property
    def stopped(self) -> str:
        """Why the robot was stopped; "" if it was not."""
        return self.recording.steps[-1].info.get("error", "") if len(self) else ""

    @property
    def observation(self) -> Observation:
        """What is seen now."""
        return self.recording.observations[-1]

    @property
    def state(self) -> np.ndarray:
        """The simulator's state [S] now."""
        return self.recording.states[-1]

    @property
    def start(self) -> np.ndarray:
        """The state [S] that it began in."""
        return self.recording.states[0]

    def step(self, command: Command, asked_s: float, sent_s: float) -> Step:
        """Send what was asked for, within [-1, 1], and take down what follows."""
        action = np.clip(command.action, -1.0, 1.0)
        step = self.recording.add(action, *self._env.step(action))
        self.recording.states.append(self._env.get_state())
        self._commands.append(command)
        self._times.append((command.given_s, asked_s, sent_s))
        return step

    def rest(self) -> str:
        """Have a robot rest while nothing is sent; say what has stopped it, "" if nothing has.

        A simulator stands still by itself.
        """
        pause = getattr(self._env, "pause", None)
        return "" if pause is None else pause()

    def stop(self) -> bool:
        """Have whoever watches over a robot stop it; say whether the next step is the last one."""
        stop = getattr(self._env, "stop", None)
        if self.rest():
            return True
        if stop is not None:
            stop()
        return stop is not None

    def pause(self, seconds: float) -> None:
        """Note that nothing happened for a while, before the next step."""
        self.pauses.append({"step": len(self), "seconds": seconds})

    def episode(self, about: dict[str, Any]) -> Episode:
        """Put it together; it needs at least one step."""
        episode = self.recording.episode(self._env.interface.environment, self._seed)
        times = np.array(self._times) - self.began_s  # [T, 3]
        records = {
            "action_asked": np.stack([c.action for c in self._commands]).astype(np.float32),
            "input_s": times[:, 0],
            "asked_s": times[:, 1],
            "sent_s": times[:, 2],
            "engaged": np.array([c.engaged for c in self._commands]),
            "intervention": np.array([c.intervention for c in self._commands]),
        }
        metadata = episode.metadata | {"pauses": self.pauses} | about
        return dataclasses.replace(episode, records=records, metadata=metadata)
