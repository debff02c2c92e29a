"""How well a policy does: success over many episodes, with its uncertainty and its start states."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import binomtest

from robolearn.errors import DataError
from robolearn.files import make_folder, write_atomically
from robolearn.loops.rollout import Job, rollouts
from robolearn.types import Environment, Episode, Policy, VectorEnvironment

EVALUATION = 1  # [seed] and [seed, 0] are the same sequence to numpy, a key beside it is not


@dataclass(frozen=True)
class Evaluation:
    """The outcome of n episodes, and all that is needed to run the same ones again."""

    seeds: tuple[int, ...]  # [n], given to env.reset
    successes: tuple[bool, ...]  # [n]
    lengths: tuple[int, ...]  # [n], steps
    returns: tuple[float, ...]  # [n], sum of rewards
    initial_states: np.ndarray  # [n, S] float64, from which each episode started

    @property
    def success(self) -> float:
        """Give the share of successful episodes."""
        return sum(self.successes) / len(self.successes)

    def interval(self, confidence: float = 0.95) -> tuple[float, float]:
        """Give the Wilson interval of the success rate."""
        return wilson_interval(sum(self.successes), len(self.successes), confidence)

    def summary(self) -> dict[str, Any]:
        """Give the results as JSON-able values: success, its 95% interval, number of episodes."""
        return {
            "success": self.success,
            "interval": list(self.interval()),
            "episodes": len(self.successes),
        }

    def save(self, folder: Path) -> None:
        """Write ``episodes.jsonl``, a line for each episode, and ``initial_states.npy``.

        Raises DataError if they cannot be written.
        """
        make_folder(folder)
        rows = zip(self.seeds, self.successes, self.lengths, self.returns, strict=True)
        names = ("seed", "success", "length", "return")
        lines = [json.dumps(dict(zip(names, row, strict=True))) + "\n" for row in rows]
        write_atomically(folder / "episodes.jsonl", "".join(lines).encode())
        states = io.BytesIO()
        np.save(states, self.initial_states, allow_pickle=False)
        write_atomically(folder / "initial_states.npy", states.getvalue())


def evaluation_seeds(seed: int, n: int) -> list[int]:
    """Give the seeds of n evaluation episodes of a run, which no training of it draws from."""
    return np.random.SeedSequence(seed, spawn_key=(EVALUATION,)).generate_state(n).tolist()


def wilson_interval(successes: int, episodes: int, confidence: float = 0.95) -> tuple[float, float]:
    """Give the Wilson score interval of a success rate (Wilson 1927)."""
    interval = binomtest(successes, episodes).proportion_ci(confidence, method="wilson")
    return float(interval.low), float(interval.high)


def evaluate(
    env: VectorEnvironment | Environment,
    policy: Policy,
    seeds: Sequence[int],
    horizon: int,
    *,
    initial_states: Sequence[np.ndarray] | None = None,
    keep_states: bool = False,
    on_episode: Callable[[Episode], None] | None = None,
) -> Evaluation:
    """Run the policy once for each seed, at most ``horizon`` steps; an episode ends at success.

    In a batch of environments many episodes run at a time, if the policy is ``memoryless``; the
    result does not depend on how many. ``initial_states`` (one [S] for each seed), if given, are
    where the episodes start: with those of an earlier Evaluation, two policies meet exactly the
    same situations. ``on_episode`` sees every finished Episode, in the order of the seeds, with
    the states of a batch only if ``keep_states``. Raises DataError for no seeds, or states that do
    not match them.
    """
    if not seeds:
        raise DataError("an evaluation needs at least one seed")
    states = [None] * len(seeds) if initial_states is None else initial_states
    if len(states) != len(seeds):
        raise DataError(f"{len(states)} initial states for {len(seeds)} seeds")
    jobs = [Job(policy, int(seed), state) for seed, state in zip(seeds, states, strict=True)]
    rows = []
    for episode, start in rollouts(env, jobs, horizon=horizon, keep_states=keep_states):
        if on_episode is not None:
            on_episode(episode)
        total = float(episode.rewards.sum())
        rows.append((bool(episode.success), len(episode), total, start))
    successes, lengths, returns, starts = zip(*rows, strict=True)
    return Evaluation(
        tuple(job.seed for job in jobs), successes, lengths, returns, np.stack(starts)
    )
