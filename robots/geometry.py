"""How far an arm is from itself, from the floor and from the walls of its workspace box.

Every geom of the arm that can touch something is put in a capsule that contains it: distances of
capsules are cheap, and never larger than those of the geoms. Where two capsules come near, MuJoCo is
asked how far the geoms are. Not compared are bodies that a joint connects, that the model excludes,
that touch in the home pose, and those of one gripper.

No point of the arm moves, relative to another, by more than sum_j |dq_j| reach_j. So a clearance is
also a promise for what follows: a path is looked at anew only where that bound has used it up.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import mujoco
import numpy as np
from numba import njit

from robots.arm_model import ArmModel
from robots.base import Kind

FAR_M = 10.0  # the clearance where there is nothing
NEAR_M = 0.02  # below which capsules are not believed


class Geometry:
    """Clearances of an arm at positions [J]."""

    def __init__(
        self,
        arm: ArmModel,
        box_m: tuple[tuple[float, float], ...] | None = None,
        floor: bool = True,
    ) -> None:
        """``box_m`` is ((x low, high), (y ...), (z ...)) for the hand, in the model's world frame.

        ``floor`` keeps all but the hand itself above the model's planes.
        """
        self.arm = arm
        self.box = None if box_m is None else [list(map(float, side)) for side in zip(*box_m, strict=True)]
        model = arm.model
        bodies = _moving_bodies(arm)
        self._geoms = list(_solid_geoms(arm, bodies))
        self.bodies = model.geom_bodyid[self._geoms].astype(np.int64)  # [C]
        capsules = [_capsule(model, geom) for geom in self._geoms]
        self._ends = np.array([ends for ends, _ in capsules]).reshape(-1, 2, 3)
        self._radii = np.array([radius for _, radius in capsules])
        self._floors = _planes(model) if floor else np.zeros((0, 4))
        near_hand = _below(model, int(model.site_bodyid[arm.hand]))
        self._over_floor = np.array([b in bodies and b not in near_hand for b in self.bodies])
        pairs = np.array(list(_pairs(arm, self.bodies, bodies)), np.int64).reshape(-1, 2)
        self._pairs = pairs[self._distances(arm.kinematics(arm.home), pairs)[0] > 0]
        self.unchecked = len(pairs) - len(self._pairs)  # pairs that touch at home
        self.reach = _reach(arm, self.bodies, self._ends, self._radii)  # [J] m per unit

    def clearance(self, positions: np.ndarray) -> tuple[float, float]:
        """Give how far the arm is from itself and the floor, and how deep the hand is in its box."""
        data = self.arm.kinematics(positions)
        pairs, heights = self._distances(data, self._pairs)
        itself = float(min(pairs.min(initial=FAR_M), heights.min(initial=FAR_M)))
        if self.box is None:
            return itself, FAR_M
        x, y, z = data.site_xpos[self.arm.hand].tolist()
        (x0, y0, z0), (x1, y1, z1) = self.box
        return itself, min(x - x0, y - y0, z - z0, x1 - x, y1 - y, z1 - z)

    def along(self, path: np.ndarray, levels: tuple[float, float]) -> tuple[float, float] | None:
        """Give clearances that hold all along a path [K, J]; None if one falls below its level."""
        moves = np.abs(np.diff(path, axis=0)) @ self.reach  # [K - 1] m at most
        lowest, at = (FAR_M, FAR_M), 0
        while True:
            found = self.clearance(path[at])
            spare = min(found[0] - levels[0], found[1] - levels[1])
            if spare < 0:
                return None
            ahead = np.cumsum(moves[at:])
            covered = int(np.searchsorted(ahead, spare, side="right"))
            used = float(ahead[covered - 1]) if covered else 0.0
            lowest = (min(lowest[0], found[0] - used), min(lowest[1], found[1] - used))
            if at + covered >= len(path) - 1:
                return lowest
            at += max(covered, 1)

    def _distances(self, data: mujoco.MjData, pairs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Give the distances of pairs [P], and the heights over floors [C', F]."""
        apart, heights = _distances(
            data.xpos, data.xmat, self.bodies, self._ends, self._radii, pairs, self._floors
        )
        for p in np.flatnonzero(apart < NEAR_M):
            geoms = (self._geoms[c] for c in pairs[p])
            apart[p] = mujoco.mj_geomDistance(self.arm.model, data, *geoms, FAR_M, None)
        return apart, heights[self._over_floor]


def _moving_bodies(arm: ArmModel) -> set[int]:
    """Give the bodies that the arm's joints move."""
    roots = arm.model.jnt_bodyid[arm.joint_ids]
    return set().union(*(_below(arm.model, int(root)) for root in roots))


def _below(model: mujoco.MjModel, root: int) -> set[int]:
    """Give a body and all that hang on it."""
    found = {root}
    for body in range(root + 1, model.nbody):  # parents come before their children
        if int(model.body_parentid[body]) in found:
            found.add(body)
    return found


