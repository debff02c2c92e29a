"""How an episode of a ``MujocoTask`` begins: the model's pose or a keyframe, then what is drawn."""

from __future__ import annotations

from typing import NamedTuple

import mujoco
import numpy as np

from robolearn.errors import UserError, nearest
from sim.engine.segments import Segment, part
from sim.mujoco.task import Draw, MujocoTask, named_segment

SETTABLE = ("joint_pos", "joint_vel", "body_pos")
IN_MODEL = "body_pos"  # the one array that a draw sets in the model


class BoundDraw(NamedTuple):
    """Entries of the state or of the model, and the bounds [k] of what they are set to."""

    segment: Segment
    low: np.ndarray
    high: np.ndarray


class EpisodeStart:
    """Writes the beginning of an episode into a model and data.

    Raises UserError for names and bounds that do not fit the model.
    """

    def __init__(
        self, task: MujocoTask, model: mujoco.MjModel, data: mujoco.MjData, where: str
    ) -> None:
        self._keyframe = _keyframe(model, task.keyframe, where)
        self._function = task.reset if callable(task.reset) else None
        draws = () if self._function else task.reset
        self._draws = [_bound(model, data, draw, where) for draw in draws]

    def __call__(
        self, model: mujoco.MjModel, data: mujoco.MjData, rng: np.random.Generator
    ) -> None:
        """Begin; what follows from the state is left to the caller."""
        if self._keyframe is None:
            mujoco.mj_resetData(model, data)
        else:
            mujoco.mj_resetDataKeyframe(model, data, self._keyframe)
        if self._function:
            self._function(model, data, rng)
        for segment, low, high in self._draws:
            owner = model if segment.array == IN_MODEL else data
            segment.view(owner)[:] = rng.uniform(low, high)


def _keyframe(model: mujoco.MjModel, name: str, where: str) -> int | None:
    known = [model.key(i).name for i in range(model.nkey)]
    if name and name not in known:
        raise UserError(f"{where}: no keyframe '{name}' in the model{nearest(name, known)}")
    return known.index(name) if name else None


def _bound(model: mujoco.MjModel, data: mujoco.MjData, draw: Draw, where: str) -> BoundDraw:
    kind, _, name = draw.quantity.partition(":")
    if kind not in SETTABLE:
        raise UserError(f"{where}: reset can set {', '.join(SETTABLE)}, not '{draw.quantity}'")
    segment = named_segment(model, data, draw.quantity, where)
    segment = _place(model, name) if kind == "body_pos" else segment
    try:
        low, high = (np.broadcast_to(bound, segment.count) for bound in (draw.low, draw.high))
    except ValueError:
        raise UserError(
            f"{where}: reset {draw.quantity} has {segment.count} entries; low={draw.low!r} and "
            f"high={draw.high!r} do not fit"
        ) from None
    if (low > high).any():
        raise UserError(
            f"{where}: reset {draw.quantity}: low={draw.low!r} above high={draw.high!r}"
        )
    return BoundDraw(segment, low, high)


def _place(model: mujoco.MjModel, name: str) -> Segment:
    """Say where a body's place is kept, [3]: free joint, mocap body or model."""
    body = model.body(name)
    joint = body.jntadr[0]
    if joint >= 0 and model.jnt_type[joint] == mujoco.mjtJoint.mjJNT_FREE:
        return Segment("qpos", int(model.jnt_qposadr[joint]), 3)
    mocap = int(body.mocapid[0])
    return Segment("mocap_pos", 3 * mocap, 3) if mocap >= 0 else part(model, IN_MODEL, body.pos)
