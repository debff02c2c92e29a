"""What the environments of a batch have in common; worker processes send it to their batch."""

from __future__ import annotations

import math
from typing import NamedTuple

from robolearn.types import Environment, Spec
from sim.base.env import Env


class Kind(NamedTuple):
    """What one environment says of all."""

    interface: Spec
    state_size: int | None  # entries of a state; None where only the environment itself knows
    mujoco_state_size: int  # so many leading entries of a state are time, qpos and qvel
    horizon: int | None  # control steps after which an episode is truncated; None if unknown
    render_mode: str | None
    render_modes: list[str]  # that there are
    render_fps: float | None  # images a second for a film as fast as life; None if unknown

    @classmethod
    def of(cls, env: Environment) -> Kind:
        """Ask one of them."""
        horizon = getattr(env, "horizon", None)
        metadata = getattr(env, "metadata", None) or {}
        return cls(
            env.interface,
            env.state_size if isinstance(env, Env) else None,
            getattr(env, "mujoco_state_size", None) or 0,
            int(horizon) if horizon is not None and math.isfinite(horizon) else None,
            getattr(env, "render_mode", None),
            list(metadata.get("render_modes", ())),
            metadata.get("render_fps"),
        )
