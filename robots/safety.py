"""The safety filter: limits, where the commands are, a command -> a safe one, and why it differs.

``safe_command`` is pure: what it gives follows from its arguments alone. For any sequence of
targets the positions that it gives obey the limits of position, velocity, acceleration and jerk,
joint by joint and at every step, and the arm can be stopped from each of them within all limits
(``robots.motion``). The hand stays in its box, and the arm off itself and the floor, along that
stop too (``robots.geometry``): a step after which no such stop is left is not taken, the arm stops
instead. A target that obeys the limits comes out as it went in.

An arm that begins beyond a limit may come back, and never go further out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Annotated

import annotated_types
import numpy as np
import pydantic

from robolearn.errors import DataError, SpecError, UserError
from robolearn.settings import Settings
from robots import motion
from robots.base import Joint, Kind
from robots.geometry import FAR_M, Geometry

MOST_STOP = 1500  # periods that a stop may last where geometry is looked at
CHANGED = 1e-9  # a smaller difference from what was asked is rounding
Range = tuple[float, float]


class Reason(StrEnum):
    """Why a command is not what was asked for."""

    POSITION = "position"  # a joint's range
    MOTION = "motion"  # velocity, acceleration, jerk, or room to stop
    GRIP = "grip"  # the gripper would press harder
    BOX = "box"  # the hand would leave its box
    COLLISION = "collision"  # with itself or the floor


@dataclass(frozen=True)
class SafetyConfig(Settings):
    """How much of what an arm can do is allowed; conservative unless said otherwise."""

    velocity: Annotated[float, annotated_types.Gt(0), annotated_types.Le(1)] = 0.3
    """Share of the model's largest velocities."""
    acceleration: Annotated[float, annotated_types.Gt(0), annotated_types.Le(1)] = 0.8
    """Share of the model's largest accelerations; with it an arm is still within 0.2 s."""
    jerk: Annotated[float, annotated_types.Gt(0), annotated_types.Le(1)] = 0.8
    """Share of the model's largest jerks."""
    margin: Annotated[float, annotated_types.Ge(0), annotated_types.Lt(0.5)] = 0.02
    """Share of a joint's range that is left out at either end; of a gripper's, nothing."""
    box_m: tuple[Range, Range, Range] | None = None
    """((x low, high), (y ...), (z ...)) in which the hand stays, in the model's world frame, m."""
    apart_m: pydantic.NonNegativeFloat = 0.005
    """How far the arm stays from itself and the floor."""
    collisions: bool = True
    """Whether that is looked at; it needs the arm's model."""
    squeeze: Annotated[float, annotated_types.Gt(0), annotated_types.Le(1)] = 0.15
    """How far below its measured opening a gripper may be told to close: with a position servo,
    that is what presses."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for axis, (low, high) in zip("xyz", self.box_m or (), strict=False):
            if not low < high:
                raise UserError(f"box_m: {axis} goes from {low} to {high}; the first must be lower")


@dataclass(frozen=True)
class Limits:
    """What every command obeys; see ``limits_of``."""

    joints: tuple[Joint, ...]
    motion: np.ndarray  # [5, J]: lower, upper, velocity, acceleration, jerk
    period_s: float  # between two commands
    squeeze: np.ndarray  # [J]; infinite for all but grippers
    geometry: Geometry | None = None
    apart_m: float = 0.0

    def slower(self, share: float) -> Limits:
        """Give the same limits with so large a share of the velocities."""
        motion = self.motion.copy()
        motion[2] *= share
        return replace(self, motion=motion)


@dataclass(frozen=True)
class Commanded:
    """Where the commands are, and what they may still do; the filter's memory."""

    motion: np.ndarray  # [6, J]: position, velocity, acceleration, lowest, highest, last target
    apart_m: float  # clearances that are kept from now on
    depth_m: float  # in the box

    @property
    def position(self) -> np.ndarray:
        """The last command [J]."""
        return self.motion[0]

    @property
    def at_rest(self) -> bool:
        """Whether the commands have come to rest."""
        return bool((np.abs(self.motion[1:3]) < motion.REST).all())


@dataclass(frozen=True)
class Change:
    """What was changed of a command, and why."""

    reason: Reason
    joints: tuple[str, ...]  # whose commands differ from what was asked
    asked: tuple[float, ...]
    given: tuple[float, ...]

    def __str__(self) -> str:
        parts = zip(self.joints, self.asked, self.given, strict=True)
        return f"{self.reason}: " + ", ".join(f"{n} {a:.3f} -> {g:.3f}" for n, a, g in parts)


@dataclass(frozen=True)
class Safe:
    """A command that may be sent."""

    position: np.ndarray  # [J]
    after: Commanded
    changes: tuple[Change, ...]


def limits_of(
    joints: Sequence[Joint],
    config: SafetyConfig,
    period_s: float,
    geometry: Geometry | None = None,
) -> Limits:
    """Make limits of what the joints can do."""
    gripper = np.array([joint.kind is Kind.GRIPPER for joint in joints])
    lower = np.array([joint.lower for joint in joints], np.float64)
    upper = np.array([joint.upper for joint in joints], np.float64)
    margin = np.where(gripper, 0.0, config.margin) * (upper - lower)
    most = [
        np.array([getattr(joint, what) for joint in joints]) * getattr(config, what)
        for what in ("velocity", "acceleration", "jerk")
    ]
    return Limits(
        joints=tuple(joints),
        motion=np.array([lower + margin, upper - margin, *most]),
        period_s=period_s,
        squeeze=np.where(gripper, config.squeeze, np.inf),
        geometry=geometry,
        apart_m=config.apart_m,
    )


