"""When an arm is stopped, and what is looked at for it: its encoders against its commands."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Annotated

import annotated_types
import numpy as np
import pydantic

from robolearn.errors import UserError
from robolearn.settings import Settings
from robots.base import Kind
from robots.safety import Limits


@dataclass(frozen=True)
class GuardConfig(Settings):
    """When an arm is stopped, beside what its limits say."""

    ramp_s: pydantic.NonNegativeFloat = 2.0
    """For how long it is slow after it begins."""
    ramp_from: Annotated[float, annotated_types.Gt(0), annotated_types.Le(1)] = 0.25
    """Share of the largest velocity at its very beginning."""
    hold_s: pydantic.PositiveFloat = 0.2
    """Without a command for so long, the arm comes to rest."""
    stop_s: pydantic.PositiveFloat = 2.0
    """Without a command for so long, it is stopped."""
    stale_s: pydantic.PositiveFloat = 0.15
    """Age of the joints' positions at which it is stopped."""
    stale_camera_s: pydantic.PositiveFloat = 0.5
    """Age of a camera's image at which it is stopped."""
    follow: Annotated[float, annotated_types.Gt(0), annotated_types.Le(1)] = 0.06
    """How far a joint may be from all its commands of the last ``follow_s``, as a share of its
    range."""
    follow_s: pydantic.PositiveFloat = 0.3
    """How late a joint may be."""
    prove_s: pydantic.PositiveFloat = 0.2
    """Within how long a stopped arm must be seen at rest."""
    dry_run: bool = False
    """Whether all is done but sending: the driver is only read."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.hold_s >= self.stop_s:
            raise UserError(f"hold_s={self.hold_s} must be below stop_s={self.stop_s}")


class EncoderWatch:
    """Notices encoders that jump, and joints that are where nobody has sent them."""

    JUMP = 3.0  # times what the largest velocity allows, and this share of the range beside it
    SLACK = 0.03

    def __init__(self, limits: Limits, config: GuardConfig) -> None:
        self._gripper = np.array([joint.kind is Kind.GRIPPER for joint in limits.joints])
        self._names = [joint.name for joint in limits.joints]
        self._span = np.array([joint.upper - joint.lower for joint in limits.joints])
        self._fastest = np.array([joint.velocity for joint in limits.joints])
        self._follow, self._follow_s = config.follow, config.follow_s

    def begin(self, positions: np.ndarray, now_s: float) -> None:
        """Begin where the arm is, [J]."""
        self._before, self._before_s = positions, now_s
        self._commands = deque([(now_s, positions)])  # since when each was the last one

    def look(self, positions: np.ndarray, command: np.ndarray, sent_s: float, now_s: float) -> str:
        """Say what is wrong with measured positions [J]; "" if nothing is.

        ``command`` [J] is the last one, and ``sent_s`` when it was sent.
        """
        passed_s = max(now_s - self._before_s, 1e-3)
        moved = positions - self._before
        most = self.JUMP * self._fastest * passed_s + self.SLACK * self._span
        self._before, self._before_s = positions, now_s
        self._take_down(command, sent_s, now_s)
        jumped = np.abs(moved) > most
        if jumped.any():
            j = int(np.flatnonzero(jumped)[0])
            return (
                f"{self._names[j]}'s encoder jumped by {abs(moved[j]):.2f} in "
                f"{1e3 * passed_s:.0f} ms: it wrapped round, or its calibration is wrong"
            )
        return self._strayed(positions)

    def _take_down(self, command: np.ndarray, sent_s: float, now_s: float) -> None:
        """Keep the commands that were the last one at any time of the last ``follow_s``."""
        if (command != self._commands[-1][1]).any():
            self._commands.append((sent_s, command))
        while len(self._commands) > 1 and self._commands[1][0] <= now_s - self._follow_s:
            self._commands.popleft()

    def _strayed(self, positions: np.ndarray) -> str:
        """Say which joint is away from all its last commands; a gripper may hold something."""
        commands = np.array([command for _, command in self._commands])
        low, high = commands.min(axis=0), commands.max(axis=0)
        above = np.where(self._gripper, 0.0, positions - high)
        away = np.maximum(above, low - positions) / self._span
        if (away <= self._follow).all():
            return ""
        j = int(away.argmax())
        return (
            f"{self._names[j]} is at {positions[j]:.2f}, and was sent to {low[j]:.2f} to "
            f"{high[j]:.2f}: it is blocked, or its motor and encoder disagree"
        )


def require_within(limits: Limits, positions: np.ndarray, name: str) -> None:
    """Raise UserError for a joint that is so far out that its calibration must be wrong."""
    lower, upper = (np.array([getattr(j, e) for j in limits.joints]) for e in ("lower", "upper"))
    slack = 0.1 * (upper - lower)
    inside = (positions >= lower - slack) & (positions <= upper + slack)
    for j in np.flatnonzero(~inside):  # what is no number is not inside
        raise UserError(
            f"{name}: {limits.joints[j].name} is at {positions[j]:.2f}, far outside "
            f"{lower[j]:.2f} to {upper[j]:.2f}: its calibration is wrong, calibrate() again"
        )
