"""Rollout workers: environments on the nodes of a Ray cluster in which a policy learns.

For every rollout a worker is sent the weights, and acts by the code that acts here
(``robolearn.loops.on_policy.Collector``); what happened is laid side by side. All wait for each
other, and all act by the weights of the last update: no rollout is stale, as PPO's objective
supposes.
"""

from __future__ import annotations

from demos.cluster.dealing import Dealt, Weights, Worker, side_by_side
from robolearn.loops.collecting import Ended, Rollout
from robolearn.loops.on_policy import Collector, OnlineConfig, OnPolicyLearner, Progress
from robolearn.types import VectorEnvironment


class RolloutWorker(Worker):
    """Gives rollouts."""

    def of(self, env: VectorEnvironment, training: OnlineConfig, whole: int) -> Collector:
        """See ``Worker``."""
        return Collector(env, training)

    def rollout(self, weights: Weights, update: int) -> tuple[Rollout, list[Ended], int]:
        """Give what happened, and what became of episodes; see ``Tally.drain``."""
        self.take(weights)
        return (self.acting.rollout(self.policy, update), *self.acting.drain())


class Workers(Dealt):
    """Environments of other processes, and the episodes in them; a ``Collecting``."""

    worker = RolloutWorker

    def begin(self, seed: int, progress: Progress | None) -> None:
        """See ``Collecting``."""
        self._begin(seed, progress.updates if progress else 0, progress)

    def rollout(self, learner: OnPolicyLearner, update: int) -> Rollout:
        """See ``Collecting``."""
        weights = self._send(learner)
        found = self._all(worker.rollout.remote(weights, update) for worker in self._workers)
        for _, ended, failed in found:
            self._tally.take(ended, failed)
        return side_by_side([rollout for rollout, *_ in found], axis=1)

    def progress(self, updates: int) -> Progress:
        """See ``Collecting``."""
        return self._progress(updates)

    def read(self) -> dict[str, float]:
        """See ``Collecting``."""
        return self._tally.read()
