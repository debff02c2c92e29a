"""What many runs say of a method: interquartile mean, probability of improvement, intervals.

Agarwal, Schwarzer, Castro, Courville, Bellemare, "Deep Reinforcement Learning at the Edge of the
Statistical Precipice" (NeurIPS 2021), whose library is ``rliable``. Scores are an array [N] for
each of M tasks, of N runs that differ in their seed; N may differ between tasks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from scipy.stats import trim_mean

CONFIDENCE = 0.95
REPETITIONS = 2000  # of a bootstrap, R
Scores = Sequence[np.ndarray]


def mean(scores: Scores) -> np.ndarray:
    """Give the mean over tasks of the means over runs, of scores [..., N] each: [...]."""
    return np.mean([task.mean(-1) for task in scores], axis=0)


def interquartile_mean(scores: Scores) -> np.ndarray:
    """Give the mean of the middle half of all runs of all tasks, of scores [..., N] each: [...].

    A quarter of the runs, rounded down, is left out at either end: none of three, one of four.
    """
    return trim_mean(np.concatenate(scores, axis=-1), 0.25, axis=-1)


def stratified_bootstrap(
    scores: Scores,
    statistic: Callable[[Scores], np.ndarray],
    rng: np.random.Generator,
    repetitions: int = REPETITIONS,
) -> np.ndarray:
    """Give a statistic of scores [N] each whose runs are drawn anew with replacement: [R].

    The strata are the tasks: of each, as many runs are drawn as there are.
    """
    return statistic([_resampled(task, rng, repetitions) for task in scores])


def interval(draws: np.ndarray, confidence: float = CONFIDENCE) -> tuple[np.ndarray, np.ndarray]:
    """Give the percentile interval of bootstrap draws [R, ...]: low and high, [...] each."""
    tail = 50 * (1 - confidence)
    low, high = np.percentile(draws, [tail, 100 - tail], axis=0)
    return low, high


def probability_of_improvement(x: Scores, y: Scores) -> np.ndarray:
    """Give how probable it is that a run of X beats one of Y on a task drawn at random: [...].

    P(X > Y) = 1/M sum_m 1/(N K) sum_i sum_j S(x_mi, y_mj), where S is 1 for x > y, 1/2 for equal
    scores: the Mann-Whitney U statistic, over tasks. x is [..., N] for each task, y [..., K].
    """
    return np.mean([_beats(a, b).mean((-2, -1)) for a, b in zip(x, y, strict=True)], axis=0)


def improvement_interval(
    x: Scores, y: Scores, rng: np.random.Generator, repetitions: int = REPETITIONS
) -> tuple[np.ndarray, np.ndarray]:
    """Give the interval of P(X > Y), for which the runs of both, [N] and [K], are drawn anew."""
    mine, others = ([_times_drawn(len(t), rng, repetitions) for t in scores] for scores in (x, y))
    shares = [
        ((drawn @ _beats(a, b)) * against).sum(-1) / (len(a) * len(b))  # [R, N] [N, K] [R, K]
        for a, b, drawn, against in zip(x, y, mine, others, strict=True)
    ]
    return interval(np.mean(shares, axis=0))


def _beats(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Give S(a_i, b_j) of a [..., N] and b [..., K]: [..., N, K]."""
    return 0.5 * (1 + np.sign(a[..., :, None] - b[..., None, :]))


def _times_drawn(runs: int, rng: np.random.Generator, repetitions: int) -> np.ndarray:
    """Say how often each of N runs is drawn when N are drawn with replacement: [R, N]."""
    drawn = rng.integers(runs, size=(repetitions, runs)) + runs * np.arange(repetitions)[:, None]
    return np.bincount(drawn.ravel(), minlength=repetitions * runs).reshape(repetitions, runs)


def _resampled(scores: np.ndarray, rng: np.random.Generator, repetitions: int) -> np.ndarray:
    return scores[rng.integers(len(scores), size=(repetitions, len(scores)))]  # [R, N]
