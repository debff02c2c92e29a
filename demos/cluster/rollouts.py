"""Rollout workers: environments on the nodes of a Ray cluster in which a policy learns.

A worker has environments and a copy of the policy. For every rollout it is sent the weights, and
acts by the code that acts here (``robolearn.loops.on_policy.Collector``); what happened is laid
side by side. All wait for each other, and all act by the weights of the last update: no rollout is
stale, as PPO's objective supposes.
"""

from __future__ import annotations

import dataclasses
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from demos.cluster.connection import connect, first_line, living, require_same
from robolearn.errors import UserError
from robolearn.loops import checkpoint
from robolearn.loops.collecting import Rollout, Tally, seeds_after
from robolearn.loops.on_policy import (
    Collector,
    OnlineConfig,
    OnPolicyLearner,
    Progress,
    WorkersConfig,
)
from robolearn.types import VectorEnvironment

Make = Callable[..., VectorEnvironment]  # make(environments, threads=...)
KEY = "workers"
OF_EACH = ("states", "returns", "lengths", "cuts")  # in a Progress: a value for each environment
NOISE = 2**31  # seeds of what a policy draws lie below it


class Workers:
    """Environments of other processes, and the episodes in them; a ``Collecting``.

    A context manager that leaves no process behind. Raises what a worker raises, and UserError for
    a worker that is lost: what has been learnt by the last checkpoint goes on with resume=.
    """

    def __init__(
        self,
        config: WorkersConfig,
        make: Make,
        environments: int,
        learner: OnPolicyLearner,
        training: OnlineConfig,
        log: Path,
    ) -> None:
        """Deal ``environments`` out to the workers, each of which calls ``make``.

        What Ray says when it begins goes into ``log``.
        Raises UserError where Ray is not installed or not there, its nodes have other software, or
        have not the cores that are asked for.
        """
        self.num_envs, self.config = environments, config
        self._each = environments // config.count
        self._ray = connect(KEY, config.address, log)
        try:
            nodes = living(self._ray)
            _require_cores(nodes, config)
            require_same(self._ray, nodes)
            worker = self._ray.remote(_Worker).options(num_cpus=config.cpus)
            given = (make, self._each, training, _files_of(learner), config.cpus, os.getcwd())
            self._workers = [worker.remote(*given) for _ in range(config.count)]
        except BaseException:
            self._ray.shutdown()
            raise
        self._tally = Tally(np.zeros(0), np.zeros(0, int))
        self._staleness = 0

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *error: Any) -> None:
        self._ray.shutdown()

    def begin(self, seed: int, progress: Progress | None) -> None:
        """See ``Collecting``."""
        seeds = seeds_after(seed, progress.updates if progress else 0, self.num_envs)
        parts = [slice(i * self._each, (i + 1) * self._each) for i in range(self.config.count)]
        self._all(
            worker.begin.remote(seeds[part], progress and _part(progress, part))
            for worker, part in zip(self._workers, parts, strict=True)
        )

    def rollout(self, learner: OnPolicyLearner, update: int) -> Rollout:
        """See ``Collecting``."""
        weights = {name: tensor.cpu().numpy() for name, tensor in learner.state_dict().items()}
        sent = self._ray.put((weights, update))
        found = self._all(worker.rollout.remote(sent) for worker in self._workers)
        for _, ended, failed, _ in found:
            self._tally.take(ended, failed)
        self._staleness = update - min(of for *_, of in found)
        return _side_by_side([rollout for rollout, *_ in found])

    def progress(self, updates: int) -> Progress:
        """See ``Collecting``."""
        found = self._all(worker.progress.remote(updates) for worker in self._workers)
        whole = {name: sum((getattr(one, name) for one in found), []) for name in OF_EACH}
        return Progress(updates, **whole)

    def read(self) -> dict[str, float]:
        """See ``Collecting``; ``staleness`` counts the updates since the weights that acted."""
        return self._tally.read() | {"staleness": float(self._staleness)}

    def _all(self, asked: Any) -> list[Any]:
        """Wait for all answers."""
        errors = self._ray.exceptions
        try:
            return self._ray.get(list(asked))
        except errors.RayTaskError as error:
            raise error.cause from None
        except errors.RayError as error:
            raise UserError(f"{KEY}: one was lost: {first_line(error)}") from None


class _Worker:
    """Environments, and a policy that acts in them; the process of an actor."""

    def __init__(
        self,
        make: Make,
        environments: int,
        training: OnlineConfig,
        policy: Mapping[str, bytes],
        cores: int,
        here: str,
    ) -> None:
        os.chdir(here)
        torch.set_num_threads(cores)
        env = make(environments, threads=cores)
        self._collector = Collector(env, training)
        with tempfile.TemporaryDirectory(prefix="robolearn-") as folder:
            for name, content in policy.items():
                path = Path(folder) / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
            self._policy = checkpoint.load_policy(folder, env.interface)

    def begin(self, seeds: Sequence[int], progress: Progress | None) -> None:
        """Begin, or go on; what the policy draws follows from the first seed."""
        self._collector.begin(seeds, progress)
        self._policy.noise.manual_seed(seeds[0] % NOISE)

    def rollout(
        self, sent: tuple[Mapping[str, np.ndarray], int]
    ) -> tuple[Rollout, list[tuple[float, int, bool]], int, int]:
        """Give what happened, what became of episodes, and of which update the weights are."""
        weights, update = sent
        self._policy.load_state_dict({name: torch.tensor(a) for name, a in weights.items()})
        return (self._collector.rollout(self._policy, update), *self._collector.drain(), update)

    def progress(self, updates: int) -> Progress:
        """Say where these environments stand."""
        return self._collector.progress(updates)


def _files_of(learner: OnPolicyLearner) -> dict[str, bytes]:
    """Give a checkpoint's files by their path in it."""
    with tempfile.TemporaryDirectory(prefix="robolearn-") as scratch:
        folder = Path(scratch) / "policy"
        checkpoint.save(folder, learner)
        files = (path for path in folder.rglob("*") if path.is_file())
        return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def _part(progress: Progress, part: slice) -> Progress:
    """Give the progress of some environments."""
    lists = {name: getattr(progress, name) for name in OF_EACH}
    return dataclasses.replace(progress, **{k: v and v[part] for k, v in lists.items()})


def _side_by_side(rollouts: Sequence[Rollout]) -> Rollout:
    """Join arrays [T, n, ...] of nested mappings to [T, N, ...]."""
    return {
        key: _side_by_side([rollout[key] for rollout in rollouts])
        if isinstance(value, dict)
        else np.concatenate([rollout[key] for rollout in rollouts], axis=1)
        for key, value in rollouts[0].items()
    }


def _require_cores(nodes: Sequence[Mapping[str, Any]], config: WorkersConfig) -> None:
    """Raise UserError if the workers cannot all be there at once: they would wait for ever."""
    there = sum(int(node["Resources"].get("CPU", 0) // config.cpus) for node in nodes)
    if there < config.count:
        raise UserError(
            f"{KEY}: {config.count} with {config.cpus} cores each are asked for, and there is room "
            f"for {there}"
        )
