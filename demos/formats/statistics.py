"""Statistics as LeRobot keeps them for each episode and for all: plain lists, for JSON and tables.

The quantiles of all are means of the episodes', weighted by their lengths: as LeRobot's own, an
approximation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

QUANTILES = {"q01": 0.01, "q10": 0.1, "q50": 0.5, "q90": 0.9, "q99": 0.99}
IMAGES = 16  # frames of an episode that are looked at
PIXELS = 8  # every so many in either direction

Stats = dict[str, Any]


def of_rows(rows: np.ndarray) -> Stats:
    """Describe vectors [T, n], or numbers [T], entry by entry: lists [n]."""
    values = np.asarray(rows, np.float64).reshape(len(rows), -1)
    found = {
        "min": values.min(axis=0).tolist(),
        "max": values.max(axis=0).tolist(),
        "mean": values.mean(axis=0).tolist(),
        "std": values.std(axis=0).tolist(),
        "count": [len(values)],
    }
    quantiles = np.quantile(values, list(QUANTILES.values()), axis=0)
    return found | dict(zip(QUANTILES, quantiles.tolist(), strict=True))


def of_images(frames: np.ndarray) -> Stats:
    """Describe images uint8 [T, H, W, 3] by colour, in [0, 1]: lists [3, 1, 1]."""
    chosen = np.unique(np.linspace(0, len(frames) - 1, min(len(frames), IMAGES)).astype(int))
    pixels = frames[chosen][:, ::PIXELS, ::PIXELS].reshape(-1, 3)
    found = {name: values for name, values in of_rows(pixels).items() if name != "count"}
    shaped = {name: [[[value / 255.0]] for value in values] for name, values in found.items()}
    return shaped | {"count": [len(chosen)]}


def together(parts: Sequence[Mapping[str, Stats]]) -> dict[str, Stats]:
    """Put the episodes' statistics together."""
    return {feature: _one([part[feature] for part in parts]) for feature in parts[0]}


def _one(stats: Sequence[Stats]) -> Stats:
    arrays = {name: np.array([one[name] for one in stats], np.float64) for name in stats[0]}
    count = arrays["count"].reshape(-1)
    weight = (count / count.sum()).reshape(-1, *[1] * (arrays["mean"].ndim - 1))
    mean = (weight * arrays["mean"]).sum(axis=0)
    spread = arrays["std"] ** 2 + (arrays["mean"] - mean) ** 2
    found = {
        "min": arrays["min"].min(axis=0),
        "max": arrays["max"].max(axis=0),
        "mean": mean,
        "std": np.sqrt((weight * spread).sum(axis=0)),
    }
    found |= {name: (weight * arrays[name]).sum(axis=0) for name in QUANTILES}
    return {name: values.tolist() for name, values in found.items()} | {"count": [int(count.sum())]}
