"""How far an arm is from itself, from the floor and from the walls of its workspace box.

Every geom of the arm that can touch something is put in a capsule that contains it: distances of
capsules are quickly had, and never larger than those of the geoms. Not compared are bodies that
few joints separate (``ArmModel.joined``), that the model excludes, whose capsules overlap in the
home pose, and those of one gripper. Of several arms in one model everything of one is compared with
everything of another.

No point of the arm moves, relative to another, by more than sum_j |dq_j| reach_j. So a clearance is
also a promise for what follows: a path is looked at anew only where that bound has used it up.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import mujoco
import numpy as np
from numba import njit

from robolearn.errors import UserError
from robots.arm_model import ArmModel
from robots.base import Kind

FAR_M = 10.0  # the clearance where there is nothing


class Geometry:
    """Clearances of an arm at positions [J]."""

    def __init__(
        self,
        arm: ArmModel,
        box_m: tuple[tuple[float, float], ...] | None = None,
        floor: bool = True,
        pairs: bool = True,
    ) -> None:
        """``box_m`` is ((x low, high), (y ...), (z ...)) for the hand, in the model's world frame.

        ``floor`` keeps all but the hand itself above the model's planes, ``pairs`` the arm off
        itself. Raises UserError for arms that touch in their home pose.
        """
        self.arm = arm
        low, high = np.full((2, 3), [[-FAR_M], [FAR_M]])
        if box_m is not None:
            low, high = np.array(box_m, np.float64).T
        moving = _moving_bodies(arm)
        geoms = list(_solid_geoms(arm, moving))
        bodies = arm.model.geom_bodyid[geoms].astype(np.int64)  # [C]
        capsules = [_capsule(arm.model, geom) for geom in geoms]
        ends = np.array([two for two, _ in capsules]).reshape(-1, 2, 3)
        radii = np.array([radius for _, radius in capsules])
        near_hand = set().union(*(_below(arm.model, int(b)) for b in _hand_bodies(arm)))
        over_floor = np.array([b in moving and b not in near_hand for b in bodies])
        floors = _planes(arm.model) if floor else np.zeros((0, 4))
        self._shape = (bodies, ends, radii, over_floor, floors, low, high)
        self._chain = _chain(arm)
        self.reach = _reach(arm, bodies, ends, radii)  # [J] m per unit
        near = list(_pairs(arm, bodies, moving)) if pairs else []
        every = np.array(near, np.int64).reshape(-1, 2)
        home = np.array([self._clearance(arm.home, every[p : p + 1], 0) for p in range(len(near))])
        _require_apart(arm, bodies, every[home <= 0] if near else every)
        self.pairs = every[home > 0] if near else every
        self.unchecked = len(every) - len(self.pairs)  # pairs that overlap at home

    def clearance(self, positions: np.ndarray) -> tuple[float, float]:
        """Give how far the arm is from itself and the floor, and the hand inside its box (m)."""
        return self._clearance(positions, self.pairs, 1), self._clearance(positions, self.pairs, 2)

    def along(self, path: np.ndarray, levels: tuple[float, float]) -> tuple[float, float] | None:
        """Give clearances that hold all along a path [K, J]; None if one falls below its level."""
        found = _along(path, self.reach, levels, self._chain, self._shape, self.pairs)
        return found if found[0] >= levels[0] and found[1] >= levels[1] else None

    def _clearance(self, positions: np.ndarray, pairs: np.ndarray, which: int) -> float:
        """Give the least distance of pairs (0), with floors (1), or in the box (2)."""
        found = _clearances(np.asarray(positions, np.float64), self._chain, self._shape, pairs)
        return (found[0], min(found[0], found[1]), found[2])[which]


def _hand_bodies(arm: ArmModel) -> np.ndarray:
    """Give the body of each hand [H]."""
    return arm.model.site_bodyid[arm.hands].astype(np.int64)


def _require_apart(arm: ArmModel, bodies: np.ndarray, overlapping: np.ndarray) -> None:
    """Raise UserError if any of the pairs of capsules are those of two arms."""
    model = arm.model
    for first, second in bodies[overlapping]:
        if model.body_rootid[first] != model.body_rootid[second]:
            names = f"{model.body(int(first)).name} and {model.body(int(second)).name}"
            raise UserError(f"{names} touch in the home pose: put the arms further apart")


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
    bases = {int(model.body_parentid[body]) for body in moving} - {0}
    for geom in range(model.ngeom):
        touches = model.geom_contype[geom] or model.geom_conaffinity[geom]
        if touches and int(model.geom_bodyid[geom]) in moving | bases:
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


def _chain(arm: ArmModel) -> tuple[np.ndarray, ...]:
    """Give what kinematics needs: bodies in order, where they hang, and what moves them."""
    model = arm.model
    needed = {0}
    for body in [*_moving_bodies(arm), *map(int, _hand_bodies(arm))]:
        while body:
            needed.add(body)
            body = int(model.body_parentid[body])
    bodies = np.array(sorted(needed), np.int64)
    rotations = np.empty((model.nbody, 9))
    for body in range(model.nbody):
        mujoco.mju_quat2Mat(rotations[body], model.body_quat[body])
    place = np.full(model.nbody, -1, np.int64)  # which of the arm's places moves a body
    place[model.jnt_bodyid[arm.joint_ids]] = np.arange(len(arm.joint_ids))
    slides = model.jnt_type[arm.joint_ids] == mujoco.mjtJoint.mjJNT_SLIDE
    rest = model.qpos0[arm.qpos_at]
    return (
        bodies, model.body_parentid.astype(np.int64), model.body_pos.copy(), rotations, place,
        slides, model.jnt_axis[arm.joint_ids].copy(), model.jnt_pos[arm.joint_ids].copy(),
        arm.of_joint.astype(np.int64), arm.offset - rest, arm.gain,
        _hand_bodies(arm), model.site_pos[arm.hands].copy(),
    )  # fmt: skip


def _pairs(arm: ArmModel, bodies: np.ndarray, moving: set[int]) -> Iterator[tuple[int, int]]:
    """Give the pairs of capsules that could come together, but for those of one gripper."""
    model = arm.model
    excluded = {frozenset((int(s) >> 16, int(s) & 0xFFFF)) for s in model.exclude_signature}
    rigid = _without_gripper(arm)
    for i, first in enumerate(map(int, bodies)):
        for k, second in enumerate(map(int, bodies[:i])):
            still = first not in moving and second not in moving
            apart = _joints_between(model, int(rigid[first]), int(rigid[second]))
            far = apart > arm.joined or model.body_rootid[first] != model.body_rootid[second]
            if far and not still and frozenset((first, second)) not in excluded:
                yield i, k


def _joints_between(model: mujoco.MjModel, first: int, second: int) -> int:
    """Count the joints on the way from one body to another."""
    count = 0
    while first != second:
        later = max(first, second)
        count += int(model.body_jntnum[later])
        first, second = min(first, second), int(model.body_parentid[later])
    return count


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


def _reach(arm: ArmModel, bodies: np.ndarray, ends: np.ndarray, radii: np.ndarray) -> np.ndarray:
    """Bound how far a point of the arm moves per unit of each joint [J], in any pose."""
    model, found = arm.model, np.zeros(len(arm.joints))
    extent = {}  # body -> how far its points are from its frame
    for body, two, radius in zip(bodies, ends, radii, strict=True):
        here = float(np.linalg.norm(two, axis=1).max()) + radius
        extent[int(body)] = max(here, extent.get(int(body), 0.0))
    for hand, body in zip(arm.hands, map(int, _hand_bodies(arm)), strict=True):
        site = float(np.linalg.norm(model.site_pos[hand]))
        extent[body] = max(site, extent.get(body, 0.0))
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
def _frames(positions: np.ndarray, chain: tuple) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Give the positions [N, 3] and rotations [N, 3, 3] of bodies, and where hands are [H, 3].

    As MuJoCo's ``mj_kinematics``, for bodies with one joint at most.
    """
    bodies, parents, offsets, turned, place, slides, axes, anchors = chain[:8]
    of_joint, shift, gain, hand_bodies, hands = chain[8:]
    origin = np.zeros((parents.shape[0], 3))
    rotation = np.zeros((parents.shape[0], 3, 3))
    own, joint, about = np.empty((3, 3)), np.empty((3, 3)), np.empty(3)
    for i in range(3):
        rotation[0, i, i] = 1.0
    for b in bodies[1:]:
        parent = parents[b]
        _put(origin[parent], rotation[parent], offsets[b], 1.0, origin[b])
        for i in range(3):
            for k in range(3):
                own[i, k] = turned[b, 3 * i + k]
        _times(rotation[parent], own, rotation[b])
        p = place[b]
        if p >= 0:
            value = shift[p] + gain[p] * positions[of_joint[p]]
            if slides[p]:
                _put(origin[b], rotation[b], axes[p], value, origin[b])
            else:
                _put(origin[b], rotation[b], anchors[p], 1.0, about)
                _about(axes[p], value, joint)
                own[:] = rotation[b]
                _times(own, joint, rotation[b])
                _put(about, rotation[b], anchors[p], -1.0, origin[b])
    where = np.empty((hands.shape[0], 3))
    for h in range(hands.shape[0]):
        at = hand_bodies[h]
        _put(origin[at], rotation[at], hands[h], 1.0, where[h])
    return origin, rotation, where


