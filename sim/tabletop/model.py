"""The model: a Panda with its parallel gripper at a table with one to three objects.

The arm and the gripper are robosuite's, read from its installed files when the model is built; what
collides, what drives the joints and how contacts are solved is ours, and is tuned for speed:

- The step is 10 ms with ``implicitfast``, which integrates the servos' damping implicitly. A
  shorter step costs in proportion.
- The friction cone is pyramidal. Newton's solver mostly needs one iteration; of the few hard
  moments 20 iterations leave fewer that squeeze an object out than 5 do.
- Only the palm, the fingers, the objects and the table collide, in shapes whose contacts have
  closed forms: boxes, spheres and a plane; a prism for what stands on the plane. Three capsules
  stand for the arm and collide with the hand alone, for self-collision: a hand that points down
  keeps the arm itself away from the table.
- Objects weigh 0.2 kg and the fingers press with at most 20 N: contacts of lighter things, or
  under higher forces, are soft (their stiffness goes with the mass) or throw at this step.
- The table is a plane and has no edge to fall from: an object beyond the edge ends the episode.
- Joints are driven by position servos within the Panda's torque limits. Gravity and Coriolis forces
  on the arm are compensated as on the real one (see ``sim.tabletop.physics``), which costs one copy
  where MuJoCo's ``gravcomp`` takes a Jacobian per body. Joints have no dry friction.
- Objects that roll are slowed by a little damping of their rotation, which is cheaper than rolling
  friction at every contact.

The world's origin is the centre of the table's top; x points away from the robot, z up.
"""

from __future__ import annotations

import importlib.util
import math
from dataclasses import dataclass
from pathlib import Path

import mujoco
import numpy as np

HOME_RAD = (0.0, -0.0719, 0.0, -2.5463, 0.0, 2.4744, math.pi / 4)  # 20 cm above the table
ARM_JOINTS = len(HOME_RAD)
FINGER_TRAVEL_M = 0.04
BASE_X_M = -0.5
TABLE_HALF_M = 0.4
TIMESTEP_S = 0.01
HAND_SITE = "grip_site"  # between the fingers; their tips are 13 mm farther
TIP_BELOW_HAND_M = 0.013

STIFFNESS = (2000.0,) * 4 + (1000.0,) * 3  # Nm/rad of the joints
DAMPING = (150.0,) * 4 + (75.0,) * 3  # Nms/rad: about critical
TORQUE_NM = (87.0, 87.0, 87.0, 87.0, 12.0, 12.0, 12.0)  # Franka's data sheet
FINGER_STIFFNESS, FINGER_FORCE_N = 500.0, 20.0
ROLLING_DAMPING = 3e-4  # Nms/rad, of an object's rotation

# Who collides with whom: bits of contype that another geom's conaffinity accepts.
TABLE, OBJECT, HAND, ARM = 1, 2, 4, 8
FINGER_HALF_M = (0.009, 0.006, 0.024)
FINGER_SOLIMP = (0.95, 0.99, 0.001, 0.5, 2.0)  # harder than MuJoCo's own: held objects slip less
COLLISION_GROUP = 3  # of geoms that a mesh is seen instead of
# Of the arm, as capsules [body, from, to, radius], in metres in the frame of the body.
ARM_CAPSULES = (
    ("link0", (0.0, 0.0, 0.05), (0.0, 0.0, 0.33), 0.09),
    ("link3", (0.0, 0.0, -0.22), (0.0, 0.0, -0.08), 0.075),
    ("link5", (0.0, 0.0, -0.24), (0.0, 0.05, -0.1), 0.07),
)


@dataclass(frozen=True)
class Kind:
    """What is particular about a kind of object; its own frame stands upright on the table."""

    half_height_m: float
    radius_m: float  # half the edge for a cube
    symmetry: int  # of its yaw: looks the same after a turn of 2 pi / symmetry; 0: after any turn


