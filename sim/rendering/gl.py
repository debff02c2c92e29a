"""Which library draws without a screen: EGL or OSMesa, chosen at the first image."""

import contextlib
import ctypes
import importlib
import os
from collections.abc import Iterator
from typing import Any

from robolearn.errors import UserError
from sim.rendering.load_order import load_triton_before_gl

BACKENDS = ("egl", "osmesa")  # names of mujoco's modules, in order of preference
INSTALL = "apt-get install libegl1 libgl1-mesa-dri libosmesa6"
EGL_PLATFORM_DEVICE = 0x313F  # EGL_PLATFORM_DEVICE_EXT of the EGL registry


def gl_context(width: int, height: int) -> Any:
    """Make an off-screen GL context; raise UserError that says what to install if none works."""
    backend = backend_name()
    if backend is None:
        raise UserError(f"cameras: no GL library works (tried EGL and OSMesa); try: {INSTALL}")
    return importlib.import_module(f"mujoco.{backend}").GLContext(width, height)


def backend_name() -> str | None:
    """Choose the GL backend: what MUJOCO_GL says if it is one of ours, else EGL, else OSMesa."""
    load_triton_before_gl()  # to try a library is to load it
    wanted = os.environ.get("MUJOCO_GL", "").lower()
    if wanted in BACKENDS:
        return wanted
    works = {"egl": _egl_works, "osmesa": _osmesa_works}
    return next((name for name in BACKENDS if works[name]()), None)


@contextlib.contextmanager
def gl_environment() -> Iterator[None]:
    """Say in MUJOCO_GL which backend works while a package is imported; then put it back.

    dm_control tries a window first and robosuite insists on EGL unless MUJOCO_GL tells them
    otherwise, and robosuite leaves its own choice behind for every program that is started later.
    """
    before = os.environ.get("MUJOCO_GL")
    os.environ["MUJOCO_GL"] = before or backend_name() or "disable"
    try:
        yield
    finally:
        if before is None:
            os.environ.pop("MUJOCO_GL", None)
        else:
            os.environ["MUJOCO_GL"] = before


def _egl_works() -> bool:
    """Initialise a display on any EGL device, by EGL's C functions.

    Importing PyOpenGL to try would bind the process to EGL even if it does not work.
    """
    try:
        egl = ctypes.CDLL("libEGL.so.1")
    except OSError:
        return False
    egl.eglGetProcAddress.restype = ctypes.c_void_p
    query = egl.eglGetProcAddress(b"eglQueryDevicesEXT")
    display = egl.eglGetProcAddress(b"eglGetPlatformDisplayEXT")
    if not query or not display:
        return False
    pointer, number = ctypes.c_void_p, ctypes.c_int
    query = ctypes.CFUNCTYPE(number, number, pointer, pointer)(query)
    display = ctypes.CFUNCTYPE(pointer, number, pointer, pointer)(display)
    devices, count = (pointer * 16)(), number()
    if not query(16, devices, ctypes.byref(count)):
        return False
    egl.eglInitialize.argtypes = (pointer, pointer, pointer)
    displays = (display(EGL_PLATFORM_DEVICE, device, None) for device in devices[: count.value])
    return any(found and egl.eglInitialize(found, None, None) for found in displays)


def _osmesa_works() -> bool:
    for library in ("libOSMesa.so.8", "libOSMesa.so"):
        with contextlib.suppress(OSError):
            ctypes.CDLL(library)
            return True
    return False
