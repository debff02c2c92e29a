"""What is logged of a step, as named values: which entity shows which number, image or text.

An entity's path is a tuple of plain names; ``viewer.py`` writes them to Rerun.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import cv2
import numpy as np

from robolearn.types import Episode, Observation, Step

JPEG_QUALITY = 80
HUES = 180  # OpenCV's
HUE_STEP, TYPE_STEP = 67, 7  # from one object's hue to the next one's, from type to type
EntityPath = tuple[str, ...]


@dataclass(frozen=True)
class StepScores:
    """What a measure says of one step: named values, their thresholds, and its verdict."""

    values: Mapping[str, float]  # "M", "L", "N"
    thresholds: Mapping[str, float] = field(default_factory=dict)  # "L": lambda, "N": eta
    incompatible: bool = False

    @classmethod
    def along(
        cls,
        values: Mapping[str, np.ndarray],
        thresholds: Mapping[str, float],
        incompatible: np.ndarray,
    ) -> list[StepScores]:
        """Cut the series [T] of a whole episode, and its verdicts [T], into steps."""
        return [
            cls({name: float(series[t]) for name, series in values.items()}, thresholds, bool(bad))
            for t, bad in enumerate(incompatible)
        ]


class Entry(NamedTuple):
    """One value of one entity."""

    kind: str  # "scalars" [n], "pose" [7] (position, quaternion wxyz), "image" [H, W, 3] or JPEG,
    # "text", and "warning", a text that stands out
    path: EntityPath
    value: np.ndarray | bytes | str


class Row(NamedTuple):
    """All that is logged at one moment."""

    episode: int
    step: int
    entries: list[Entry]


class Group(NamedTuple):
    """Entries of an observation vector that belong in one plot."""

    path: EntityPath
    where: np.ndarray  # [n], positions in the vector
    labels: list[str]


def groups(names: Sequence[str]) -> list[Group]:
    """Sort a vector's entries into plots: "eef_pos_x" is the line "x" of observation/eef_pos."""
    members: dict[str, list[int]] = defaultdict(list)
    for i, name in enumerate(names):
        members[name.rpartition("_")[0] or name].append(i)
    return [
        Group(
            ("observation", group),
            np.array(where),
            [names[i].removeprefix(f"{group}_") for i in where],
        )
        for group, where in members.items()
    ]


def seen(observation: Observation, grouped: Mapping[str, list[Group]]) -> list[Entry]:
    """Give cameras as ``picture`` has them, and vectors.

    Vectors that are not in ``grouped`` go into one plot each.
    """
    entries = []
    for key, array in observation.items():
        if array.ndim == 3:
            entries.append(Entry("image", ("camera", key), picture(array)))
        elif grouped.get(key):
            entries += [Entry("scalars", g.path, array[g.where]) for g in grouped[key]]
        else:
            entries.append(Entry("scalars", ("observation", key), array.reshape(-1)))
    return entries


def picture(array: np.ndarray) -> np.ndarray:
    """Give an image uint8 [H, W, 3] of what a camera tells, [H, W, C].

    Colours stay as they are, objects (whole numbers) get colours of their own, and other numbers,
    as depth, are grey from their least to their greatest.
    """
    if array.dtype == np.uint8:
        return np.repeat(array, 3, axis=-1) if array.shape[-1] == 1 else array
    if np.issubdtype(array.dtype, np.integer):
        kinds = array[..., 1:2] if array.shape[-1] > 1 else np.zeros_like(array)
        return coloured(np.concatenate([array[..., :1], kinds], axis=-1))
    values = np.nan_to_num(array[..., :1].astype(np.float64))
    grey = 255 * (values - values.min()) / max(np.ptp(values), np.finfo(np.float32).tiny)
    return np.repeat(grey.astype(np.uint8), 3, axis=-1)


def coloured(objects: np.ndarray) -> np.ndarray:
    """Give each object of a segmentation int32 [H, W, 2] a colour: uint8 [H, W, 3]."""
    number, kind = np.moveaxis(objects, -1, 0)  # [H, W] each
    hue = (HUE_STEP * (number + TYPE_STEP * kind) % HUES).astype(np.uint8)
    value = np.where(number >= 0, 255, 0).astype(np.uint8)  # the background is black
    return cv2.cvtColor(np.stack([hue, value, value], axis=-1), cv2.COLOR_HSV2RGB)


def poses(data: Any, bodies: Mapping[int, str]) -> list[Entry]:
    """Copy the poses of bodies, id -> name, from an ``mujoco.MjData`` or, if None, nothing."""
    if data is None:
        return []
    where = list(bodies)
    copied = np.concatenate([data.xpos[where], data.xquat[where]], axis=1)  # [bodies, 7]
    return [
        Entry("pose", ("world", name), pose)
        for name, pose in zip(bodies.values(), copied, strict=True)
    ]


def jpeg(image: np.ndarray | bytes) -> bytes:
    """Encode an RGB image uint8 [H, W, 3]; what is encoded already stays as it is."""
    if isinstance(image, bytes):
        return image
    quality = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]
    _, encoded = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), quality)
    return encoded.tobytes()


def reward(step: Step) -> list[Entry]:
    """Give the reward, if it is known, and its terms."""
    total = {} if math.isnan(step.reward) else {"total": step.reward}
    terms = total | step.info.get("reward_terms", {})
    return [_scalar(("reward", name), value) for name, value in terms.items()]


def score(scores: StepScores | None) -> list[Entry]:
    """Give the scores, their thresholds, and a mark on each of an incompatible step."""
    if scores is None:
        return []
    entries = [_scalar(("score", name), value) for name, value in scores.values.items()]
    if scores.incompatible:
        entries += [_scalar((*path, "incompatible"), value[0]) for _, path, value in entries]
    return entries + [
        _scalar(("score", name, "threshold"), value) for name, value in scores.thresholds.items()
    ]


def _scalar(path: EntityPath, value: float) -> Entry:
    return Entry("scalars", path, np.array([value], float))


def step_of(episode: Episode, t: int, before: Observation, after: Observation) -> Step:
    """Give step t of a stored episode; ``before`` and ``after`` add what it has not observed."""

    def observation(at: int) -> Observation:
        return {name: array[at] for name, array in episode.observations.items()}

    last = t == len(episode) - 1
    return Step(
        t=t,
        observation=before | observation(t),
        action=episode.actions[t],
        reward=float(episode.rewards[t]),
        next_observation=after | observation(t + 1),
        terminated=last and episode.terminated,
        truncated=last and episode.truncated,
        info={"reward_terms": {name: float(r[t]) for name, r in episode.reward_terms.items()}},
    )