KINDS = {
    "cube": Kind(0.025, 0.025, 4),
    "cylinder": Kind(0.04, 0.025, 0),
    "mug": Kind(0.045, 0.0275, 1),
}
OBJECT_MASS_KG = 0.2
FRICTION = (0.6, 0.005, 0.0)  # of objects and table: sliding, torsional, rolling
PRISM_SIDES = 24
CAN_RADIUS_M, CAN_HALF_HEIGHT_M = 0.025, 0.04  # of robosuite's mesh
SKY, HORIZON = (0.45, 0.55, 0.68), (0.86, 0.88, 0.9)
RED, BLUE, WHITE = (0.8, 0.25, 0.2, 1.0), (0.2, 0.45, 0.8, 1.0), (0.9, 0.9, 0.85, 1.0)


def build(objects: tuple[tuple[str, str], ...], seen: bool) -> mujoco.MjModel:
    """Build the model with objects given as (name, kind).

    ``seen`` adds what is only looked at: meshes, lights, cameras, sky. The physics is the same.
    """
    spec = _robot(seen)
    _settings(spec)
    spec.body("base").pos = (BASE_X_M, 0.0, 0.0)
    _collide_robot(spec)
    _drive(spec)
    _table(spec, seen)
    for name, kind in objects:
        _object(spec, name, kind, seen)
    _sense(spec)
    model = spec.compile()
    for name, _ in objects:
        start = model.joint(name).dofadr[0] + 3
        model.dof_damping[start : start + 3] = ROLLING_DAMPING
    return model


def home_qpos(model: mujoco.MjModel) -> np.ndarray:
    """Give positions [nq] with the arm at home and the gripper open."""
    qpos = model.qpos0.copy()
    qpos[: ARM_JOINTS + 2] = (*HOME_RAD, FINGER_TRAVEL_M, -FINGER_TRAVEL_M)
    return qpos


def assets() -> Path:
    """Find robosuite's files without importing it."""
    found = importlib.util.find_spec("robosuite")
    return Path(found.submodule_search_locations[0]) / "models" / "assets"


def _robot(seen: bool) -> mujoco.MjSpec:
    """Read the arm and the gripper, without drives, sensors and what they collide with."""
    arm = mujoco.MjSpec.from_file(str(assets() / "robots" / "panda" / "robot.xml"))
    gripper = mujoco.MjSpec.from_file(str(assets() / "grippers" / "panda_gripper.xml"))
    arm.body("right_hand").add_frame().attach_body(gripper.body("right_gripper"), "", "")
    unwanted = [*arm.actuators, *arm.sensors]
    unwanted += [site for site in arm.sites if site.name != HAND_SITE]
    unwanted += [geom for geom in arm.geoms if not seen or geom.contype or geom.conaffinity]
    unwanted += [] if seen else [*arm.cameras, *arm.materials]
    for element in unwanted:
        arm.delete(element)
    used = {geom.meshname for geom in arm.geoms}
    for mesh in [mesh for mesh in arm.meshes if mesh.name not in used]:
        arm.delete(mesh)
    arm.site(HAND_SITE).rgba = (0, 0, 0, 0)
    for joint in arm.joints:
        joint.frictionloss = 0.0
    return arm


def _settings(spec: mujoco.MjSpec) -> None:
    spec.modelname = "tabletop"
    spec.compiler.degree = False
    spec.option.timestep = TIMESTEP_S
    spec.option.integrator = mujoco.mjtIntegrator.mjINT_IMPLICITFAST
    spec.option.cone = mujoco.mjtCone.mjCONE_PYRAMIDAL
    spec.option.iterations, spec.option.ls_iterations = 20, 20


