"""Which library draws without a screen: EGL or OSMesa, chosen at the first image.

Nothing here imports mujoco, which reads MUJOCO_GL when it is imported and ends in a traceback where
that is wrong: ``check_variables`` comes before.
"""

import contextlib
import ctypes
import importlib
import os
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from robolearn.errors import UserError, nearest
from sim.rendering.load_order import load_triton_before_gl

BACKENDS = ("egl", "osmesa")  # names of mujoco's modules, in order of preference
WINDOWS = ("glfw", "glx", "enable", "enabled", "on", "true", "1", "")  # mujoco's words for glfw
DISABLED = ("disable", "disabled", "off", "false", "0")
LIBRARIES = {"egl": ("libEGL.so.1",), "osmesa": ("libOSMesa.so.8", "libOSMesa.so")}
DEVICE = "MUJOCO_EGL_DEVICE_ID"
INSTALL = "apt-get install libegl1 libgl1-mesa-dri libosmesa6"
POINTER, NUMBER = ctypes.c_void_p, ctypes.c_int
MOST_DEVICES = 64
EGL_PLATFORM_DEVICE = 0x313F  # EGL_PLATFORM_DEVICE_EXT of the EGL registry


def check_variables() -> None:
    """Raise UserError for variables that name a GL library or a device that is not to be had here.

    MUJOCO_GL, PYOPENGL_PLATFORM and MUJOCO_EGL_DEVICE_ID; call it before mujoco is imported, and
    after ``load_triton_before_gl``, since it loads what they name.
    """
    said, wanted = os.environ.get("MUJOCO_GL", ""), _wanted()
    if wanted not in (*BACKENDS, *WINDOWS, *DISABLED):
        known = nearest(wanted, (*BACKENDS, "glfw", "disable"))
        raise UserError(f"MUJOCO_GL={said!r}: unknown{known} (unset, what works is chosen)")
    if wanted in BACKENDS:
        _check_library(said, wanted)
    device = os.environ.get(DEVICE)
    if device is not None and wanted not in ("osmesa", *DISABLED):
        _check_device(device)


def gl_context(width: int, height: int) -> Any:
    """Make an off-screen GL context; raise UserError that says what to install if none works."""
    backend = backend_name()
    if backend is None:
        platform = os.environ.get("PYOPENGL_PLATFORM")
        or_else = f" (or unset PYOPENGL_PLATFORM={platform!r})" if platform else ""
        raise UserError(
            f"cameras: no GL library works (tried EGL and OSMesa); try: {INSTALL}{or_else}"
        )
    try:
        return importlib.import_module(f"mujoco.{backend}").GLContext(width, height)
    except Exception as error:  # of many kinds: PyOpenGL's, the drivers', mujoco's
        reason = " ".join(str(error).split())
        raise UserError(f"cameras: {backend} does not work here: {reason}") from error


def backend_name() -> str | None:
    """Choose the GL backend: what MUJOCO_GL says if it is one of ours, else EGL, else OSMesa."""
    load_triton_before_gl()  # to try a library is to load it
    wanted = _wanted()
    if wanted in BACKENDS:
        return wanted
    works = {"egl": _egl_works, "osmesa": _osmesa_works}
    return next((name for name in BACKENDS if works[name]()), None)


@contextlib.contextmanager
def gl_environment(hidden: Iterable[str] = ()) -> Iterator[None]:
    """Say in MUJOCO_GL which backend works while a package is imported; then put it back.

    dm_control tries a window first and robosuite insists on EGL unless MUJOCO_GL tells them
    otherwise, and robosuite leaves its own choice behind for every program that is started later.
    ``hidden`` names variables that the package must not see.
    """
    before = {name: os.environ.get(name) for name in ("MUJOCO_GL", *hidden)}
    for name in hidden:
        os.environ.pop(name, None)
    os.environ["MUJOCO_GL"] = _for_packages()
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _wanted() -> str:
    return os.environ.get("MUJOCO_GL", "").lower().strip()  # as mujoco reads it


def _for_packages() -> str:
    """Give a MUJOCO_GL that packages may see: they load that library when they are imported."""
    wanted = _wanted()
    if wanted and wanted not in BACKENDS:
        return "glfw" if wanted in WINDOWS else "disable"
    backend = backend_name()
    if backend == "egl" and not _egl_works():  # dm_control takes a device when it is imported
        return "disable"
    return backend or "disable"


def _check_library(said: str, wanted: str) -> None:
    """Raise UserError unless mujoco can load the library that MUJOCO_GL says."""
    if not _allowed(wanted):
        other = os.environ["PYOPENGL_PLATFORM"]
        raise UserError(
            f"MUJOCO_GL={said!r}: PYOPENGL_PLATFORM={other!r} says otherwise; unset one"
        )
    if not _loads(wanted):
        library = LIBRARIES[wanted][0]
        raise UserError(
            f"MUJOCO_GL={said!r}: {library} is not there; try: {INSTALL} (or unset it: what works "
            "is chosen)"
        )


def _check_device(said: str) -> None:
    """Raise UserError unless EGL has the device of that number; without EGL it does not matter."""
    count = len(_egl_devices())
    if count and not (said.strip().isdecimal() and int(said) < count):
        one = "EGL has 1 device here; 0 would be right"
        many = f"EGL has {count} devices here; 0 to {count - 1} would be right"
        raise UserError(f"{DEVICE}={said!r}: {one if count == 1 else many}")


def _allowed(backend: str) -> bool:
    """Say whether PyOpenGL, by which mujoco calls GL, may be bound to this library."""
    return os.environ.get("PYOPENGL_PLATFORM", "").lower() in ("", backend)


def _loads(backend: str) -> bool:
    for library in LIBRARIES[backend]:
        with contextlib.suppress(OSError):
            ctypes.CDLL(library)
            return True
    return False


def _egl_works() -> bool:
    """Initialise a display on any EGL device."""
    devices = _egl_devices()
    display = _egl_function("eglGetPlatformDisplayEXT", POINTER, NUMBER, POINTER, POINTER)
    initialize = _egl_function("eglInitialize", NUMBER, POINTER, POINTER, POINTER)
    if not devices or not display or not initialize:
        return False
    displays = (display(EGL_PLATFORM_DEVICE, device, None) for device in devices)
    return _allowed("egl") and any(found and initialize(found, None, None) for found in displays)


def _egl_devices() -> list[int]:
    """List the handles of EGL's devices; none where there is no EGL."""
    query = _egl_function("eglQueryDevicesEXT", NUMBER, NUMBER, POINTER, POINTER)
    devices, count = (POINTER * MOST_DEVICES)(), NUMBER()
    if not query or not query(MOST_DEVICES, devices, ctypes.byref(count)):
        return []
    return devices[: count.value]


def _egl_function(name: str, result: Any, *arguments: Any) -> Callable[..., Any] | None:
    """Give one of EGL's C functions, None where there is no EGL.

    Importing PyOpenGL to try would bind the process to EGL even if it does not work.
    """
    try:
        egl = ctypes.CDLL(LIBRARIES["egl"][0])
    except OSError:
        return None
    egl.eglGetProcAddress.restype = POINTER
    address = egl.eglGetProcAddress(name.encode())
    return ctypes.CFUNCTYPE(result, *arguments)(address) if address else None


def _osmesa_works() -> bool:
    return _allowed("osmesa") and _loads("osmesa")
