"""A robosuite environment's model without what does not move anything: its dynamics, sooner.

Three quarters of the geoms of a robosuite model are only looked at. MuJoCo moves them at every
physics step all the same, evaluates force sensors, and keeps tens of megabytes of their meshes.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import mujoco
import numpy as np


class LeanModel(NamedTuple):
    """A model of which only ``geoms`` of the original's are left; all other numbers are equal."""

    model: mujoco.MjModel
    geoms: np.ndarray  # their indices in the original


def lean_model(env: Any) -> LeanModel:
    """Build a model that steps a robosuite environment's states to the same last bit.

    Without sensors, and without the geoms that touch nothing unless MuJoCo finds another use for
    one of them: then all are kept.
    """
    original = env.sim.model._model
    spec = mujoco.MjSpec.from_string(_xml(env))
    spec.compiler.discardvisual = True
    model = spec.compile()
    geoms = np.flatnonzero(original.geom_contype | original.geom_conaffinity)
    if not np.array_equal(model.geom_bodyid, original.geom_bodyid[geoms]):
        spec.compiler.discardvisual = False
        model, geoms = spec.compile(), np.arange(original.ngeom)
    _copy_numbers(original, model, geoms)
    model.opt.disableflags |= mujoco.mjtDisableBit.mjDSBL_SENSOR
    return LeanModel(model, geoms)


def _xml(env: Any) -> str:
    """Give the text from which robosuite compiled its model."""
    xml = env.model.get_xml()
    for process in env._xml_processors:
        xml = process(xml)
    return xml


def _copy_numbers(original: mujoco.MjModel, model: mujoco.MjModel, geoms: np.ndarray) -> None:
    """Take over what robosuite has written into its model after it was compiled."""
    for name in (name for name in dir(original) if not name.startswith("_")):
        source = getattr(original, name)
        if isinstance(source, np.ndarray) and source.dtype.kind == "f":
            target = getattr(model, name)
            source = source[geoms] if name.startswith("geom_") else source
            if source.shape == target.shape:
                target[...] = source
    for name in (name for name in dir(original.opt) if not name.startswith("_")):
        value = getattr(original.opt, name)
        if isinstance(value, np.ndarray):
            getattr(model.opt, name)[...] = value
        else:
            setattr(model.opt, name, value)