def _collide_robot(spec: mujoco.MjSpec) -> None:
    capsule, box = mujoco.mjtGeom.mjGEOM_CAPSULE, mujoco.mjtGeom.mjGEOM_BOX
    hand = {"contype": HAND, "conaffinity": TABLE | OBJECT, "group": COLLISION_GROUP}
    spec.body("right_gripper").add_geom(
        name="palm", type=box, pos=(0, 0, 0.03), size=(0.1, 0.03, 0.028), **hand
    )
    for side, name in ((1, "leftfinger"), (-1, "rightfinger")):
        spec.body(name).add_geom(
            name=name, type=box, pos=(0, side * FINGER_HALF_M[1], 0.034), size=FINGER_HALF_M,
            friction=(1.0, 0.005, 0.0), solimp=FINGER_SOLIMP, **hand,
        )  # fmt: skip
    for i, (body, start, end, radius) in enumerate(ARM_CAPSULES):
        spec.body(body).add_geom(
            name=f"arm{i}", type=capsule, fromto=(*start, *end), size=(radius, 0, 0),
            contype=ARM, conaffinity=HAND, group=COLLISION_GROUP,
        )  # fmt: skip


def _drive(spec: mujoco.MjSpec) -> None:
    for i, servo in enumerate(zip(STIFFNESS, DAMPING, TORQUE_NM, strict=True)):
        _servo(spec, f"joint{i + 1}", *servo)
    for finger in ("finger_joint1", "finger_joint2"):
        _servo(spec, finger, FINGER_STIFFNESS, 0.0, FINGER_FORCE_N)


def _servo(spec: mujoco.MjSpec, joint: str, kp: float, kv: float, limit: float) -> None:
    servo = spec.add_actuator(
        name=joint, target=joint, trntype=mujoco.mjtTrn.mjTRN_JOINT, forcerange=(-limit, limit)
    )
    servo.set_to_position(kp, kv=kv)


def _table(spec: mujoco.MjSpec, seen: bool) -> None:
    spec.worldbody.add_geom(
        name="table", type=mujoco.mjtGeom.mjGEOM_PLANE, size=(TABLE_HALF_M, TABLE_HALF_M, 0.01),
        contype=TABLE, conaffinity=0, friction=FRICTION, rgba=(0.75, 0.7, 0.62, 1),
    )  # fmt: skip
    if not seen:
        return
    spec.worldbody.add_light(
        type=mujoco.mjtLightType.mjLIGHT_DIRECTIONAL, pos=(0.5, 0.5, 2), dir=(-0.3, -0.2, -1),
        diffuse=(0.4, 0.4, 0.4), specular=(0.1, 0.1, 0.1),
    )  # fmt: skip
    for name, pos in (("front", (1.15, 0.0, 0.75)), ("side", (0.15, -1.25, 0.6))):
        camera = spec.worldbody.add_camera(name=name, pos=pos, fovy=45)
        camera.quat = _looking(np.array(pos), np.array([-0.15, 0.0, 0.2]))
    spec.worldbody.add_camera(name="top", pos=(0.0, 0.0, 1.3), fovy=45)
    spec.add_texture(
        name="sky", type=mujoco.mjtTexture.mjTEXTURE_SKYBOX,
        builtin=mujoco.mjtBuiltin.mjBUILTIN_GRADIENT, rgb1=SKY, rgb2=HORIZON, width=64, height=384,
    )  # fmt: skip


