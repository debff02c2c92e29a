"""Does a demonstration agree with what a base operator would have done?

The measure of Gandhi, Karamcheti, Liao, Sadigh, "Eliciting Compatible Demonstrations for
Multi-Human Imitation Learning" (CoRL 2022), for an ensemble f_1 .. f_K cloned from the operator:

    error          L(s, a) = mean_k mean_j (f_k(s)_j - a_j)^2
    novelty        N(s)    = mean_j std_k f_k(s)_j
    compatibility  M(s, a) = 1 if N(s) > eta, else 1 - min(L(s, a) / lambda, 1)

A pair of high error in a familiar state (L > lambda, N < eta) is incompatible; the paper rejects a
demonstration with more than tau of them, with thresholds set by eye. Beyond the paper:

- lambda and eta are quantiles of the base operator's own demonstrations, held out of training.
- A demonstration's verdict is calibrated: it is rejected if some statistic of it is as high as only
  a share alpha of the base operator's, by a cross-conformal p-value (``judging/conformal.py``).
- The statistics look at the worst *window*, so that a short branch counts in a long agreement;
  most do without the gate, which hides a branch once it has led to novel states; and some let a
  step count for one at most, as the operator's own rare jerks would else set the bar for all.
- The gripper is scored apart: its switches may come a few steps early or late.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

TIE = 1e-9  # so little that it decides between equals only
FULL_SWING = 4.0  # squared difference between an open and a closed gripper, 1 and -1


# the paper's equations


def error(predictions: np.ndarray, actions: np.ndarray) -> np.ndarray:
    """Give L [T] of actions [T, A], clipped to [-1, 1], under predictions f_k(s) [K, T, A]."""
    return np.square(predictions - np.clip(actions, -1.0, 1.0)).mean(axis=(0, 2))


def novelty(predictions: np.ndarray) -> np.ndarray:
    """Give N [T] of predictions f_k(s) [K, T, A]: the unbiased spread over the members."""
    return predictions.std(axis=0, ddof=1).mean(axis=1)


def compatibility(L: np.ndarray, N: np.ndarray, lam: float, eta: float) -> np.ndarray:
    """Give M [T] in [0, 1]."""
    return np.where(N > eta, 1.0, 1.0 - np.minimum(L / lam, 1.0))


def is_incompatible(L: np.ndarray, N: np.ndarray, lam: float, eta: float) -> np.ndarray:
    """Say of each step [T] whether it is familiar and yet disagrees."""
    return (L > lam) & (N < eta)


def quadrant(L: np.ndarray, N: np.ndarray, lam: float, eta: float) -> np.ndarray:
    """Name each step [T]: "redundant", "incompatible" or "new coverage"."""
    conflict = is_incompatible(L, N, lam, eta)
    return np.select([conflict, N > eta], ["incompatible", "new coverage"], "redundant")


def paper_rejects(L: np.ndarray, N: np.ndarray, lam: float, eta: float, tau: int) -> bool:
    """Say whether more than tau steps are incompatible: the paper's verdict."""
    return int(is_incompatible(L, N, lam, eta).sum()) > tau


# a demonstration's scores


@dataclass(frozen=True)
class Scores:
    """What an ensemble says of each step of a demonstration, and of each action entry."""

    L: np.ndarray  # [T], error of the motion (every entry but the gripper)
    N: np.ndarray  # [T], novelty, of the motion's entries
    gripper: np.ndarray  # [T] in [0, 1], share of a full swing, squared; 0 without a gripper
    paper_L: np.ndarray  # [T], error of all entries, exactly as in the paper
    paper_N: np.ndarray  # [T]
    difference: np.ndarray  # [T, A], action minus the members' mean


@dataclass(frozen=True)
class Scale:
    """How large scores are for the base operator itself, where it was not trained on."""

    lam: float
    eta: float
    paper_lam: float
    paper_eta: float
    noise: float  # mean of L
    gripper: float  # quantile of the gripper's error, at least a tenth

    @classmethod
    def of(cls, held_out: list[Scores], quantile: float) -> Scale:
        """Take the scale from the scores of held-out base demonstrations."""
        names = ("L", "N", "paper_L", "paper_N", "gripper")
        at = {name: float(np.quantile(_pooled(held_out, name), quantile)) for name in names}
        return cls(
            lam=at["L"],
            eta=at["N"],
            paper_lam=at["paper_L"],
            paper_eta=at["paper_N"],
            noise=float(_pooled(held_out, "L").mean()),
            gripper=max(at["gripper"], 0.1),
        )


def _pooled(demonstrations: list[Scores], name: str) -> np.ndarray:
    return np.concatenate([getattr(scores, name) for scores in demonstrations])


def score(
    predictions: np.ndarray, actions: np.ndarray, gripper: int | None, gripper_shift: int
) -> Scores:
    """Score a demonstration: actions [T, A] under predictions f_k(s) [K, T, A]."""
    motion = [j for j in range(actions.shape[1]) if j != gripper]
    return Scores(
        L=error(predictions[..., motion], actions[:, motion]),
        N=novelty(predictions[..., motion]),
        gripper=np.zeros(len(actions))
        if gripper is None
        else gripper_error(predictions[..., gripper], actions[:, gripper], gripper_shift),
        paper_L=error(predictions, actions),
        paper_N=novelty(predictions),
        difference=actions - predictions.mean(axis=0),
    )


