"""What is measured of one episode.

Jerk is the third difference of the robot's path: its root mean square, and the log dimensionless
jerk, -ln(D^3 / v_peak^2 int |j|^2 dt), which depends neither on units nor on tempo (Balasubramanian
and others, 2012). A pause is a stretch, of half a second at least, in which the robot moves slower
than a tenth of its own brisk speed (the upper quartile of the episode's).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from demos.formats.foreign import operator_of
from demos.report.scales import STATE, Scales, at_points
from robolearn.algos.waiting import OWN
from robolearn.types import Episode

AT_REST = 0.1  # of one's own brisk speed
BRISK = 0.5  # of it: what a camera must see
PAUSE_S, PAUSE_STEPS = 0.5, 10  # the shortest; in steps where nobody knows the rate
AT_LIMIT = 0.99  # of an action's limit
STAMPS = ("sent_s", "timestamp")  # records that say when
NOTED = ("step", "seconds")  # of a pause in a session's metadata
LATE = 1.5  # periods between two steps
SAME_IMAGE = 0.03  # mean difference of pixels, of 255; lossy video of a still scene makes less
DARK = 4.0  # mean of the pixels, of 255
EVERY = 5  # pixels in either direction that say whether an image is dark


@dataclass(frozen=True)
class Stamps:
    """How the steps of an episode follow each other, by the time stamps that were kept."""

    late: float  # share of the intervals longer than 1.5 periods
    missing: int  # steps that would have fitted into those
    backwards: int  # intervals that are not positive
    longest_s: float
    jitter_s: float  # standard deviation of the others


@dataclass(frozen=True)
class Measured:
    """What is known of an episode of T steps once it has been read; lengths are in steps."""

    name: str
    operator: str
    success: bool | None  # None: nobody knows
    steps: int
    jerk: float  # unit of the motion / s^3, or / step^3; NaN of fewer than 3 steps
    smoothness: float  # log dimensionless jerk
    paused: float  # share of the steps
    pauses: int
    longest_pause: int
    idle_before: int  # before the first motion
    idle_after: int  # after the last
    saturated: np.ndarray  # [A] share of the steps at a limit; NaN of what only switches
    switches: int | None  # of grippers; None where there is none
    stamps: Stamps | None
    repeated: Mapping[str, float]  # camera -> share of brisk steps after which it shows the same
    dark: Mapping[str, float]  # camera -> share of the images that show nothing
    start: np.ndarray = field(repr=False)  # [O] the first state
    sketch: np.ndarray = field(repr=False)  # [points, O + A] states and actions along it

    def summary(self, period_s: float) -> dict[str, Any]:
        """Give what is known of it as plain values, times in seconds where the rate is known."""
        told = {
            name: getattr(self, name)
            for name in (
                "operator", "success", "steps", "jerk", "smoothness", "paused", "pauses",
                "longest_pause", "idle_before", "idle_after", "saturated", "switches",
                "repeated", "dark",
            )
        }  # fmt: skip
        told["stamps"] = None if self.stamps is None else vars(self.stamps)
        return told | ({"seconds": self.steps * period_s} if period_s else {})


@dataclass(frozen=True)
class Series:
    """What is measured at each step [T] of an episode."""

    speed: np.ndarray  # of the motion, per second, or per step
    paused: np.ndarray  # bool
    saturated: np.ndarray  # bool: an entry is at its limit


def series_of(episode: Episode, scales: Scales) -> Series:
    """Measure the steps of an episode, to be shown along it."""
    speed = _speed(scales.motion.of(episode), len(episode))
    paused = np.zeros(len(episode), bool)
    for start, end in _pauses(speed, _shortest(scales)):
        paused[start:end] = True
    at_limit = np.abs(episode.actions[:, _continuous(scales)]) >= AT_LIMIT
    return Series(speed / (scales.period_s or 1.0), paused, at_limit.any(axis=1))


def measure(name: str, episode: Episode, scales: Scales) -> Measured:
    """Measure an episode whose values are finite."""
    steps, path = len(episode), scales.motion.of(episode)
    speed = _speed(path, steps)
    jerk, smoothness = _jerk(path, scales.period_s or 1.0)
    pauses = list(_pauses(speed, _shortest(scales)))
    lasted = [end - start for start, end in pauses]
    not_told = episode.metadata.get("not_told")
    told = not (isinstance(not_told, list) and "success" in not_told)
    repeated, dark = {}, {}
    for camera in scales.cameras:
        if camera in episode.observations:
            images = episode.observations[camera]
            repeated[camera], dark[camera] = _images(images, speed)
    return Measured(
        name,
        operator_of(episode),
        episode.success if told else None,
        steps,
        jerk,
        smoothness,
        paused=sum(lasted) / steps,
        pauses=len(pauses),
        longest_pause=max(lasted, default=0),
        idle_before=next((end for start, end in pauses if start == 0), 0),
        idle_after=next((end - start for start, end in pauses if end == steps), 0),
        saturated=_saturated(episode.actions, scales),
        switches=_switches(episode.actions, scales.grippers),
        stamps=_stamps(episode, scales.period_s),
        repeated=repeated,
        dark=dark,
        start=episode.observations.get(STATE, np.zeros((1, 0)))[0].astype(np.float32),
        sketch=_sketch(episode, scales.points),
    )


def _speed(path: np.ndarray, steps: int) -> np.ndarray:
    """Give the lengths [T] of the moves along a path, per step."""
    moves = np.linalg.norm(np.diff(path, axis=0), axis=1)
    return np.pad(moves, (0, steps - len(moves)), mode="edge") if len(moves) else np.zeros(steps)


def _jerk(path: np.ndarray, period_s: float) -> tuple[float, float]:
    """Give the root mean square jerk of a path, and the log dimensionless jerk."""
    if len(path) < 4:
        return float("nan"), float("nan")
    jerk = np.diff(path, n=3, axis=0) / period_s**3
    squares = np.square(jerk).sum(axis=1)
    peak = np.linalg.norm(np.diff(path, axis=0), axis=1).max() / period_s
    duration_s = (len(path) - 1) * period_s
    total = duration_s**3 * squares.sum() * period_s
    smooth = -np.log(total / peak**2) if peak > 0 and total > 0 else float("nan")
    return float(np.sqrt(squares.mean())), float(smooth)


def _shortest(scales: Scales) -> int:
    """Give how many steps at rest are a pause."""
    return max(1, round(PAUSE_S / scales.period_s)) if scales.period_s else PAUSE_STEPS


def _pauses(speed: np.ndarray, shortest: int) -> Iterator[tuple[int, int]]:
    """Give the first step of each pause, and one past its last."""
    rests = speed <= AT_REST * np.quantile(speed, OWN)
    edges = np.flatnonzero(np.diff(np.concatenate([[False], rests, [False]])))
    for start, end in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True):
        if end - start >= shortest:
            yield start, end


def _continuous(scales: Scales) -> list[int]:
    return [i for i in range(len(scales.spread_of_actions)) if i not in scales.grippers]


def _saturated(actions: np.ndarray, scales: Scales) -> np.ndarray:
    shares = (np.abs(actions) >= AT_LIMIT).mean(axis=0)
    shares[list(scales.grippers)] = np.nan
    return shares


def _switches(actions: np.ndarray, grippers: Mapping[int, tuple[float, float]]) -> int | None:
    """Count how often grippers go from one end to the other; what is between changes nothing."""
    if not grippers:
        return None
    return sum(_crossings(actions[:, i], *ends) for i, ends in grippers.items())


def _crossings(values: np.ndarray, low: float, high: float) -> int:
    third = (high - low) / 3
    sides = np.where(values >= high - third, 1, np.where(values <= low + third, -1, 0))
    ends = sides[sides != 0]
    return int((np.diff(ends) != 0).sum())


def _stamps(episode: Episode, period_s: float) -> Stamps | None:
    """Measure the intervals between time stamps; pauses that a session noted are none of them."""
    name = next((name for name in STAMPS if name in episode.records), None)
    if name is None or len(episode) < 2:
        return None
    intervals = np.diff(np.asarray(episode.records[name], np.float64).reshape(-1))
    for step, seconds in _noted(episode.metadata.get("pauses")):
        if 0 < step <= len(intervals):
            intervals[step - 1] -= seconds
    if not np.isfinite(intervals).all():
        return None
    period = period_s or max(float(np.median(intervals)), 1e-9)
    late = intervals > LATE * period
    return Stamps(
        float(late.mean()),
        int((np.round(intervals[late] / period) - 1).clip(0).sum()),
        int((intervals <= 0).sum()),
        float(intervals.max()),
        float(intervals[~late].std()) if not late.all() else 0.0,
    )


def _noted(pauses: Any) -> Iterator[tuple[int, float]]:
    """Give the step and the seconds of each pause that the metadata hold, if they are a session's.

    A foreign file may hold anything under that name.
    """
    for pause in pauses if isinstance(pauses, list) else ():
        step, seconds = (pause.get(key) if isinstance(pause, Mapping) else None for key in NOTED)
        if isinstance(step, int) and isinstance(seconds, int | float):
            yield step, seconds


def _images(frames: np.ndarray, speed: np.ndarray) -> tuple[float, float]:
    """Give the shares of images [T + 1, H, W, 3] that stay the same in brisk motion, and are dark.

    The last is left out: where nobody has it, the one before stands twice.
    """
    seen = frames[:-1]
    means = seen[:, ::EVERY, ::EVERY].reshape(len(seen), -1).mean(axis=1)
    moving = speed[:-1] > BRISK * np.quantile(speed, OWN)
    same = [
        np.abs(after.astype(np.int16) - before).mean() < SAME_IMAGE
        for before, after in itertools.pairwise(seen)
    ]
    repeated = float(np.mean(np.array(same)[moving])) if moving.any() else 0.0
    return repeated, float((means < DARK).mean())


def _sketch(episode: Episode, points: int) -> np.ndarray:
    states = episode.observations.get(STATE, np.zeros((len(episode), 0)))[: len(episode)]
    rows = np.concatenate([states, episode.actions], axis=1)
    return at_points(rows, points).astype(np.float32)
