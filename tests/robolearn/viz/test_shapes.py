"""What is drawn of a model is what is there: groups, colours, surfaces, what moves."""

import mujoco
import numpy as np
import pytest

from robolearn.viz import shapes
from robolearn.viz import viewer as viz
from robolearn.viz.shapes import Surface

TETRAHEDRON = "0 0 0  1 0 0  0 1 0  0 0 1"
MJCF = f"""
<mujoco>
  <asset>
    <texture name="half" type="2d" builtin="flat" rgb1=".5 0 1" width="8" height="8"/>
    <material name="painted" texture="half" rgba="1 1 .5 1"/>
    <material name="plain" rgba=".1 .2 .3 1"/>
    <mesh name="corner" vertex="{TETRAHEDRON}"/>
    <hfield name="hill" nrow="3" ncol="4" size="2 1 .5 .1" elevation="0 0 0 0  0 1 1 0  0 0 0 0"/>
  </asset>
  <worldbody>
    <geom name="ground" type="hfield" hfield="hill"/>
    <geom name="painted" type="sphere" size=".1" material="painted"/>
    <geom name="plain" type="sphere" size=".1" material="plain"/>
    <geom name="own" type="sphere" size=".1" material="plain" rgba="1 0 0 1"/>
    <geom name="hidden" type="sphere" size=".1" rgba="1 0 0 0"/>
    <geom name="group3" type="sphere" size=".1" group="3"/>
    <body name="base">
      <body name="slider">
        <joint type="slide"/>
        <geom name="mesh" type="mesh" mesh="corner" pos="1 2 3"/>
        <body name="welded"><geom name="ellipsoid" type="ellipsoid" size=".1 .2 .3"/></body>
      </body>
      <geom name="cylinder" type="cylinder" size=".1 .2"/>
    </body>
    <body name="target" mocap="true"><geom name="box" type="box" size=".1 .2 .3"/></body>
  </worldbody>
</mujoco>
"""
SEPARATE = """
<mujoco>
  <worldbody>
    <geom name="floor" type="plane" size="1 1 .1" group="1"/>
    <body name="link">
      <geom name="hull" type="sphere" size=".1"/>
      <geom name="looks" type="sphere" size=".1" group="1" contype="0" conaffinity="0"/>
    </body>
    <body name="pad"><geom name="bare" type="sphere" size=".1"/></body>
  </worldbody>
</mujoco>
"""


@pytest.fixture(scope="module")
def model():
    return mujoco.MjModel.from_xml_string(MJCF)


def names(model, geoms):
    return {model.geom(int(i)).name for i in geoms}


def test_geom_types_are_numbered_as_in_mujoco():
    for number, name in enumerate(shapes.GEOM_TYPES):
        assert mujoco.mjtGeom(number).name == f"mjGEOM_{name.upper()}"


def test_visible_geoms_of_the_usual_groups_are_drawn(model):
    everything = {model.geom(i).name for i in range(model.ngeom)}
    assert names(model, shapes.drawn_geoms(model)) == everything - {"hidden", "group3"}


def test_hulls_are_left_out_where_the_model_has_something_nicer():
    model = mujoco.MjModel.from_xml_string(SEPARATE)
    assert names(model, shapes.drawn_geoms(model)) == {"floor", "looks"}


def test_colours_are_the_geoms_own_or_the_materials_and_textures(model):
    expected = {"painted": (0.5, 0, 0.5, 1), "plain": (0.1, 0.2, 0.3, 1), "own": (1, 0, 0, 1)}
    for name, rgba in expected.items():
        assert shapes.colour(model, model.geom(name).id) == pytest.approx(rgba, abs=3e-3)


def test_what_can_move_is_jointed_or_mocap(model):
    moving = shapes.moving_bodies(model, np.arange(model.nbody))
    assert {model.body(int(i)).name for i in moving} == {"slider", "welded", "target"}


def volume(surface: Surface) -> float:
    a, b, c = surface.vertices[surface.triangles].transpose(1, 0, 2)
    return float(np.einsum("fi,fi->", a, np.cross(b, c)) / 6)


def test_a_mesh_keeps_its_shape_with_each_point_once(model):
    surface = shapes.mesh_surface(model, model.geom("mesh").id)
    assert len(surface.vertices) == 4
    assert volume(surface) == pytest.approx(1 / 6)  # closed, and its triangles look outwards
    outwards = surface.vertices - surface.vertices.mean(axis=0)
    assert np.all(np.sum(outwards * surface.normals, axis=1) > 0)
    assert np.linalg.norm(surface.normals, axis=1) == pytest.approx(np.ones(4))


def test_a_height_field_is_where_rays_hit_it(model):
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    geom = model.geom("ground").id
    surface = shapes.hfield_surface(model, geom)
    inner = surface.vertices[(np.abs(surface.vertices[:, :2]) < (2, 1)).all(axis=1)]
    assert len(inner) == 2 and np.all(inner[:, 2] == 0.5)
    for x, y, z in surface.vertices[surface.triangles].mean(axis=1):
        start, down = np.array([x, y, 2.0]), np.array([0, 0, -1.0])
        hit = mujoco.mj_rayHfield(model, data, geom, start, down, None)
        assert 2.0 - hit == pytest.approx(z, abs=1e-6)
    a, b, c = surface.vertices[surface.triangles].transpose(1, 0, 2)
    assert np.all(np.cross(b - a, c - a)[:, 2] > 0)  # every triangle looks up
    assert np.all(surface.normals[:, 2] > 0)


def test_every_kind_of_geom_can_be_drawn(model):
    for geom in range(model.ngeom):
        viz.shape(model, geom)


def test_the_eye_sees_what_moves_and_not_what_is_put_away():
    links = "".join(
        f'<body pos="{x} 0 0"><joint type="slide"/><geom size=".1"/></body>' for x in (0, 1, 2)
    )
    away = '<body pos="50 50 50"><freejoint/><geom size=".1"/></body>'
    model = mujoco.MjModel.from_xml_string(f"<mujoco><worldbody>{links}{away}</worldbody></mujoco>")
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    position, target = shapes.eye(model, data)
    assert target == pytest.approx([1, 0, 0])
    assert 2 < np.linalg.norm(position - target) < 6
    assert position[2] > 0


def test_the_eye_sees_a_scene_in_which_nothing_moves():
    model = mujoco.MjModel.from_xml_string(
        '<mujoco><worldbody><geom size=".1" pos="3 0 0"/></worldbody></mujoco>'
    )
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    _, target = shapes.eye(model, data)
    assert target == pytest.approx(model.stat.center)
