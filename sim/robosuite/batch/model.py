"""A robosuite environment's model without what does not move anything: its dynamics, sooner.

Most geoms of a robosuite model are only looked at. MuJoCo moves them at every physics step all the
same, evaluates force sensors, and keeps tens of megabytes of their meshes.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import mujoco
import numpy as np

# What MuJoCo decides, when it compiles a model, about shorter ways to compute.
SHORTCUTS = ("body_simple", "body_sameframe", "dof_simplenum")


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
    geoms = _geoms_to_keep(original)
    for i in geoms:
        if not original.geom_contype[i] | original.geom_conaffinity[i]:
            _keep_as_sphere(spec, spec.geoms[i], f"kept_{i}")
    model = spec.compile()
    if not _is_built_alike(model, original, geoms):
        spec = mujoco.MjSpec.from_string(_xml(env))
        model, geoms = spec.compile(), np.arange(original.ngeom)
    _copy_numbers(original, model, geoms)
    model.opt.disableflags |= mujoco.mjtDisableBit.mjDSBL_SENSOR
    return LeanModel(model, geoms)


def _geoms_to_keep(model: mujoco.MjModel) -> np.ndarray:
    """List the geoms that can touch, and one more of a body that would be left with a single one.

    MuJoCo compares two bodies of one geom each directly, and others by their bounding boxes first:
    geoms that just touch, with no more than rounding between them, may fare differently.
    """
    keep = (model.geom_contype | model.geom_conaffinity) != 0
    geoms_per_body = np.bincount(model.geom_bodyid, minlength=model.nbody)
    kept_per_body = np.bincount(model.geom_bodyid[keep], minlength=model.nbody)
    for body in np.flatnonzero((kept_per_body == 1) & (geoms_per_body > 1)):
        keep[np.flatnonzero((model.geom_bodyid == body) & ~keep)[0]] = True
    return np.flatnonzero(keep)


def _keep_as_sphere(spec: mujoco.MjSpec, geom: mujoco.MjsGeom, name: str) -> None:
    """Make a geom small, and something that MuJoCo does not discard since a sensor refers to it."""
    geom.type, geom.meshname, geom.size = mujoco.mjtGeom.mjGEOM_SPHERE, "", [1e-3] * 3
    geom.name = geom.name or name
    spec.add_sensor(
        name=name, type=mujoco.mjtSensor.mjSENS_FRAMEPOS, objtype=mujoco.mjtObj.mjOBJ_GEOM,
        objname=geom.name,
    )  # fmt: skip


def _is_built_alike(model: mujoco.MjModel, original: mujoco.MjModel, geoms: np.ndarray) -> bool:
    """Say whether a model has these geoms of the original and treats its bodies in the same way."""
    pairs = [(getattr(model, name), getattr(original, name)) for name in SHORTCUTS]
    pairs.append((model.geom_bodyid, original.geom_bodyid[geoms]))
    return all(np.array_equal(one, other) for one, other in pairs)


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
