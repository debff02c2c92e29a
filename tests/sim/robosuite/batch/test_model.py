"""The model that a batch of robosuite environments steps, against the one that robosuite steps."""

from types import SimpleNamespace

import mujoco
import numpy as np

import sim
from sim.robosuite.batch.model import lean_model

SCENE = """
<mujoco>
  <option timestep="0.002"/>
  <worldbody>
    <geom name="floor" type="plane" size="1 1 1"/>
    <body name="ball" pos="0 0 0.3">
      <freejoint/>
      <geom name="look" type="box" size="0.1 0.1 0.1" contype="0" conaffinity="0" mass="0.2"/>
      <geom name="touch" type="sphere" size="0.1" mass="1"/>
      <geom name="touch_too" type="sphere" size="0.1" pos="0.05 0 0" mass="1"/>
    </body>
    <body name="box" pos="1 0 0.1">
      <freejoint/>
      <geom type="ellipsoid" size="0.1 0.2 0.3" contype="0" conaffinity="0" mass="0"/>
      <geom type="sphere" size="0.01" contype="0" conaffinity="0" mass="0"/>
      <geom name="box" type="box" size="0.1 0.1 0.1" mass="1"/>
    </body>
  </worldbody>
  %s
</mujoco>
"""


def _fake(contacts: str = "") -> SimpleNamespace:
    """Make what ``lean_model`` needs of a robosuite environment from a scene."""
    xml = SCENE % contacts
    model = mujoco.MjModel.from_xml_string(xml)
    wrapper = SimpleNamespace(model=SimpleNamespace(_model=model))
    return SimpleNamespace(
        model=SimpleNamespace(get_xml=lambda: xml), sim=wrapper, _xml_processors=[]
    )


def _fall(model: mujoco.MjModel, steps: int = 300) -> np.ndarray:
    data = mujoco.MjData(model)
    data.qvel[3] = 5.0
    for _ in range(steps):
        mujoco.mj_step(model, data)
    return np.concatenate([data.qpos, data.qvel])


def test_what_is_only_looked_at_is_left_out_and_nothing_moves_otherwise():
    env = _fake()
    original = env.sim.model._model
    original.opt.gravity[2] = -3.0  # written after compiling, as robosuite does
    original.geom_friction[1:] = 0.2
    lean = lean_model(env)
    # One geom that is only looked at stays with the box: MuJoCo treats single geoms differently.
    names = [original.geom(i).name for i in lean.geoms]
    assert names == ["floor", "touch", "touch_too", "", "box"]
    np.testing.assert_array_equal(_fall(lean.model), _fall(original))


def test_all_geoms_are_kept_where_a_visual_one_has_another_use():
    env = _fake('<contact><pair geom1="floor" geom2="look"/></contact>')
    lean = lean_model(env)
    np.testing.assert_array_equal(lean.geoms, np.arange(7))
    np.testing.assert_array_equal(_fall(lean.model), _fall(env.sim.model._model))


def test_a_robosuite_model_shrinks_and_keeps_what_resets_have_written():
    env = sim.make("robosuite/Door")
    env.reset(seed=3)
    lean = lean_model(env._env)
    assert lean.model.ngeom < env.model.ngeom / 2
    assert lean.model.nmesh < env.model.nmesh
    np.testing.assert_array_equal(lean.model.body_pos, env.model.body_pos)
    np.testing.assert_array_equal(lean.model.body_inertia, env.model.body_inertia)
