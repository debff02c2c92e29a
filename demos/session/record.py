"""Collect demonstrations: operators act in an environment, every episode goes to disk at once.

A collection is a sequence of attempts. Attempt i is decided by (seed, i) alone: the start from the
environment's seed, the operator's moods from its own generator. So a collection that was stopped,
however, goes on where it stopped, and ends with the episodes it would have had without the stop.
"""

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from demos.data.dataset import Dataset
from demos.data.index import installed_version, operator_mask
from robolearn.errors import DataError
from robolearn.loops.rollout import Job, rollouts
from robolearn.types import Environment, Episode, Policy, Step, VectorEnvironment

PACKAGES = (
    "robolearn", "mujoco", "robosuite", "dm-control", "gymnasium", "metaworld", "numpy",
)  # fmt: skip


@dataclass(frozen=True)
class Collected:
    """How far a collection is, earlier runs of it included."""

    attempts: int
    successes: int
    names: tuple[str, ...]  # of its episodes in the dataset, one per attempt
    new: int = 0  # attempts that no earlier run has made


def collect(
    make_env: Callable[[], VectorEnvironment | Environment],
    make_operator: Callable[[np.random.Generator], Policy],
    dataset: Dataset,
    *,
    operator: str,
    episodes: int,
    seed: int,
    horizon: int,
    settle_steps: int = 0,
    count_failures: bool = False,
    max_attempts: int | None = None,
    details: Mapping[str, Any] | None = None,
    on_step: Callable[[Step], None] | None = None,
    progress: Callable[[Collected], None] | None = None,
) -> Collected:
    """Record until ``episodes`` demonstrations of ``operator`` succeeded; failures are kept too.

    In a batch of environments as many attempts run at a time, but none that is not needed; they
    are kept in order, and one that ends before an earlier one waits for it in memory.

    Run it again with the same ``operator`` and ``seed`` and it goes on where it stopped: after
    Ctrl-C (KeyboardInterrupt comes out once the environment is closed), a kill or a full disk; no
    episode that was kept is lost. ``count_failures`` counts every attempt; ``details`` (JSON-able)
    go into each episode's metadata; ``progress`` hears of every attempt. Each gets a fresh
    operator.

    Raises SpecError if the environment does not fit the dataset, and DataError if the disk is full
    or ``max_attempts`` (default 5 x episodes + 20) were not enough.
    """
    limit = 5 * episodes + 20 if max_attempts is None else max_attempts
    done = _earlier(dataset, operator, seed)
    env = make_env()
    try:
        dataset.require_environment(env.interface)
        about = {**circumstances(env), **(details or {}), "operator": operator}
        last = min(limit, episodes) if count_failures else limit
        jobs = (_job(make_operator, seed, attempt) for attempt in range(done.attempts, last))
        wanted = None if count_failures else episodes - done.successes
        for episode, _ in rollouts(
            env, jobs, horizon=horizon, settle_steps=settle_steps, wanted=wanted, on_step=on_step
        ):
            attempt = {"collection": {"seed": seed, "attempt": done.attempts}}
            done = _keep(dataset, _marked(episode, about | attempt), done)
            if progress:
                progress(done)
        if (done.attempts if count_failures else done.successes) < episodes:
            raise DataError(_too_few(dataset, operator, done, episodes))
        dataset.flush()
    finally:
        env.close()
    return done


def _job(make_operator: Callable[[np.random.Generator], Policy], seed: int, attempt: int) -> Job:
    """Give one attempt its operator and the seed of its start."""
    start, moods = np.random.SeedSequence([seed, attempt]).spawn(2)
    return Job(make_operator(np.random.default_rng(moods)), int(start.generate_state(1)[0]))


def _earlier(dataset: Dataset, operator: str, seed: int) -> Collected:
    """Find what earlier runs of this collection have recorded."""
    found = {}
    for name in dataset.masks().get(operator_mask(operator), []):
        about = dataset.metadata(name)
        collection = about.get("collection", {})
        if about["operator"] == operator and collection.get("seed") == seed:
            found[collection["attempt"]] = (name, about["outcome"] == "success")
    attempts = [found[attempt] for attempt in sorted(found)]
    return Collected(
        max(found, default=-1) + 1,
        sum(success for _, success in attempts),
        tuple(name for name, _ in attempts),
    )


def circumstances(env: VectorEnvironment | Environment) -> dict[str, Any]:
    """Give metadata that says how episodes come about, so that they can be replayed."""
    about = {
        "robot": env.interface.robot,
        "controller": env.interface.controller,
        "versions": {name: installed_version(name) for name in PACKAGES},
    }
    size = getattr(env, "mujoco_state_size", None)
    if size is not None:  # how much of a state is time, qpos, qvel: robomimic's "states"
        about["mujoco_state_size"] = int(size)
    return about


def _marked(episode: Episode, about: Mapping[str, Any]) -> Episode:
    outcome = {"outcome": "success" if episode.success else "failure"}
    return dataclasses.replace(episode, metadata={**episode.metadata, **about, **outcome})


def _keep(dataset: Dataset, episode: Episode, done: Collected) -> Collected:
    name = dataset.append(episode)
    return Collected(
        done.attempts + 1, done.successes + episode.success, (*done.names, name), done.new + 1
    )


def _too_few(dataset: Dataset, operator: str, done: Collected, episodes: int) -> str:
    return (
        f"{dataset.path}: operator {operator} succeeded in {done.successes} of {done.attempts} "
        f"attempts; {episodes} successes were asked for (all attempts are kept)"
    )