def _solid_geoms(arm: ArmModel, moving: set[int]) -> Iterator[int]:
    """Give the geoms that can touch: of what moves, and of what it stands on."""
    model = arm.model
    base = int(model.body_parentid[model.jnt_bodyid[arm.joint_ids[0]]])
    for geom in range(model.ngeom):
        touches = model.geom_contype[geom] or model.geom_conaffinity[geom]
        of_base = base > 0 and int(model.geom_bodyid[geom]) == base
        if touches and (int(model.geom_bodyid[geom]) in moving or of_base):
            yield geom


def _capsule(model: mujoco.MjModel, geom: int) -> tuple[np.ndarray, float]:
    """Give the ends [2, 3] in the body's frame, and the radius, of a capsule around a geom."""
    rotation = np.empty(9)
    mujoco.mju_quat2Mat(rotation, model.geom_quat[geom])
    kind, size = model.geom_type[geom], model.geom_size[geom]
    if kind in (mujoco.mjtGeom.mjGEOM_CAPSULE, mujoco.mjtGeom.mjGEOM_SPHERE):
        half = size[1] if kind == mujoco.mjtGeom.mjGEOM_CAPSULE else 0.0
        ends, radius = np.array([[0, 0, -half], [0, 0, half]]), float(size[0])
    else:
        ends, radius = _around(_corners(model, geom))
    return ends @ rotation.reshape(3, 3).T + model.geom_pos[geom], radius


def _corners(model: mujoco.MjModel, geom: int) -> np.ndarray:
    """Give points [N, 3] in the geom's frame whose hull contains it."""
    mesh = int(model.geom_dataid[geom])
    if model.geom_type[geom] == mujoco.mjtGeom.mjGEOM_MESH:
        start, count = model.mesh_vertadr[mesh], model.mesh_vertnum[mesh]
        return model.mesh_vert[start : start + count].astype(np.float64)
    center, half = model.geom_aabb[geom, :3], model.geom_aabb[geom, 3:]
    signs = np.array(np.meshgrid(*[(-1, 1)] * 3)).reshape(3, -1).T
    return center + signs * half


def _around(points: np.ndarray) -> tuple[np.ndarray, float]:
    """Give ends [2, 3] and radius of a capsule that contains points [N, 3], along their length."""
    center = (points.min(axis=0) + points.max(axis=0)) / 2
    axis = np.linalg.svd(points - center, full_matrices=False)[2][0]
    along = (points - center) @ axis
    off = np.linalg.norm(points - center - along[:, None] * axis, axis=1)
    radius = float(off.max())
    rounded = np.sqrt(np.maximum(radius**2 - off**2, 0.0))  # how far a cap covers a point
    half = max(0.0, float((np.abs(along) - rounded).max()))
    return np.array([center - half * axis, center + half * axis]), radius


def _planes(model: mujoco.MjModel) -> np.ndarray:
    """Give the planes of the world [F, 4]: normal, and height along it."""
    found = []
    for geom in np.flatnonzero(model.geom_type == mujoco.mjtGeom.mjGEOM_PLANE):
        if model.geom_bodyid[geom] == 0:
            rotation = np.empty(9)
            mujoco.mju_quat2Mat(rotation, model.geom_quat[geom])
            normal = rotation.reshape(3, 3)[:, 2]
            found.append([*normal, float(normal @ model.geom_pos[geom])])
    return np.array(found).reshape(-1, 4)


def _pairs(arm: ArmModel, bodies: np.ndarray, moving: set[int]) -> Iterator[tuple[int, int]]:
    """Give the pairs of capsules that could come together, but for those of one gripper."""
    model = arm.model
    excluded = {frozenset((int(s) >> 16, int(s) & 0xFFFF)) for s in model.exclude_signature}
    rigid = _without_gripper(arm)
    for i, first in enumerate(map(int, bodies)):
        for k, second in enumerate(map(int, bodies[:i])):
            a, b = int(rigid[first]), int(rigid[second])
            joined = rigid[model.body_parentid[a]] == b or rigid[model.body_parentid[b]] == a
            still = first not in moving and second not in moving
            if a != b and not joined and not still and frozenset((first, second)) not in excluded:
                yield i, k


def _without_gripper(arm: ArmModel) -> np.ndarray:
    """Give for each body the topmost one that only a gripper's joints move it against."""
    model = arm.model
    gripper = {
        int(joint)
        for joint, of in zip(arm.joint_ids, arm.of_joint, strict=True)
        if arm.joints[of].kind is Kind.GRIPPER
    }
    top = np.arange(model.nbody)
    for body in range(1, model.nbody):
        start, count = int(model.body_jntadr[body]), int(model.body_jntnum[body])
        if set(range(start, start + count)) <= gripper if count else True:
            top[body] = top[model.body_parentid[body]]
    return top


