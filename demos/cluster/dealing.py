"""Environments that are dealt out to processes of a Ray cluster, each with a copy of the policy."""

from __future__ import annotations

import dataclasses
import os
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self, TypeVar

import numpy as np
import torch

from demos.cluster.connection import connect, first_line, living, require_same
from robolearn.errors import UserError
from robolearn.loops import checkpoint
from robolearn.loops.collecting import Tally, WorkersConfig, seeds_after
from robolearn.types import Learner, VectorEnvironment

Make = Callable[..., VectorEnvironment]  # make(environments, threads=...)
Progress = TypeVar("Progress")
Weights = dict[str, np.ndarray]
KEY = "workers"
NOISE = 2**31  # seeds of what a policy draws lie below it


class Dealt:
    """What has environments in other processes; a context manager that leaves none behind.

    Raises what a worker raises, and UserError for a worker that is lost: what has been learnt by
    the last checkpoint goes on with resume=.
    """

    worker: ClassVar[type[Worker]]  # what runs in each process

    def __init__(
        self,
        config: WorkersConfig,
        make: Make,
        environments: int,
        learner: Learner,
        training: Any,
        log: Path,
    ) -> None:
        """Deal ``environments`` out to the workers, each of which calls ``make``.

        What Ray says when it begins goes into ``log``. Raises UserError where Ray is not installed
        or not there, its nodes have other software, or have not the cores that are asked for.
        """
        self.num_envs, self.config, self.training = environments, config, training
        each = environments // config.count
        self._parts = [slice(i * each, (i + 1) * each) for i in range(config.count)]
        self._ray = connect(KEY, config.address, log)
        try:
            nodes = living(self._ray)
            require_cores(nodes, config)
            require_same(self._ray, nodes)
            worker = self._ray.remote(self.worker).options(num_cpus=config.cpus)
            policy, here = files_of(learner), os.getcwd()
            given = (make, each, environments, training, policy, config.cpus, here)
            self._workers = [worker.remote(*given) for _ in range(config.count)]
        except BaseException:
            self._ray.shutdown()
            raise
        self._tally = Tally(np.zeros(0), np.zeros(0, int))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: Any) -> None:
        self._ray.shutdown()

    def _begin(self, seed: int, done: int, progress: Any) -> None:
        seeds = seeds_after(seed, done, self.num_envs)
        self._all(
            worker.begin.remote(seeds[part], progress and part_of(progress, part))
            for worker, part in zip(self._workers, self._parts, strict=True)
        )

    def _progress(self, done: int) -> Any:
        return joined(self._all(worker.progress.remote(done) for worker in self._workers))

    def _send(self, learner: Learner) -> Any:
        """Put a learner's weights where all workers get them."""
        return self._ray.put(
            {k: tensor.cpu().numpy() for k, tensor in learner.state_dict().items()}
        )

    def _all(self, asked: Iterable[Any]) -> list[Any]:
        """Wait for all answers."""
        errors = self._ray.exceptions
        try:
            return self._ray.get(list(asked))
        except errors.RayTaskError as error:
            raise error.cause from None
        except errors.RayError as error:
            raise UserError(f"{KEY}: one was lost: {first_line(error)}") from None


class Worker:
    """Environments, and a policy that acts in them: a process of the cluster."""

    def __init__(
        self,
        make: Make,
        environments: int,
        whole: int,
        training: Any,
        policy: Mapping[str, bytes],
        cores: int,
        here: str,
    ) -> None:
        os.chdir(here)
        torch.set_num_threads(cores)
        env = make(environments, threads=cores)
        self.acting = self.of(env, training, whole)
        with tempfile.TemporaryDirectory(prefix="robolearn-") as folder:
            for name, content in policy.items():
                path = Path(folder) / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
            self.policy = checkpoint.load_policy(folder, env.interface)

    def of(self, env: VectorEnvironment, training: Any, whole: int) -> Any:
        """Make what has the policy act in a part of ``whole`` environments."""
        raise NotImplementedError

    def begin(self, seeds: Sequence[int], progress: Any) -> None:
        """Begin, or go on; what the policy draws follows from the first seed."""
        self.acting.begin(seeds, progress)
        self.policy.noise.manual_seed(seeds[0] % NOISE)

    def progress(self, done: int) -> Any:
        """Say where these environments stand."""
        return self.acting.progress(done)

    def take(self, weights: Weights) -> None:
        """Take over weights."""
        self.policy.load_state_dict({name: torch.tensor(a) for name, a in weights.items()})


def files_of(learner: Learner) -> dict[str, bytes]:
    """Give a checkpoint's files by their path in it."""
    with tempfile.TemporaryDirectory(prefix="robolearn-") as scratch:
        folder = Path(scratch) / "policy"
        checkpoint.save(folder, learner)
        files = (path for path in folder.rglob("*") if path.is_file())
        return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def part_of(progress: Progress, part: slice) -> Progress:
    """Give the progress of some environments."""
    lists = {k: v[part] for k, v in vars(progress).items() if isinstance(v, list)}
    return dataclasses.replace(progress, **lists)


def joined(parts: Sequence[Progress]) -> Progress:
    """Give the progress of all environments."""
    lists = [k for k, v in vars(parts[0]).items() if isinstance(v, list)]
    return dataclasses.replace(
        parts[0], **{k: sum((getattr(part, k) for part in parts), []) for k in lists}
    )


def side_by_side(of: Sequence[Mapping[str, Any]], axis: int) -> dict[str, Any]:
    """Join arrays of nested mappings along the axis of the environments."""
    return {
        key: side_by_side([one[key] for one in of], axis)
        if isinstance(value, dict)
        else np.concatenate([one[key] for one in of], axis=axis)
        for key, value in of[0].items()
    }


def require_cores(nodes: Sequence[Mapping[str, Any]], config: WorkersConfig) -> None:
    """Raise UserError if the workers cannot all be there at once: they would wait for ever."""
    there = sum(int(node["Resources"].get("CPU", 0) // config.cpus) for node in nodes)
    if there < config.count:
        raise UserError(
            f"{KEY}: {config.count} with {config.cpus} cores each are asked for, and there is room "
            f"for {there}"
        )