@njit(cache=True)
def _put(
    origin: np.ndarray, rotation: np.ndarray, v: np.ndarray, scale: float, out: np.ndarray
) -> None:
    """Write origin + scale rotation v into out [3], which may be origin."""
    for i in range(3):
        turned = rotation[i, 0] * v[0] + rotation[i, 1] * v[1] + rotation[i, 2] * v[2]
        out[i] = origin[i] + scale * turned


@njit(cache=True)
def _times(a: np.ndarray, b: np.ndarray, out: np.ndarray) -> None:
    """Write the product of rotations into out [3, 3], which is neither of them."""
    for i in range(3):
        for k in range(3):
            out[i, k] = a[i, 0] * b[0, k] + a[i, 1] * b[1, k] + a[i, 2] * b[2, k]


@njit(cache=True)
def _about(axis: np.ndarray, angle: float, out: np.ndarray) -> None:
    """Write the rotation about a unit axis into out [3, 3] (Rodrigues)."""
    c, s = math.cos(angle), math.sin(angle)
    x, y, z = axis[0], axis[1], axis[2]
    for i in range(3):
        for k in range(3):
            out[i, k] = (1 - c) * axis[i] * axis[k] + (c if i == k else 0.0)
    out[0, 1], out[0, 2], out[1, 2] = out[0, 1] - z * s, out[0, 2] + y * s, out[1, 2] - x * s
    out[1, 0], out[2, 0], out[2, 1] = out[1, 0] + z * s, out[2, 0] - y * s, out[2, 1] + x * s


