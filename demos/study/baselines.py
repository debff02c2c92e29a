"""What else might predict the harm of a demonstration; verdicts are held against these.

Each takes the base operator's demonstrations and an operator's, and gives a number for each of the
latter; higher is expected to harm more.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from scipy.spatial import cKDTree
from scipy.special import digamma

from robolearn.judging.demonstrations import Demonstration

LEAST_SPREAD = 0.01
NEIGHBOURS = 5  # of the estimate of mutual information
FEATURES, RIDGE = 300, 1e-3  # of the policy whose loss is followed
MOST_PAIRS = 6000  # that mutual information is estimated on
Features = Callable[[np.ndarray, np.ndarray], Demonstration]
Fitted = Callable[[Sequence[Demonstration]], tuple[np.ndarray, np.ndarray]]


def length(base: Sequence[Demonstration], new: Sequence[Demonstration]) -> np.ndarray:
    """Count the steps [N]."""
    return np.array([float(len(actions)) for _, actions in new])


def distance(base: Sequence[Demonstration], new: Sequence[Demonstration]) -> np.ndarray:
    """Give the mean distance [N] of a pair of state and action to the base's nearest pair."""
    scale = _scale(base)
    tree = cKDTree(np.concatenate([np.hstack(scale(*pair)) for pair in base]))
    return np.array([tree.query(np.hstack(scale(*pair)))[0].mean() for pair in new])


def mutual_information(base: Sequence[Demonstration], new: Sequence[Demonstration]) -> np.ndarray:
    """Give how little [N] a demonstration adds to the mutual information of states and actions.

    Of base and new together, by the estimator of Kraskov, Stoegbauer and Grassberger (2004),

        I_t = psi(k) + psi(M) - psi(n_s + 1) - psi(n_a + 1),

    where n_s and n_a count the pairs whose state and action are nearer than the k-th neighbour of
    the pair is in both, averaged over a demonstration. As Hejna, Mirchandani, Balakrishna, Xie,
    Wahid, Tompson, Sanketi, Shah, Devin, Sadigh, "Robot Data Curation with Mutual Information
    Estimators" (2025), but on states as they are instead of on learned codes.
    """
    scale, everything = _scale(base), [*base, *new]
    owner = np.repeat(np.arange(len(everything)), [len(a) for _, a in everything])
    states, actions = (
        np.concatenate(p) for p in zip(*(scale(*d) for d in everything), strict=True)
    )
    every = max(1, -(-len(owner) // MOST_PAIRS))
    states, actions, owner = states[::every], actions[::every], owner[::every]
    both = cKDTree(np.hstack([states, actions]))
    radius = both.query(both.data, k=[NEIGHBOURS + 1], p=np.inf)[0][:, 0] * (1 - 1e-9)
    count = [
        cKDTree(part).query_ball_point(part, radius, p=np.inf, return_length=True)
        for part in (states, actions)
    ]  # themselves included
    information = digamma(NEIGHBOURS) + digamma(len(owner)) - sum(digamma(n) for n in count)
    total = np.bincount(owner, information, len(everything))
    return -(total / np.bincount(owner, minlength=len(everything)))[len(base) :]


def influence(base: Sequence[Demonstration], new: Sequence[Demonstration]) -> np.ndarray:
    """Give how much [N] a demonstration raises a policy's loss on every second base demonstration.

    To first order, dL = -g' H^-1 g_new (Koh and Liang 2017), for a policy that is linear in random
    Fourier features of the state, fitted to the other base demonstrations and everything new. As
    Agia, Sinha, Yang, Antonova, Pavone, Nishimura, Itkina, Bohg, "CUPID: Curating Data your Robot
    Loves with Influence Functions" (2025), with held-out demonstrations in the place of rollouts.
    """
    features, fitted = features_of(base)
    held_out = [features(*pair) for pair in base[1::2]]
    weights, hessian = fitted([features(*pair) for pair in (*base[::2], *new)])

    def gradient(phi: np.ndarray, actions: np.ndarray) -> np.ndarray:
        return phi.T @ (phi @ weights - actions)

    followed = np.linalg.solve(hessian, sum(gradient(*p) for p in held_out))
    return np.array([-(followed * gradient(*features(*pair))).sum() for pair in new])


def features_of(base: Sequence[Demonstration]) -> tuple[Features, Fitted]:
    """Give what makes random Fourier features and scaled actions, [T, F] and [T, A], of a pair.

    And what fits a policy that is linear in them to several: its weights [F, A], and the Hessian.
    """
    scale, rng = _scale(base), np.random.default_rng(0)
    size = base[0][0].shape[1]
    frequencies = rng.standard_normal((size, FEATURES)) / np.sqrt(size)
    phases = rng.uniform(0, 2 * np.pi, FEATURES)

    def features(states: np.ndarray, actions: np.ndarray) -> Demonstration:
        states, actions = scale(states, actions)
        return np.sqrt(2 / FEATURES) * np.cos(states @ frequencies + phases), actions

    def fitted(pairs: Sequence[Demonstration]) -> tuple[np.ndarray, np.ndarray]:
        steps = sum(len(a) for _, a in pairs)
        hessian = sum(phi.T @ phi for phi, _ in pairs) + RIDGE * steps * np.eye(FEATURES)
        return np.linalg.solve(hessian, sum(phi.T @ a for phi, a in pairs)), hessian

    return features, fitted


def chance(base: Sequence[Demonstration], new: Sequence[Demonstration]) -> np.ndarray:
    """Give numbers [N] that know nothing, drawn anew for every operator."""
    digest = zlib.crc32(np.concatenate([actions for _, actions in new]).tobytes())
    return np.random.default_rng(digest).random(len(new))


BASELINES: Mapping[str, Callable[..., np.ndarray]] = {
    "length": length,
    "distance": distance,
    "mutual_information": mutual_information,
    "influence": influence,
    "chance": chance,
}


def _scale(
    base: Sequence[Demonstration],
) -> Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """Give what puts states and actions into units of the base's spread."""
    states, actions = (np.concatenate(parts) for parts in zip(*base, strict=True))
    mean = [array.mean(0) for array in (states, actions)]
    spread = [np.maximum(array.std(0), LEAST_SPREAD) for array in (states, actions)]
    return lambda s, a: ((s - mean[0]) / spread[0], (a - mean[1]) / spread[1])