def begin(limits: Limits, measured: np.ndarray) -> Commanded:
    """Begin at rest where the arm is, [J]; the first command is then near it."""
    measured = checked(limits, measured, "measured")
    rest = np.zeros((6, len(measured)))
    rest[0] = rest[5] = measured
    rest[3] = np.minimum(limits.motion[0], measured)
    rest[4] = np.maximum(limits.motion[1], measured)
    apart, depth = FAR_M, FAR_M
    if limits.geometry is not None:
        apart, depth = limits.geometry.clearance(measured)
    return Commanded(rest, min(limits.apart_m, apart), min(0.0, depth))


def safe_command(
    limits: Limits, before: Commanded, target: np.ndarray, measured: np.ndarray | None = None
) -> Safe:
    """Give the command closest to ``target`` [J] that is safe, one period after ``before``.

    ``measured`` [J] is where the arm is, for the grip. Raises SpecError for another shape of either
    and DataError for what is not finite; then nothing is commanded.
    """
    target = checked(limits, target, "command")
    floor = np.full(len(target), -np.inf)
    if measured is not None:
        floor = checked(limits, measured, "measured") - limits.squeeze
    wanted = np.maximum(target, np.minimum(floor, before.position))
    after = np.empty_like(before.motion)
    motion.advance(before.motion, wanted, floor, limits.motion, limits.period_s, after)
    reason = None
    found = _clearances(limits, before, after)
    if isinstance(found, Reason):
        reason = found
        motion.stop_step(before.motion, limits.motion, limits.period_s, after)
        apart, depth = before.apart_m, before.depth_m
    else:
        apart, depth = found
    changes = _changes(limits, before, target, wanted, after[0], reason)
    return Safe(after[0].copy(), Commanded(after, apart, depth), changes)


def stopping_command(limits: Limits, before: Commanded) -> Safe:
    """Give the next command of the stop that is always left."""
    after = np.empty_like(before.motion)
    motion.stop_step(before.motion, limits.motion, limits.period_s, after)
    return Safe(after[0].copy(), replace(before, motion=after), ())


def at_rest(before: Commanded) -> Commanded:
    """Give a memory at rest where the last command is."""
    rest = before.motion.copy()
    rest[1:3] = 0.0
    rest[5] = rest[0]
    return replace(before, motion=rest)


def checked(limits: Limits, values: np.ndarray, what: str) -> np.ndarray:
    """Give values as float64 [J]; SpecError for another shape, DataError for one not finite."""
    names = [joint.name for joint in limits.joints]
    try:
        values = np.asarray(values, np.float64)
    except (TypeError, ValueError):
        raise SpecError(f"{what}: must be {len(names)} numbers, one for each joint") from None
    if values.shape != (len(names),):
        raise SpecError(f"{what}: has shape {values.shape} instead of ({len(names)},)")
    if not np.isfinite(values).all():
        j = int(np.flatnonzero(~np.isfinite(values))[0])
        raise DataError(f"{what}: {names[j]} is {values[j]}, not a finite number")
    return values


def _clearances(
    limits: Limits, before: Commanded, after: np.ndarray
) -> tuple[float, float] | Reason:
    """Give the clearances that hold from now on along the stop from ``after``, or what fails."""
    geometry = limits.geometry
    if geometry is None:
        return before.apart_m, before.depth_m
    path = np.empty((MOST_STOP, after.shape[1]))
    count = motion.stop_path(after, limits.motion, limits.period_s, path)
    levels = (before.apart_m, before.depth_m)
    if count > MOST_STOP:
        return Reason.MOTION
    found = geometry.along(path[:count], levels)
    if found is None:
        alone = geometry.along(path[:count], (levels[0], -FAR_M))
        return Reason.COLLISION if alone is None else Reason.BOX
    kept = max(levels[0], min(limits.apart_m, found[0]))
    return kept, max(levels[1], min(0.0, found[1]))


def _changes(
    limits: Limits,
    before: Commanded,
    target: np.ndarray,
    wanted: np.ndarray,
    given: np.ndarray,
    whole: Reason | None,
) -> tuple[Change, ...]:
    """Say which joints' commands differ from what was asked, and why."""
    lowest, highest = before.motion[3].tolist(), before.motion[4].tolist()
    asked, gave, would = target.tolist(), given.tolist(), wanted.tolist()
    found: dict[Reason, list[int]] = {}
    for j in range(len(asked)):
        if abs(gave[j] - asked[j]) <= CHANGED:
            continue
        reason = whole or Reason.MOTION
        if whole is None and abs(would[j] - asked[j]) > CHANGED:
            reason = Reason.GRIP
        elif whole is None and not lowest[j] <= asked[j] <= highest[j]:
            reason = Reason.POSITION
        found.setdefault(reason, []).append(j)
    return tuple(
        Change(
            reason,
            tuple(limits.joints[j].name for j in at),
            tuple(asked[j] for j in at),
            tuple(gave[j] for j in at),
        )
        for reason, at in found.items()
    )
