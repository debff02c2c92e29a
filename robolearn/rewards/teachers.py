"""Scripted teachers, who know the reward and answer as people do: Lee, Smith, Dragan, Abbeel,
"B-Pref: Benchmarking Preference-Based Reinforcement Learning" (NeurIPS 2021, Datasets).

Of two segments of L steps with true rewards r_1 .. r_L, in this order (the paper's Algorithm 1):

    cannot tell       if  max( sum r(first), sum r(second) ) < delta_skip
    equal             if  | sum r(first) - sum r(second) | <= delta_equal
    P[first > second] =   1 / (1 + exp( -beta sum_t gamma^(L - t) (r_t(first) - r_t(second)) ))
                          and with probability epsilon the other one is said

    delta = share * unit,   unit = (L / T) R     R the present policy's return in T steps
                                                 (delta_equal: of its size, where it is negative)

beta = infinity is perfectly rational, gamma < 1 is myopic: what comes last in a segment counts
most. What is neither better nor worse is equal also where delta_equal is 0: the paper, which has
"<", leaves that to chance.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from annotated_types import Gt, Le
from pydantic import NonNegativeFloat

from robolearn.errors import DataError
from robolearn.rewards.labels import Answer, Question, Segment
from robolearn.settings import Settings, Share

Judge = Callable[[Segment], np.ndarray]
"""Gives the true rewards [L] of a segment."""


@dataclass(frozen=True)
class TeacherConfig(Settings):
    """How a teacher answers. Raises UserError for a value out of range."""

    beta: NonNegativeFloat | None = None
    """Rationality, per unit of reward; None: always the better one, 0: by chance."""
    gamma: Annotated[float, Gt(0), Le(1)] = 1.0
    """Weight of a reward one step earlier."""
    mistake: Share = 0.0
    """Probability epsilon of saying the other one."""
    skip: NonNegativeFloat | None = None
    """Share of the unit below which both are too little to tell; None: tells always."""
    equal: NonNegativeFloat = 0.0
    """Share of the unit up to which a difference is none."""


TEACHERS = {  # the paper's, with the values of its authors' scripts (rll-research/BPref)
    "perfect": TeacherConfig(),
    "noisy": TeacherConfig(beta=1.0),
    "mistaken": TeacherConfig(mistake=0.1),
    "myopic": TeacherConfig(gamma=0.9),
    "skipping": TeacherConfig(skip=0.1),
    "equal": TeacherConfig(equal=0.1),
}


def task_rewards(segment: Segment) -> np.ndarray:
    """Give what the environment itself rewarded, [L]; DataError if nobody kept it."""
    if "task_rewards" not in segment:
        raise DataError("this segment has no 'task_rewards'; a replay keeps them if it is asked to")
    return np.asarray(segment["task_rewards"])


class Teacher:
    """Somebody scripted who prefers what is rewarded: a Labeller.

    An answer depends on the seed and on how many questions came before, ``asked``, alone: set that
    to go on where another process stopped. Set ``unit`` as the policy improves.
    """

    def __init__(
        self,
        config: TeacherConfig = TEACHERS["perfect"],
        seed: int = 0,
        judge: Judge = task_rewards,
        unit: float = 1.0,
    ):
        """Say how it answers, and by which rewards."""
        self.config, self.seed, self.judge, self.unit = config, seed, judge, unit
        self.asked = 0

    def answer(self, question: Question) -> Answer:
        """Say which of two segments is preferred."""
        first, second = (
            np.asarray(self.judge(segment), dtype=float)
            for segment in (question.first, question.second)
        )
        chance = np.random.default_rng([self.seed, self.asked]).random()
        self.asked += 1
        config, sums = self.config, (first.sum(), second.sum())
        if config.skip is not None and max(sums) < config.skip * self.unit:
            return Answer.CANNOT_TELL
        if abs(sums[0] - sums[1]) <= config.equal * abs(self.unit):
            return Answer.EQUAL
        said = chance < probability(first, second, config)
        return Answer.FIRST if said else Answer.SECOND


def probability(first: np.ndarray, second: np.ndarray, config: TeacherConfig) -> float:
    """Give the probability that "first" is said of rewards [L] each, mistakes included."""
    weights = config.gamma ** np.arange(len(first) - 1, -1, -1.0)
    better = float(weights @ (first - second))
    if config.beta is None:
        p = 0.5 * (1.0 + np.sign(better))
    else:
        p = 0.5 * (1.0 + math.tanh(0.5 * config.beta * better))  # the logistic, without overflow
    return float((1.0 - config.mistake) * p + config.mistake * (1.0 - p))


def unit_of(average_return: float, steps: int, length: int) -> float:
    """Give (L / T) R, the average sum of a segment of L = ``length`` of T = ``steps`` steps."""
    return length / steps * average_return