def _reach(
    arm: ArmModel, bodies: np.ndarray, ends: np.ndarray, radii: np.ndarray
) -> np.ndarray:
    """Bound how far a point of the arm moves per unit of each joint [J], in any pose."""
    model, found = arm.model, np.zeros(len(arm.joints))
    extent = {}  # body -> how far its points are from its frame
    for body, two, radius in zip(bodies, ends, radii, strict=True):
        here = float(np.linalg.norm(two, axis=1).max()) + radius
        extent[int(body)] = max(here, extent.get(int(body), 0.0))
    extent.setdefault(int(model.site_bodyid[arm.hand]), 0.0)
    site = float(np.linalg.norm(model.site_pos[arm.hand]))
    extent[int(model.site_bodyid[arm.hand])] = max(
        site, extent[int(model.site_bodyid[arm.hand])]
    )
    slides = model.jnt_type == mujoco.mjtJoint.mjJNT_SLIDE
    for place, joint in enumerate(arm.joint_ids):
        if slides[joint]:
            moved = 1.0
        else:
            moved = _farthest(model, int(model.jnt_bodyid[joint]), extent, slides)
            moved += float(np.linalg.norm(model.jnt_pos[joint]))
        found[arm.of_joint[place]] += abs(arm.gain[place]) * moved
    return found


def _farthest(
    model: mujoco.MjModel, root: int, extent: dict[int, float], slides: np.ndarray
) -> float:
    """Bound how far any point below a body is from the body's frame."""
    away = {root: 0.0}
    for body in sorted(_below(model, root) - {root}):
        start, count = model.body_jntadr[body], model.body_jntnum[body]
        own = range(start, start + count) if count else ()
        travel = sum(float(np.abs(model.jnt_range[j]).max()) for j in own if slides[j])
        offset = float(np.linalg.norm(model.body_pos[body])) + travel
        away[body] = away[int(model.body_parentid[body])] + offset
    return max(distance + extent.get(body, 0.0) for body, distance in away.items())


@njit(cache=True)
def _distances(
    xpos: np.ndarray,
    xmat: np.ndarray,
    bodies: np.ndarray,
    ends: np.ndarray,
    radii: np.ndarray,
    pairs: np.ndarray,
    floors: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Give the distances of pairs of capsules [P], and of capsules from the floors [C, F]."""
    count = bodies.shape[0]
    world = np.empty((count, 2, 3))
    for c in range(count):
        b = bodies[c]
        for e in range(2):
            for i in range(3):
                world[c, e, i] = xpos[b, i]
                for k in range(3):
                    world[c, e, i] += xmat[b, 3 * i + k] * ends[c, e, k]
    apart = np.empty(pairs.shape[0])
    for p in range(pairs.shape[0]):
        i, k = pairs[p, 0], pairs[p, 1]
        between = _segments(world[i, 0], world[i, 1], world[k, 0], world[k, 1])
        apart[p] = between - radii[i] - radii[k]
    heights = np.empty((count, floors.shape[0]))
    for c in range(count):
        for f in range(floors.shape[0]):
            normal = floors[f, :3]
            lowest = min((normal * world[c, 0]).sum(), (normal * world[c, 1]).sum())
            heights[c, f] = lowest - floors[f, 3] - radii[c]
    return apart, heights


@njit(cache=True)
def _segments(a: np.ndarray, b: np.ndarray, c: np.ndarray, d: np.ndarray) -> float:
    """Give the distance of segments ab and cd (Ericson, Real-Time Collision Detection, 5.1.9)."""
    uu = uv = vv = ur = vr = 0.0
    for i in range(3):
        u, v, r = b[i] - a[i], d[i] - c[i], a[i] - c[i]
        uu, uv, vv, ur, vr = uu + u * u, uv + u * v, vv + v * v, ur + u * r, vr + v * r
    tiny = 1e-15
    if uu <= tiny and vv <= tiny:
        s = t = 0.0
    elif uu <= tiny:
        s, t = 0.0, min(max(vr / vv, 0.0), 1.0)
    elif vv <= tiny:
        s, t = min(max(-ur / uu, 0.0), 1.0), 0.0
    else:
        parallel = uu * vv - uv * uv
        s = min(max((uv * vr - ur * vv) / parallel, 0.0), 1.0) if parallel > tiny else 0.0
        t = (uv * s + vr) / vv
        if t < 0.0:
            t, s = 0.0, min(max(-ur / uu, 0.0), 1.0)
        elif t > 1.0:
            t, s = 1.0, min(max((uv - ur) / uu, 0.0), 1.0)
    total = 0.0
    for i in range(3):
        gap = (a[i] + s * (b[i] - a[i])) - (c[i] + t * (d[i] - c[i]))
        total += gap * gap
    return math.sqrt(total)
