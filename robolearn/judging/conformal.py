"""Conformal p-values: is something new as ordinary as the calibration examples were?

Split-conformal: if the new example and n calibration examples are exchangeable, then for any score
(higher is stranger) that was fixed without them,

    p = (1 + #{i: s_i >= s_new}) / (n + 1)   satisfies   P(p <= alpha) <= alpha.

Cross-conformal lets every example calibrate although models are trained on the same data: the
examples are dealt into folds, fold f is scored by a model of the other folds, and

    p = (1 + sum_f #{i in f: s_i^(-f) >= s_new^(-f)}) / (n + 1).

Within a fold that is exactly split-conformal; over all folds it is, up to 1 / (n + 1), the mean of
the folds' p-values, so P(p <= alpha) is at most about 2 alpha whatever the data and the score. In
practice it is alpha or less: a mean of p-values that do not move together is rarely extreme, so the
more the models of different folds differ, the fewer are rejected, wrongly or rightly.
Equal scores count as at least as strange, so ties only make a rejection rarer.

Vovk, "Cross-conformal predictors" (2015); Vovk and Wang, "Combining p-values via averaging" (2020);
Barber, Candes, Ramdas, Tibshirani, "Predictive inference with the jackknife+" (2021), Theorem 4.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from robolearn.errors import DataError


def deal_folds(examples: int, folds: int, rng: np.random.Generator) -> list[np.ndarray]:
    """Deal the numbers 0 .. examples - 1 into folds whose sizes differ by one at most."""
    return [np.sort(fold) for fold in np.array_split(rng.permutation(examples), folds)]


def cross_conformal_p_value(held_out: Sequence[np.ndarray], new: Sequence[float]) -> float:
    """Give the p-value of a new example.

    ``held_out[f]`` [n_f] are the scores of fold f's examples, and ``new[f]`` that of the new one,
    both under the model that was trained on the other folds. One fold is split-conformal.
    """
    at_least = sum(int(np.sum(s >= s_new)) for s, s_new in zip(held_out, new, strict=True))
    return (1 + at_least) / (1 + sum(len(scores) for scores in held_out))


def require_enough(examples: int, alpha: float, folds: int) -> None:
    """Raise DataError for too few examples: none could be rejected at alpha, or a fold be empty."""
    needed = math.ceil(1.0 / alpha - 1.0 - 1e-9)  # the smallest p-value is 1 / (n + 1)
    if examples < needed:
        raise DataError(
            f"with {examples} demonstrations a false-rejection rate of {alpha:g} would reject"
            f" nothing: calibrate on at least {needed}, or allow {1.0 / (examples + 1.0):.3g}"
        )
    if examples < max(folds, 4):
        raise DataError(
            f"{examples} demonstrations cannot be dealt into {folds} folds: give at least"
            f" {max(folds, 4)}"
        )