@njit(cache=True)
def _clearances(
    positions: np.ndarray, chain: tuple, shape: tuple, pairs: np.ndarray
) -> tuple[float, float, float]:
    """Give the least distance of pairs of capsules, of capsules from floors, and in the box."""
    bodies, ends, radii, over_floor, floors, low, high = shape
    origin, rotation, hands = _frames(positions, chain)
    world = np.empty((bodies.shape[0], 2, 3))
    for c in range(bodies.shape[0]):
        for e in range(2):
            _put(origin[bodies[c]], rotation[bodies[c]], ends[c, e], 1.0, world[c, e])
    apart = height = depth = FAR_M
    for p in range(pairs.shape[0]):
        i, k = pairs[p, 0], pairs[p, 1]
        between = _segments(world[i, 0], world[i, 1], world[k, 0], world[k, 1])
        apart = min(apart, between - radii[i] - radii[k])
    for f in range(floors.shape[0]):
        for c in range(bodies.shape[0]):
            if over_floor[c]:
                for e in range(2):
                    above = -floors[f, 3] - radii[c]
                    for i in range(3):
                        above += floors[f, i] * world[c, e, i]
                    height = min(height, above)
    for h in range(hands.shape[0]):
        for i in range(3):
            depth = min(depth, hands[h, i] - low[i], high[i] - hands[h, i])
    return apart, height, depth


@njit(cache=True)
def _along(
    path: np.ndarray,
    reach: np.ndarray,
    levels: tuple[float, float],
    chain: tuple,
    shape: tuple,
    pairs: np.ndarray,
) -> tuple[float, float]:
    """Give what ``Geometry.along`` does; where a level fails, what fails it."""
    least, least_depth = FAR_M, FAR_M
    spare = -1.0
    apart = depth = 0.0
    used = 0.0
    for k in range(path.shape[0]):
        if k > 0:
            for j in range(path.shape[1]):
                used += abs(path[k, j] - path[k - 1, j]) * reach[j]
        if used > spare:
            bodies, heights, depth = _clearances(path[k], chain, shape, pairs)
            apart, used = min(bodies, heights), 0.0
            spare = min(apart - levels[0], depth - levels[1])
        least, least_depth = min(least, apart - used), min(least_depth, depth - used)
        if spare < 0.0:
            return least, least_depth
    return least, least_depth


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
