"""Workers that take the steps which a replay remembers, on the nodes of a Ray cluster.

A worker acts for some steps at a time, by the weights that it was sent for them and by the code
that acts here (``robolearn.loops.off_policy.Actor``). While they are learnt from it takes the next:
its weights are then as old as two such pieces at most (``ActorsConfig.rounds``), which a learner
that learns from a replay does not mind.
"""

from __future__ import annotations

from collections import deque
from typing import Any

import numpy as np

from demos.cluster.dealing import Dealt, Weights, Worker, side_by_side
from robolearn.loops.collecting import Ended, Rollout
from robolearn.loops.off_policy import (
    Actor,
    OffPolicyConfig,
    OffPolicyLearner,
    OffPolicyProgress,
    is_kept,
)
from robolearn.types import VectorEnvironment


class StepWorker(Worker):
    """Gives some steps at a time."""

    def of(self, env: VectorEnvironment, training: OffPolicyConfig, whole: int) -> Actor:
        """See ``Worker``."""
        return Actor(env, training, whole=whole)

    def begin(self, seeds: Any, progress: OffPolicyProgress | None) -> None:
        """See ``Worker``."""
        super().begin(seeds, progress)
        self.rng = np.random.default_rng(seeds)

    def steps(self, weights: Weights, rounds: range) -> tuple[list[Rollout], list[Ended], int]:
        """Give what happened in each step, and what became of episodes."""
        self.take(weights)
        steps = [self.acting.step(self.policy, number, self.rng) for number in rounds]
        return (steps, *self.acting.drain())


class Workers(Dealt):
    """Environments of other processes, and the episodes in them; an ``Acting``."""

    worker = StepWorker

    def begin(self, seed: int, progress: OffPolicyProgress | None) -> None:
        """See ``Acting``; no steps are under way then, as none go beyond a checkpoint."""
        self._ready: deque[Rollout] = deque()
        self._asked: tuple[int, list[Any]] | None = None  # at which step of the batch; the answers
        self._acted_at = self._stalest = 0
        self._begin(seed, progress.rounds if progress else 0, progress)

    def step(self, learner: OffPolicyLearner, rounds: int, rng: np.random.Generator) -> Rollout:
        """See ``Acting``; workers have numbers of their own to draw from, and ask no ``rng``."""
        if not self._ready:
            if self._asked is None:
                self._ask(learner, rounds, rounds)
            self._receive()
            following = rounds + len(self._ready)
            if not self._is_kept(following - 1):
                self._ask(learner, following, rounds)
        self._stalest = max(self._stalest, rounds - self._acted_at)
        return self._ready.popleft()

    def progress(self, rounds: int) -> OffPolicyProgress:
        """See ``Acting``."""
        return self._progress(rounds)

    def read(self) -> dict[str, float]:
        """See ``Acting``; ``staleness``: updates since the weights that acted, at most so many."""
        updates = self._stalest * self.num_envs * self.training.updates_per_step
        self._stalest = 0
        return self._tally.read() | {"staleness": updates}

    def _ask(self, learner: OffPolicyLearner, first: int, now: int) -> None:
        """Ask for steps from the ``first`` on, to the next checkpoint at most."""
        last = first
        while last < first + self.config.rounds - 1 and not self._is_kept(last):
            last += 1
        weights, wanted = self._send(learner), range(first, last + 1)
        self._asked = now, [worker.steps.remote(weights, wanted) for worker in self._workers]

    def _receive(self) -> None:
        self._acted_at, asked = self._asked
        self._asked, found = None, self._all(asked)
        for _, ended, failed in found:
            self._tally.take(ended, failed)
        steps = zip(*(steps for steps, *_ in found), strict=True)
        self._ready += [side_by_side(parts, axis=0) for parts in steps]

    def _is_kept(self, rounds: int) -> bool:
        return is_kept(rounds, self.num_envs, self.training)