def _looking(eye: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Give the orientation (wxyz) of a camera: it looks along its -z, and its x is level."""
    z = (eye - at) / np.linalg.norm(eye - at)
    x = np.cross([0.0, 0.0, 1.0], z)
    x /= np.linalg.norm(x)
    quat = np.zeros(4)
    mujoco.mju_mat2Quat(quat, np.stack([x, np.cross(z, x), z], axis=1).ravel())
    return quat


def _object(spec: mujoco.MjSpec, name: str, kind: str, seen: bool) -> None:
    shape = KINDS[kind]
    body = spec.worldbody.add_body(name=name, pos=(0, 0, shape.half_height_m))
    body.add_freejoint(name=name)
    if kind == "cube":
        half = shape.half_height_m
        body.add_geom(
            name=name, type=mujoco.mjtGeom.mjGEOM_BOX, size=(half, half, half), mass=OBJECT_MASS_KG,
            rgba=RED, contype=OBJECT, conaffinity=TABLE | OBJECT | HAND, friction=FRICTION,
        )  # fmt: skip
        return
    _round(spec, body, kind, BLUE)
    if kind == "mug":
        body.add_geom(
            name=f"{name}_handle", type=mujoco.mjtGeom.mjGEOM_BOX, size=(0.012, 0.005, 0.022),
            pos=(shape.radius_m + 0.01, 0, 0), mass=0.1 * OBJECT_MASS_KG, rgba=WHITE,
            contype=OBJECT, conaffinity=TABLE | OBJECT | HAND, friction=FRICTION,
        )  # fmt: skip
        if seen:
            body.geoms[0].group = COLLISION_GROUP
            _dress_mug(spec, body, shape)


def _round(spec: mujoco.MjSpec, body: mujoco.MjsBody, kind: str, rgba: tuple[float, ...]) -> None:
    """Add a prism that the table feels, and in it three spheres that all others feel.

    MuJoCo's closed forms for cylinder and plane and for capsule and box lose contacts where the
    two are exactly parallel, as they are for what stands and for what is grasped: directions are
    then made of rounding errors. A cylinder so falls through the table now and then.
    """
    shape = KINDS[kind]
    radius, half = shape.radius_m, shape.half_height_m
    if spec.mesh(f"{kind}_prism") is None:
        angles = 2 * np.pi * np.arange(PRISM_SIDES) / PRISM_SIDES
        ring = np.column_stack([radius * np.cos(angles), radius * np.sin(angles)])
        corners = [np.column_stack([ring, np.full(PRISM_SIDES, z)]) for z in (-half, half)]
        spec.add_mesh(name=f"{kind}_prism", uservert=np.concatenate(corners).ravel())
    body.add_geom(
        name=body.name, type=mujoco.mjtGeom.mjGEOM_MESH, meshname=f"{kind}_prism",
        mass=OBJECT_MASS_KG, rgba=rgba, contype=0, conaffinity=TABLE, friction=FRICTION,
    )  # fmt: skip
    for z in (radius - half, 0.0, half - radius):
        body.add_geom(
            type=mujoco.mjtGeom.mjGEOM_SPHERE, pos=(0, 0, z), size=(radius, 0, 0), mass=0.0,
            contype=OBJECT, conaffinity=OBJECT | HAND, friction=FRICTION, group=COLLISION_GROUP,
        )  # fmt: skip


def _dress_mug(spec: mujoco.MjSpec, body: mujoco.MjsBody, shape: Kind) -> None:
    """Show robosuite's can, scaled to the cylinder that collides."""
    if spec.mesh("mug") is None:
        wide, high = shape.radius_m / CAN_RADIUS_M, shape.half_height_m / CAN_HALF_HEIGHT_M
        file = str(assets() / "objects" / "meshes" / "can.stl")
        spec.add_mesh(name="mug", file=file, scale=(wide, wide, high))
    body.add_geom(
        type=mujoco.mjtGeom.mjGEOM_MESH, meshname="mug", contype=0, conaffinity=0, mass=0.0,
        rgba=WHITE, group=1,
    )  # fmt: skip


def _sense(spec: mujoco.MjSpec) -> None:
    """Add the force on the table, in newtons [3], and whether the hand touches the arm [3]."""
    force, found = 1 << int(mujoco.mjtConDataField.mjCONDATA_FORCE), 1
    for geom, what, reduce in (("table", force, 3), *((f"arm{i}", found, 0) for i in range(3))):
        spec.add_sensor(
            name=geom, type=mujoco.mjtSensor.mjSENS_CONTACT, objtype=mujoco.mjtObj.mjOBJ_GEOM,
            objname=geom, intprm=(what, reduce, 1),
        )  # fmt: skip
