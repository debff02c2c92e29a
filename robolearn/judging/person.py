"""Does a person's way of demonstrating fit? A verdict that grows with every demonstration.

One rejected demonstration may be the share alpha that a base operator's own would be, too. So the
rejections of one person are counted in a sequential test. Of the base's N demonstrations, m lie
beyond one of the two lines; then a further one of the same kind does so with a probability q that
is hardly more than

    q_0 = the quantile 1 - delta of Beta(m + 2, N - m - 1),

since each line is one of their order statistics or beyond it, whatever their distribution (Wilks
1941; for two lines Tukey's equivalent blocks, 1947: one block more may be lost); this is for N
demonstrations that the measure has not seen, which leaving each out in turn comes near to. Against
"q is at most q_0" speaks the likelihood ratio of a higher q_1,

    L_i = (q_1 / q_0)^x_i ((1 - q_1) / (1 - q_0))^(1 - x_i),     x_i = 1 if rejected.

A person's way may change after many accepted demonstrations, which would outweigh what comes. So
the test begins anew with each demonstration k, with a weight, and the tests are added up:

    E_n = sum_(k <= n) w_k prod_(i = k..n) L_i + sum_(k > n) w_k,     w_k = 1 / (k (k + 1)).

Each of them, 1 until it begins, is an e-process, and so is their mean, as the weights sum to 1:
with probability 1 - delta it never reaches 1 / delta, however long one looks (Ville 1939; Ramdas,
Grunwald, Vovk, Shafer, "Game-theoretic statistics and safe anytime-valid inference", 2023). So a
person who demonstrates as the base does is ever told otherwise with probability 2 delta at most. A
change is found after about log(n^2 / delta) / log(q_1 / q_0) rejections, n the number of
demonstrations before it. (Sums without weights, as of Shiryaev and Roberts, find it a little
sooner, but only bound how often there is a false alarm; Shin, Ramdas, Rinaldo, "E-detectors", 2022)
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from scipy.stats import beta

from robolearn.errors import DataError
from robolearn.judging.harm import HarmJudge
from robolearn.judging.verdicts import HarmVerdict

STRANGER = 0.7  # q_1: how often the demonstrations of a person who does not fit are rejected


@dataclass
class Person:
    """One person's demonstrations, judged as they come."""

    judge: HarmJudge
    false_alarm_rate: float = 0.05  # 2 delta, over all of the person's demonstrations together
    evidence: float = 1.0  # E_n
    strongest: float = 1.0  # the highest E_n so far
    begun: float = 0.0  # the part of E_n of the tests that have begun
    verdicts: list[HarmVerdict] = field(default_factory=list)

    def __post_init__(self) -> None:
        if not 0.0 < self.false_alarm_rate < 1.0:
            raise DataError(f"false_alarm_rate: {self.false_alarm_rate} is not between 0 and 1")
        own = self.judge.own_harm
        beyond = int((own > 1.0).sum())
        if beyond + 1 >= len(own):
            raise DataError(f"{beyond} of {len(own)} base demonstrations are beyond the lines")
        self._q0 = float(
            beta.ppf(1.0 - self.false_alarm_rate / 2, beyond + 2, len(own) - beyond - 1)
        )

    @property
    def rate_of_base(self) -> float:
        """Bound the share q_0 of the base's own demonstrations that are rejected."""
        return self._q0

    @property
    def line(self) -> float:
        """Give the evidence 1 / delta from which on a person's way does not fit."""
        return 2.0 / self.false_alarm_rate

    @property
    def fits(self) -> bool:
        """Say whether nothing has shown yet that this person's way does not fit."""
        return self.strongest < self.line

    def score(self, observations: np.ndarray, actions: np.ndarray) -> HarmVerdict:
        """Judge one more demonstration, and count it; raises as ``HarmJudge.score`` does."""
        verdict = self.judge.score(observations, actions)
        self.count(verdict)
        return verdict

    def count(self, verdict: HarmVerdict) -> None:
        """Count what ``judge.score`` has said of one more demonstration."""
        self.verdicts.append(verdict)
        q0, q1 = self._q0, max(STRANGER, (1.0 + self._q0) / 2)
        ratio = (1.0 - q1) / (1.0 - q0) if verdict.accepted else q1 / q0  # L_n
        n = len(self.verdicts)
        self.begun = ratio * (self.begun + 1.0 / (n * (n + 1)))
        self.evidence = self.begun + 1.0 / (n + 1)  # the weights of all that begin later
        self.strongest = max(self.strongest, self.evidence)
