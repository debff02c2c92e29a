"""How well a policy does: success, return and length over many episodes, with intervals."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import binomtest
from scipy.stats import t as student_t

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
    whole: bool = False  # whether episodes went on after success, else: terminate on success

    @property
    def success(self) -> float:
        """Give the share of successful episodes."""
        return sum(self.successes) / len(self.successes)

    def interval(self, confidence: float = 0.95) -> tuple[float, float]:
        """Give the Wilson interval of the success rate."""
        return wilson_interval(sum(self.successes), len(self.successes), confidence)

    def summary(self) -> dict[str, Any]:
        """Give the results as JSON-able values; None for what is not finite.

        ``success``, the share of successful episodes, with its 95% Wilson ``interval``; the means
        ``return`` and ``length``, in steps, with 95% Student-t intervals (the length's cut at
        0), None for one episode; ``episodes``, and whether they are ``whole`` or terminate on
        success.
        """
        length_interval = student_interval(self.lengths)
        return {
            "success": self.success,
            "interval": list(self.interval()),
            "return": _mean(self.returns),
            "return_interval": student_interval(self.returns),
            "length": _mean(self.lengths),
            "length_interval": length_interval and [max(0.0, end) for end in length_interval],
            "episodes": len(self.successes),
            "whole": self.whole,
        }

    def save(self, folder: Path) -> None:
        """Write ``episodes.jsonl``, a line for each episode, and ``initial_states.npy``.

        A return that is not finite is null. Raises DataError if they cannot be written.
        """
        make_folder(folder)
        returns = map(_finite, self.returns)
        rows = zip(self.seeds, self.successes, self.lengths, returns, strict=True)
        names = ("seed", "success", "length", "return")
        rows = (dict(zip(names, row, strict=True)) for row in rows)
        lines = [json.dumps(row, allow_nan=False) + "\n" for row in rows]
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


def student_interval(values: Sequence[float], confidence: float = 0.95) -> list[float] | None:
    """Give Student's interval of the mean of n values, m -+ t(n - 1) s / sqrt(n).

    None for a single value, and if one is not finite.
    """
    n, m = len(values), _mean(values)
    if n == 1 or m is None:
        return None
    t = student_t.ppf((1 + confidence) / 2, n - 1)
    half = float(t * np.std(values, ddof=1) / np.sqrt(n))
    return [m - half, m + half]


def _mean(values: Sequence[float]) -> float | None:
    """Give the mean; None if a value is not finite."""
    return float(np.mean(values)) if np.isfinite(values).all() else None


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def evaluate(
    env: VectorEnvironment | Environment,
    policy: Policy,
    seeds: Sequence[int],
    horizon: int,
    *,
    initial_states: Sequence[np.ndarray] | None = None,
    whole: bool | None = None,
    keep_states: bool = False,
    on_episode: Callable[[Episode], None] | None = None,
) -> Evaluation:
    """Run the policy once for each seed, at most ``horizon`` steps.

    An episode ends at success (terminate on success) unless it is ``whole``; None: whole for a
    policy that was learnt from rewards (its ``eats`` is "rollouts" or "replay"), whose return means
    little if success cuts it off.

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
    if whole is None:
        whole = getattr(policy, "eats", None) in ("rollouts", "replay")
    lasting = {"horizon": horizon, "settle_steps": horizon if whole else 0}
    rows = []
    for episode, start in rollouts(env, jobs, **lasting, keep_states=keep_states):
        if on_episode is not None:
            on_episode(episode)
        total = float(episode.rewards.sum())
        rows.append((bool(episode.success), len(episode), total, start))
    successes, lengths, returns, starts = zip(*rows, strict=True)
    return Evaluation(
        tuple(job.seed for job in jobs), successes, lengths, returns, np.stack(starts), whole
    )
