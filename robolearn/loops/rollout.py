"""The loops in which policies meet environments: recording and evaluation share them.

``rollout`` runs one episode in one environment, ``rollouts`` many in a batch of environments, where
each comes out as it would from ``rollout``.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from robolearn.errors import SpecError
from robolearn.loops.row import info_of_row, row_of
from robolearn.types import (
    Environment,
    Episode,
    Observation,
    Policy,
    Spec,
    Step,
    VectorEnvironment,
)

OnStep = Callable[[Step], None]


def rollout(
    env: Environment,
    policy: Policy,
    *,
    horizon: int,
    seed: int | None = None,
    state: np.ndarray | None = None,
    settle_steps: int = 0,
    explore: bool = False,
    on_step: OnStep | None = None,
) -> Episode:
    """Run one episode of at most ``horizon`` steps and return it.

    It ends when the environment ends it or ``settle_steps`` steps after the first success;
    ``success`` says whether any step succeeded. ``seed`` goes to ``env.reset``; ``state`` [S], if
    given, is where the episode starts. Actions are clipped to [-1, 1] before they are sent and
    kept. ``on_step`` sees every Step as it happens.
    """
    options = None if state is None else {"state": state}
    observation, _ = env.reset(seed=seed, options=options)
    policy.reset(1)
    recording = Recording(horizon, settle_steps, [observation], [env.get_state()])
    while not recording.over:
        action = _choose(policy, recording.observations[-1], env.interface, explore)
        step = recording.add(action, *env.step(action))
        if on_step is not None:
            on_step(step)
        recording.states.append(env.get_state())
    return recording.episode(env.interface.environment, seed)


@dataclass(frozen=True)
class Job:
    """One episode to run: who acts, the seed for ``reset``, and maybe the state [S] it starts in.

    A policy that does not say that it is ``memoryless`` acts in one episode at a time: a job with
    the same one waits for it, and the jobs behind wait too.
    """

    policy: Policy
    seed: int
    state: np.ndarray | None = None


def rollouts(
    envs: VectorEnvironment | Environment,
    jobs: Iterable[Job],
    *,
    horizon: int,
    settle_steps: int = 0,
    wanted: int | None = None,
    keep_states: bool = True,
    on_step: OnStep | None = None,
) -> Iterator[tuple[Episode, np.ndarray]]:
    """Run every job and give its episode and start state [S], in the order of the jobs.

    As soon as an environment of the batch is free it takes the next job; an episode that ends
    before an earlier one waits for it. Each is the same whatever the size of the batch, and as from
    ``rollout``, whose arguments these are (to the last bit but for rewards, which a batch may round
    in another way than a single environment). ``wanted`` ends it after that many successes; no job
    is begun that is not needed for them. Without ``keep_states`` the episodes of a batch have none,
    which saves time. In a single environment the jobs run one after the other.
    """
    missing = np.inf if wanted is None else wanted
    if missing <= 0:
        return
    if isinstance(envs, VectorEnvironment):
        ended = _Batch(envs, iter(jobs), horizon, settle_steps, missing, keep_states, on_step).run()
    else:
        ended = _one_by_one(envs, jobs, horizon, settle_steps, on_step)
    for episode, start in ended:
        yield episode, start
        missing -= episode.success
        if missing <= 0:
            return


def _one_by_one(
    env: Environment, jobs: Iterable[Job], horizon: int, settle_steps: int, on_step: OnStep | None
) -> Iterator[tuple[Episode, np.ndarray]]:
    for job in jobs:
        episode = rollout(
            env, job.policy, horizon=horizon, seed=job.seed, state=job.state,
            settle_steps=settle_steps, on_step=on_step,
        )  # fmt: skip
        yield episode, episode.states[0]


def _choose(
    policy: Policy, observation: Observation, interface: Spec, explore: bool = False
) -> np.ndarray:
    """Ask for one action [A]; SpecError if it has other entries.

    In a batch too every row is asked by itself: the last bit of a network's output depends on what
    it is computed together with, and an episode must not.
    """
    alone = {name: array[None] for name, array in observation.items()}
    action = np.clip(policy.act(alone, explore)[0], -1.0, 1.0)
    if action.shape != interface.action.shape:
        found = f"{action.shape} instead of {interface.action.shape}"
        raise SpecError(f"{interface.environment}: an action has shape {found}")
    return action


@dataclass
class Recording:
    """An episode under way."""

    horizon: int
    settle_steps: int
    observations: list[Observation]  # one more than steps
    states: list[np.ndarray]  # as many as observations, or the first only
    steps: list[Step] = field(default_factory=list)
    succeeded_at: int | None = None

    def add(
        self,
        action: np.ndarray,
        observation: Observation,
        reward: float,
        terminated: bool,
        truncated: bool,
        info: dict[str, Any],
    ) -> Step:
        """Take down an action and what followed; the state after it is appended by the caller."""
        t = len(self.steps)
        state = self.states[t] if t < len(self.states) else None
        step = Step(
            t, self.observations[-1], action, float(reward), observation,
            bool(terminated), bool(truncated), info, state,
        )  # fmt: skip
        self.steps.append(step)
        self.observations.append(observation)
        if self.succeeded_at is None and info["success"]:
            self.succeeded_at = t
        return step

    @property
    def over(self) -> bool:
        """Say whether the episode has ended."""
        if not self.steps:
            return False
        last = self.steps[-1]
        settled = self.succeeded_at is not None and last.t - self.succeeded_at >= self.settle_steps
        return last.terminated or last.truncated or settled or len(self.steps) == self.horizon

    def episode(self, environment: str, seed: int | None) -> Episode:
        """Put it together."""
        last = self.steps[-1]
        every = {name: [o[name] for o in self.observations] for name in self.observations[0]}
        terms = {
            name: [s.info["reward_terms"][name] for s in self.steps]
            for name in last.info["reward_terms"]
        }
        complete = len(self.states) == len(self.observations)
        return Episode(
            observations={name: np.stack(arrays) for name, arrays in every.items()},
            actions=np.stack([s.action for s in self.steps]).astype(np.float32),
            rewards=np.array([s.reward for s in self.steps], np.float32),
            terminated=last.terminated,
            truncated=not last.terminated,
            success=self.succeeded_at is not None,
            states=np.stack(self.states) if complete else None,
            reward_terms={name: np.array(values, np.float32) for name, values in terms.items()},
            metadata={"environment": environment, "seed": seed},
        )


@dataclass
class _Row:
    """What runs in one environment of a batch."""

    index: int  # of the job
    job: Job
    recording: Recording


class _Batch:
    """Jobs on the rows of a batch of environments."""

    def __init__(
        self,
        envs: VectorEnvironment,
        jobs: Iterator[Job],
        horizon: int,
        settle_steps: int,
        wanted: float,
        keep_states: bool,
        on_step: OnStep | None,
    ) -> None:
        self._envs, self._jobs = envs, enumerate(jobs)
        self._horizon, self._settle_steps = horizon, settle_steps
        self._wanted, self._keep_states, self._on_step = wanted, keep_states, on_step
        self._next = next(self._jobs, None)
        self._rows: dict[int, _Row] = {}  # those in which an episode is under way
        self._successes = 0
        self._ended: dict[int, tuple[Episode, np.ndarray]] = {}  # by job, until their turn comes

    def run(self) -> Iterator[tuple[Episode, np.ndarray]]:
        """Give the episodes and start states in the order of the jobs."""
        self._envs.reset()  # from now on some rows may be left alone
        for index in itertools.count():
            while index not in self._ended:
                self._begin()
                if not self._rows:
                    return
                self._step()
            yield self._ended.pop(index)

    def _begin(self) -> None:
        """Give free rows something to do."""
        for i in range(self._envs.num_envs):
            if i not in self._rows and self._next is not None and self._may_begin(self._next[1]):
                self._rows[i] = self._started(i, *self._next)
                self._next = next(self._jobs, None)

    def _may_begin(self, job: Job) -> bool:
        memoryless = getattr(job.policy, "memoryless", False)
        if not memoryless and any(row.job.policy is job.policy for row in self._rows.values()):
            return False
        # If all that are under way succeeded, would it still be needed?
        return self._successes + len(self._rows) < self._wanted

    def _started(self, i: int, index: int, job: Job) -> _Row:
        n = self._envs.num_envs
        options: dict[str, Any] = {"reset_mask": np.arange(n) == i}
        if job.state is not None:
            options["state"] = np.broadcast_to(job.state, (n, len(job.state)))
        observations, _ = self._envs.reset(seed=[job.seed] * n, options=options)
        job.policy.reset(1)
        first, start = row_of(observations, i), self._envs.get_state()[i]
        return _Row(index, job, Recording(self._horizon, self._settle_steps, [first], [start]))

    def _step(self) -> None:
        """Move all rows that have something to do."""
        n = self._envs.num_envs
        actions = np.zeros((n, *self._envs.interface.action.shape), np.float32)
        for i, row in self._rows.items():
            seen = row.recording.observations[-1]
            actions[i] = _choose(row.job.policy, seen, self._envs.interface)
        active = np.isin(np.arange(n), list(self._rows))
        moved = self._envs.step(actions, active=active, autoreset=False)
        states = self._envs.get_state() if self._keep_states else None
        for i in list(self._rows):
            self._take_down(i, actions[i].copy(), moved, states)

    def _take_down(
        self, i: int, action: np.ndarray, moved: tuple[Any, ...], states: np.ndarray | None
    ) -> None:
        observations, rewards, terminated, truncated, info = moved
        recording = self._rows[i].recording
        after = row_of(observations, i), rewards[i], terminated[i], truncated[i]
        step = recording.add(action, *after, info_of_row(info, i))
        if self._on_step is not None:
            self._on_step(step)
        if states is not None:
            recording.states.append(states[i])
        if recording.over:
            self._finish(self._rows.pop(i))

    def _finish(self, row: _Row) -> None:
        episode = row.recording.episode(self._envs.interface.environment, row.job.seed)
        self._successes += episode.success
        self._ended[row.index] = episode, row.recording.states[0]
