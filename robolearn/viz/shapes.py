"""What there is to draw of a MuJoCo model: which geoms, in which colour, with which surface.

Plain arrays of an ``mujoco.MjModel``; mujoco itself is not imported.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

GEOM_TYPES = (
    "plane", "hfield", "sphere", "capsule", "ellipsoid", "cylinder", "box", "mesh", "sdf",
)  # fmt: skip  # in the order of mjtGeom
SHOWN_GROUPS = 3  # MuJoCo's viewer shows groups 0, 1, 2
DEFAULT_RGBA = (0.5, 0.5, 0.5, 1.0)  # a geom of this colour takes its material's
EYE_DIRECTION = (1.2, -1.2, 0.7)
MIN_REACH_M = 0.3
OUT_OF_THE_WAY = 4.0  # times the median distance from the middle
RGB_ROLES = (1, 7)  # mjTEXROLE_RGB, mjTEXROLE_RGBA


class Surface(NamedTuple):
    """Triangles in a geom's frame."""

    vertices: np.ndarray  # [V, 3], m
    triangles: np.ndarray  # [F, 3]
    normals: np.ndarray  # [V, 3]


def drawn_geoms(model: Any) -> np.ndarray:
    """Give the ids of the geoms that a person wants to see.

    The visible ones of groups 0 to 2, as in MuJoCo's viewer; without group 0 where bodies have
    colliding geoms there and others, of group 1, to be looked at (robosuite's convention).
    """
    collides = (model.geom_contype | model.geom_conaffinity) != 0
    looks = model.geom_bodyid[(model.geom_group == 1) & ~collides]
    hulls = model.geom_bodyid[(model.geom_group == 0) & collides]
    shown = model.geom_group < SHOWN_GROUPS
    if np.intersect1d(looks, hulls).size:
        shown &= model.geom_group != 0
    opaque = [colour(model, geom)[3] > 0 for geom in range(model.ngeom)]
    return np.flatnonzero(shown & np.array(opaque, bool))


def moving_bodies(model: Any, bodies: np.ndarray) -> np.ndarray:
    """Give those of ``bodies`` that can move: by a joint on the way to the world, or as mocap."""
    mocap = model.body_mocapid[model.body_rootid[bodies]] >= 0
    return bodies[(model.body_weldid[bodies] != 0) | mocap]


def colour(model: Any, geom: int) -> np.ndarray:
    """Give a geom's colour [4] in [0, 1]: its own or its material's, times the texture's mean."""
    rgba = model.geom_rgba[geom]
    material = model.geom_matid[geom]
    if material < 0:
        return rgba
    if np.allclose(rgba, DEFAULT_RGBA):
        rgba = model.mat_rgba[material]
    textures = model.mat_texid[material, list(RGB_ROLES)]
    tints = [_mean_texel(model, texture) for texture in textures if texture >= 0]
    return np.prod([rgba, *tints], axis=0)


def _mean_texel(model: Any, texture: int) -> np.ndarray:
    """A texture's mean colour [4]: enough to tell wood from steel, at no cost in size."""
    channels = int(model.tex_nchannel[texture])
    start = int(model.tex_adr[texture])
    size = int(model.tex_height[texture]) * int(model.tex_width[texture]) * channels
    mean = model.tex_data[start : start + size].reshape(-1, channels).mean(axis=0) / 255
    return np.append(np.broadcast_to(mean[:3], 3), 1.0)


def mesh_surface(model: Any, geom: int) -> Surface:
    """Give the surface of a geom that is a mesh: each point once, with the mean of its normals.

    MuJoCo repeats a point for every normal; a robot's recording would be four times as large.
    """
    mesh = int(model.geom_dataid[geom])

    def part(array: np.ndarray, address: np.ndarray, count: np.ndarray) -> np.ndarray:
        return array[address[mesh] : address[mesh] + count[mesh]]

    repeated = part(model.mesh_vert, model.mesh_vertadr, model.mesh_vertnum)
    vertices, point = np.unique(repeated, axis=0, return_inverse=True)
    corners = part(model.mesh_face, model.mesh_faceadr, model.mesh_facenum)
    triangles = point.reshape(-1)[corners]
    a, b, c = vertices[triangles].transpose(1, 0, 2)
    normals = np.zeros_like(vertices)
    np.add.at(normals, triangles, np.cross(b - a, c - a)[:, None])  # large triangles count more
    return Surface(vertices, triangles, _unit(normals))


def hfield_surface(model: Any, geom: int) -> Surface:
    """Give the surface of a geom that is a height field."""
    field = int(model.geom_dataid[geom])
    rows, columns = int(model.hfield_nrow[field]), int(model.hfield_ncol[field])
    radius_x, radius_y, height, _ = model.hfield_size[field]
    start = int(model.hfield_adr[field])
    z = model.hfield_data[start : start + rows * columns].reshape(rows, columns) * height
    x, y = np.linspace(-radius_x, radius_x, columns), np.linspace(-radius_y, radius_y, rows)
    vertices = np.stack([*np.meshgrid(x, y), z], axis=-1)  # [rows, columns, 3]
    index = np.arange(rows * columns).reshape(rows, columns)
    a, b, c, d = (
        part.ravel() for part in (index[:-1, :-1], index[:-1, 1:], index[1:, 1:], index[1:, :-1])
    )
    triangles = np.concatenate([np.stack([a, b, c], axis=1), np.stack([a, c, d], axis=1)])
    slope_y, slope_x = np.gradient(z, y, x)
    normals = np.stack([-slope_x, -slope_y, np.ones_like(z)], axis=-1)
    return Surface(vertices.reshape(-1, 3), triangles, _unit(normals.reshape(-1, 3)))


def _unit(vectors: np.ndarray) -> np.ndarray:
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.where(length > 0, vectors / np.where(length > 0, length, 1), (0, 0, 1))


def eye(model: Any, data: Any) -> tuple[np.ndarray, np.ndarray]:
    """Choose where to look from and at, [3] and [3] in metres, so that what moves fills the view.

    From in front and above, on the side of negative y: a walker goes across the view, an arm that
    reaches along x comes towards it. Objects that a task has put out of the way do not count.
    """
    jointed = data.xpos[model.body_weldid != 0]  # [bodies, 3]
    if len(jointed):
        distance = np.linalg.norm(jointed - np.median(jointed, axis=0), axis=1)
        near = jointed[distance <= OUT_OF_THE_WAY * np.median(distance) + MIN_REACH_M]
        low, high = near.min(axis=0), near.max(axis=0)
        target, reach = (low + high) / 2, max(float(np.linalg.norm(high - low)), MIN_REACH_M)
    else:
        target, reach = model.stat.center, float(model.stat.extent)
    return target + reach * np.array(EYE_DIRECTION), target