def gripper_error(predictions: np.ndarray, actions: np.ndarray, shift: int) -> np.ndarray:
    """Compare a gripper's actions [T] with predictions [K, T] of any step at most ``shift`` away.

    Returns the smallest mean_k (f_k(s_(t + dt)) - a_t)^2 as a share [T] of a full swing. A switch a
    few steps early or late is a full swing at those steps and says nothing of the operator's style.
    """
    steps = len(actions)
    errors = np.full((2 * shift + 1, steps), np.inf)
    for row, dt in enumerate(range(-shift, shift + 1)):
        t = np.arange(max(0, -dt), min(steps, steps - dt))
        errors[row, t] = np.square(predictions[:, t + dt] - actions[t]).mean(axis=0)
    return errors.min(axis=0) / FULL_SWING


# statistics of a demonstration


@dataclass(frozen=True)
class Statistic:
    """One number for a demonstration: how much it disagrees at each step, and how that adds up."""

    disagreement: Callable[[Scores, Scale, int], np.ndarray]  # -> [T], >= 0
    total: Callable[[np.ndarray, int], float]  # of [T], with the window's length
    cap: float = np.inf  # beyond it only ties are broken

    def __call__(self, scores: Scores, scale: Scale, window: int) -> float:
        """Give the number; higher is stranger. ``window`` is in steps."""
        return self.total(self.disagreement(scores, scale, window), window)

    @property
    def by_window(self) -> bool:
        """Say whether it is the worst window's, to which a shorter demonstration adds agreement."""
        return self.total is _worst_window


def window_means(disagreement: np.ndarray, window: int) -> np.ndarray:
    """Average [T] over every window; agreement is taken to follow what is shorter than one."""
    padded = np.pad(disagreement, (0, max(0, window - len(disagreement))))
    return np.convolve(padded, np.full(window, 1.0 / window), mode="valid")


def _sum(disagreement: np.ndarray, window: int) -> float:
    return float(disagreement.sum())


def _mean(disagreement: np.ndarray, window: int) -> float:
    return float(disagreement.mean())


def _worst_window(disagreement: np.ndarray, window: int) -> float:
    return float(window_means(disagreement, window).max())


def _paper_incompatible(s: Scores, scale: Scale, window: int) -> np.ndarray:
    return is_incompatible(s.paper_L, s.paper_N, scale.paper_lam, scale.paper_eta).astype(float)


def _paper_incompatibility(s: Scores, scale: Scale, window: int) -> np.ndarray:
    return 1.0 - compatibility(s.paper_L, s.paper_N, scale.paper_lam, scale.paper_eta)


def _gripper(s: Scores, scale: Scale, window: int) -> np.ndarray:
    return s.gripper / scale.gripper


def _error(s: Scores, scale: Scale, window: int) -> np.ndarray:
    """Add motion and gripper, ungated and without limit."""
    return s.L / scale.lam + _gripper(s, scale, window)


def _relative(s: Scores, scale: Scale, window: int) -> np.ndarray:
    """Measure the error against what the ensemble does not know and what the operator scatters."""
    return s.L / (np.square(s.N) + scale.noise) + _gripper(s, scale, window)


def _share(s: Scores, scale: Scale, window: int) -> np.ndarray:
    """Let a step count for one at most, so that a lasting disagreement outweighs a brief jerk.

    Among windows full of such steps, how large they are decides: without that, one full window in
    the base's own demonstrations would tie with every stranger and none could be rejected.
    """
    disagreement = np.maximum(s.L / scale.lam, s.gripper / scale.gripper)
    return np.minimum(disagreement, 1.0) + TIE * disagreement


def _familiar(s: Scores, scale: Scale, window: int) -> np.ndarray:
    """Keep the paper's gate: only steps in familiar states count."""
    return _share(s, scale, window) * (s.N < scale.eta)


def _branch(s: Scores, scale: Scale, window: int) -> np.ndarray:
    """Count a step if the window that ends there holds a familiar state: it parted from there."""
    familiar = s.N < scale.eta
    recent = np.convolve(familiar, np.ones(window), mode="full")[: len(familiar)] > 0.5
    return _share(s, scale, window) * recent


STATISTICS: Mapping[str, Statistic] = {
    "count": Statistic(_paper_incompatible, _sum),  # the paper's
    "mean_incompatibility": Statistic(_paper_incompatibility, _mean),  # the paper's other reading
    "mean_error": Statistic(_error, _mean),
    "mean_share": Statistic(_share, _mean),
    "worst_error": Statistic(_error, _worst_window),
    "worst_relative": Statistic(_relative, _worst_window),
    "worst_share": Statistic(_share, _worst_window, cap=1.0),
    "worst_familiar": Statistic(_familiar, _worst_window, cap=1.0),
    "worst_branch": Statistic(_branch, _worst_window, cap=1.0),
    "worst_gripper": Statistic(_gripper, _worst_window),
}
