"""libmujoco's C entry points for compiled code, and the arrays of one model and data pair.

A ctypes function pointer makes a numba function uncacheable; an external symbol that the linker
finds in an already loaded library does not. Hence ``load_libmujoco`` before the first call.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import llvmlite.binding
import mujoco
import numpy as np
from numba import njit, types
from numba.core.typing import signature

_ADDRESS = types.intp
mj_step1 = types.ExternalFunction("mj_step1", signature(types.void, _ADDRESS, _ADDRESS))
mj_step2 = types.ExternalFunction("mj_step2", signature(types.void, _ADDRESS, _ADDRESS))
_mj_full_mass = types.ExternalFunction(
    "mj_fullM", signature(types.void, _ADDRESS, _ADDRESS, _ADDRESS)
)
_mj_jac_site = types.ExternalFunction(
    "mj_jacSite", signature(types.void, _ADDRESS, _ADDRESS, _ADDRESS, _ADDRESS, types.int32)
)


def load_libmujoco() -> None:
    """Make libmujoco's symbols visible to compiled code; call it before any compiled step."""
    folder = Path(mujoco.__file__).parent
    pattern = ("libmujoco*.so*", "libmujoco*.dylib", "mujoco*.dll")
    libraries = [path for glob in pattern for path in sorted(folder.glob(glob))]
    if not libraries:
        raise FileNotFoundError(f"no libmujoco in {folder}")
    llvmlite.binding.load_library_permanently(str(libraries[0]))


class Simulation(NamedTuple):
    """Addresses of one MjModel and MjData, and views of the arrays that controllers use.

    The views stay valid as long as the MjModel and MjData objects live; whoever holds a
    Simulation must hold those too.
    """

    model: int  # address of the mjModel
    data: int  # address of the mjData
    qpos: np.ndarray  # [nq]
    qvel: np.ndarray  # [nv]
    ctrl: np.ndarray  # [nu]
    bias: np.ndarray  # [nv] gravity, centrifugal and Coriolis forces
    inertia: np.ndarray  # [nM] packed joint-space inertia
    site_pos: np.ndarray  # [sites, 3]
    site_rotation: np.ndarray  # [sites, 9]


def simulation(model: mujoco.MjModel, data: mujoco.MjData) -> Simulation:
    """Take the addresses and views of a model and data pair."""
    return Simulation(
        model=model._address,
        data=data._address,
        qpos=data.qpos,
        qvel=data.qvel,
        ctrl=data.ctrl,
        bias=data.qfrc_bias,
        inertia=data.qM,
        site_pos=data.site_xpos,
        site_rotation=data.site_xmat,
    )


@njit(error_model="numpy")
def mass_matrix(sim: Simulation, full: np.ndarray) -> None:
    """Write the mass matrix [nv, nv] of the current position."""
    _mj_full_mass(sim.model, full.ctypes.data, sim.inertia.ctypes.data)


@njit(error_model="numpy")
def site_jacobian(sim: Simulation, site: int, jac_pos: np.ndarray, jac_rot: np.ndarray) -> None:
    """Write a site's Jacobians [3, nv] of position and rotation."""
    _mj_jac_site(sim.model, sim.data, jac_pos.ctypes.data, jac_rot.ctypes.data, np.int32(site))


@njit(nogil=True, cache=True)
def physics_steps(sim: Simulation, steps: int) -> None:
    """Advance the physics alone by so many time steps; ``ctrl`` stays as it is."""
    for _ in range(steps):
        mj_step1(sim.model, sim.data)
        mj_step2(sim.model, sim.data)
