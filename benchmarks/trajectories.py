"""States along scripted and random episodes, for benchmarks that compare ways to step them."""

from typing import Any, NamedTuple

import numpy as np

from demos.operators import TASKS, Style, make_operator
from robolearn.loops.rollout import rollout
from robolearn.types import Observation

HOLD_STEPS = 10  # a random motion goes on for so long, and so reaches tables and objects


class Trajectory(NamedTuple):
    """T states [T, S] and the action [T, A] taken in each."""

    states: np.ndarray
    actions: np.ndarray


class RandomOperator:
    """A policy of persistent random motions with a tendency downwards and some tremor."""

    def __init__(self, size: int, rng: np.random.Generator) -> None:
        self._size, self._rng, self._steps = size, rng, 0

    def reset(self, n: int) -> None:
        """Begin an episode."""
        self._steps = 0

    def act(self, observation: Observation, explore: bool = False) -> np.ndarray:
        """Choose an action [1, A]."""
        if self._steps % HOLD_STEPS == 0:
            self._motion = self._rng.uniform(-1, 1, self._size)
            self._motion[2] -= 0.3
        self._steps += 1
        tremor = 0.3 * self._rng.normal(size=self._size)
        return np.clip(self._motion + tremor, -1, 1).astype(np.float32)[None]


def random_trajectory(env: Any, steps: int, seed: int, episode_steps: int = 60) -> Trajectory:
    """Record episodes of random motions until there are ``steps`` states."""
    operator = RandomOperator(env.action_space.shape[0], np.random.default_rng(seed))
    return _record(env, operator, steps, seed, episode_steps)


def scripted_trajectory(env: Any, steps: int, seed: int) -> Trajectory | None:
    """Record episodes of a scripted operator; None if none knows task, robot and controller."""
    task, names = env.interface.environment.partition("/")[2], env.interface.action.names
    if task not in TASKS or env.interface.robot != "Panda" or names[3:4] != ("drx",):
        return None
    style = Style(order="down_then_across")
    operator = make_operator(task, style, env.interface, np.random.default_rng(seed))
    return _record(env, operator, steps, seed, 400)


def _record(env: Any, operator: Any, steps: int, seed: int, episode_steps: int) -> Trajectory:
    states, actions, count = [], [], 0
    while count < steps:
        episode = rollout(env, operator, horizon=episode_steps, seed=seed, settle_steps=10)
        states.append(episode.states[:-1])
        actions.append(episode.actions)
        count, seed = count + len(episode), seed + 1
    return Trajectory(np.concatenate(states)[:steps], np.concatenate(actions)[:steps])
