"""Makes batches of environments: ``sim.make_vec(name, n, **options)``."""

from __future__ import annotations

import os
import warnings
from typing import Any

from gymnasium.vector import AutoresetMode

from robolearn.errors import UserError
from robolearn.types import Environment
from sim.base.options import whole_number
from sim.registry import make, prepare
from sim.vector.env import VectorEnv, autoreset_mode_of


def make_vec(
    name: str,
    /,
    n: int | None = None,
    threads: int | None = None,
    autoreset_mode: AutoresetMode | str = "same_step",
    **options: Any,
) -> VectorEnv:
    """Make n environments called ``name`` that step together; options as for ``make``.

    ``autoreset_mode``, gymnasium's or its name, says what follows the end of an episode (see
    ``sim.vector.env``): "same_step", "next_step" or "disabled".

    ``threads`` run them, one per processor by default. robosuite's common tasks, dm_control's that
    have formulas (``sim.dmc.arrays``), tasks on one's own models and tabletops are evaluated as
    arrays. All others, one's own, those with an ``action_repeat`` and all with images (``cameras``,
    or ``render_mode="rgb_array"`` for ``render``), are each made in one of as many processes; where
    that is for want of a robosuite task's formulas, a warning says so. Raises UserError for what
    ``make`` does not take and for a count below 1.
    """
    if "num_envs" in options:
        raise UserError(f"{name}: how many environments is said by n=, not by num_envs=")
    threads = len(os.sched_getaffinity(0)) if threads is None else threads
    n, threads = whole_number(n, name, "n"), whole_number(threads, name, "threads")
    mode = autoreset_mode_of(autoreset_mode, name)
    batch = _make_batch(name, n, min(threads, n), options)
    batch.autoreset_mode = mode
    return batch


def _make_batch(name: str, n: int, threads: int, options: dict[str, Any]) -> VectorEnv:
    images = options.get("cameras") or options.get("render_mode") is not None
    held = options.get("action_repeat", 1) != 1
    if not images and not held and _may_be_arrays(name):
        batch = _make_arrays(make(name, **options), name, n, threads)
        if batch is not None:
            return batch
    from sim.vector.processes import ProcessVectorEnv, Workers

    return ProcessVectorEnv(Workers(name, n, threads, options))


def _may_be_arrays(name: str) -> bool:
    adapter, _, task = str(name).partition("/")
    if adapter != "dmc":
        return adapter in ("robosuite", "mujoco", "tabletop")
    prepare()
    from sim.dmc.arrays import TASKS

    return task in TASKS


def _make_arrays(template: Environment, name: str, n: int, threads: int) -> VectorEnv | None:
    """Make a batch that takes over ``template`` and is evaluated as arrays; None if none can."""
    if name.startswith("mujoco/"):
        from sim.mujoco.vector import MujocoVectorEnv

        return MujocoVectorEnv(template, template.arrays, n, threads)
    if name.startswith("dmc/"):
        from sim.dmc.arrays import make_batch

        return make_batch(template, name.removeprefix("dmc/"), n, threads)
    if name.startswith("tabletop/"):
        from sim.tabletop.vector import TabletopVectorEnv

        return TabletopVectorEnv(template, n, threads)
    from sim.robosuite.batch.env import RobosuiteVectorEnv, why_not

    reason = why_not(template)
    if reason is None:
        return RobosuiteVectorEnv(template, n, threads)
    template.close()
    warnings.warn(f"{name}: in processes, since arrays do not cover {reason}", stacklevel=4)
    return None
