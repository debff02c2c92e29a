"""Camera images of a MuJoCo model, without a screen.

One renderer serves every adapter that has a MuJoCo model. The GL backend is chosen at the first
image, not at import.
"""

import atexit
import contextlib
import ctypes
import functools
import importlib
import os
import weakref
from collections.abc import Iterable, Iterator
from typing import Any

import mujoco
import numpy as np

from robolearn.errors import UserError, nearest
from robolearn.types import ArraySpec
from sim.options import as_tuple

BACKENDS = ("egl", "osmesa")  # names of mujoco's modules, in order of preference
INSTALL = "apt-get install libegl1 libgl1-mesa-dri libosmesa6"
EGL_PLATFORM_DEVICE = 0x313F  # EGL_PLATFORM_DEVICE_EXT of the EGL registry
SLOW_EFFECTS = (
    mujoco.mjtRndFlag.mjRND_SHADOW,
    mujoco.mjtRndFlag.mjRND_REFLECTION,
    mujoco.mjtRndFlag.mjRND_SKYBOX,
    mujoco.mjtRndFlag.mjRND_HAZE,
)


class Cameras:
    """Renders the named cameras of a model as uint8 [H, W, 3].

    ``fast`` leaves out shadows, reflections, haze, multisampling and the sky. Geoms in
    ``hidden_groups`` are not drawn. The GL context is made at the first image. Raises UserError for
    an unknown camera, and, at the first image, where no GL library works.
    """

    def __init__(
        self,
        model: mujoco.MjModel,
        data: mujoco.MjData,
        names: str | tuple[str, ...],
        image_size: tuple[int, int],
        where: str,
        fast: bool = True,
        hidden_groups: Iterable[int] = (),
    ) -> None:
        if len(image_size) != 2 or not all(isinstance(n, int) and n > 0 for n in image_size):
            raise UserError(f"{where}: image_size={image_size!r} must be (height, width) in pixels")
        self.names = as_tuple(names)
        self.image_size = tuple(image_size)
        self._model, self._data, self._fast = model, data, fast
        self._cameras = [_camera(model, name, where) for name in self.names]
        self._options = mujoco.MjvOption()
        for group in hidden_groups:
            self._options.geomgroup[group] = 0
        self._gl: Any = None
        self._scene: Any = None
        self._ground = model.hfield_data.copy()
        self._context: Any = None

    @property
    def specs(self) -> dict[str, ArraySpec]:
        """What the images are: name -> uint8 [H, W, 3]."""
        return {name: ArraySpec((*self.image_size, 3), "uint8") for name in self.names}

    def render(self) -> dict[str, np.ndarray]:
        """Render every camera in the current state: name -> uint8 [H, W, 3]."""
        if not self.names:
            return {}
        if self._gl is None:
            self._open()
        self._gl.make_current()
        self._upload_ground()
        return {n: self._image(c) for n, c in zip(self.names, self._cameras, strict=True)}

    def close(self) -> None:
        """Free the GL context; calling it again does nothing."""
        if self._gl is not None:
            self._gl.make_current()
            self._context.free()
            self._gl.free()
            self._gl = None
            atexit.unregister(self._at_exit)

    def _image(self, camera: mujoco.MjvCamera) -> np.ndarray:
        height, width = self.image_size
        viewport = mujoco.MjrRect(0, 0, width, height)
        mujoco.mjv_updateScene(
            self._model, self._data, self._options, None, camera,
            mujoco.mjtCatBit.mjCAT_ALL, self._scene,
        )  # fmt: skip
        mujoco.mjr_render(viewport, self._scene, self._context)
        image = np.empty((height, width, 3), np.uint8)
        mujoco.mjr_readPixels(image, None, viewport, self._context)
        return np.ascontiguousarray(image[::-1])  # GL's first row is at the bottom

    def _upload_ground(self) -> None:
        """Hand the height fields to GL again if a reset has shaped them anew."""
        if not np.array_equal(self._ground, self._model.hfield_data):
            self._ground = self._model.hfield_data.copy()
            for field in range(self._model.nhfield):
                mujoco.mjr_uploadHField(self._model, self._context, field)

    def _open(self) -> None:
        height, width = self.image_size
        self._ground = self._model.hfield_data.copy()
        self._gl = gl_context(width, height)
        self._gl.make_current()
        # EGL is shut down when Python exits; contexts that are still open must be freed before.
        self._at_exit = functools.partial(_close, weakref.ref(self))
        atexit.register(self._at_exit)
        with _frame_buffer(self._model, width, height, multisampling=not self._fast):
            self._context = mujoco.MjrContext(self._model, mujoco.mjtFontScale.mjFONTSCALE_100)
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN, self._context)
        self._scene = mujoco.MjvScene(self._model, maxgeom=max(1000, 2 * self._model.ngeom))
        if self._fast:
            for effect in SLOW_EFFECTS:
                self._scene.flags[effect] = 0


def _close(cameras: weakref.ref[Cameras]) -> None:
    alive = cameras()
    if alive is not None:
        alive.close()


def gl_context(width: int, height: int) -> Any:
    """Make an off-screen GL context; raise UserError that says what to install if none works."""
    backend = backend_name()
    if backend is None:
        raise UserError(f"cameras: no GL library works (tried EGL and OSMesa); try: {INSTALL}")
    return importlib.import_module(f"mujoco.{backend}").GLContext(width, height)


def backend_name() -> str | None:
    """Choose the GL backend: what MUJOCO_GL says if it is one of ours, else EGL, else OSMesa."""
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


def _camera(model: mujoco.MjModel, name: str, where: str) -> mujoco.MjvCamera:
    camera = mujoco.MjvCamera()
    if name == "free":
        mujoco.mjv_defaultFreeCamera(model, camera)
        return camera
    known = ["free", *(model.camera(i).name for i in range(model.ncam))]
    if name not in known:
        raise UserError(f"{where}: unknown camera '{name}'{nearest(name, known)}")
    camera.type = mujoco.mjtCamera.mjCAMERA_FIXED
    camera.fixedcamid = model.camera(name).id
    return camera


@contextlib.contextmanager
def _frame_buffer(
    model: mujoco.MjModel, width: int, height: int, multisampling: bool
) -> Iterator[None]:
    """Set what a render context copies from the model when it is made; put it back."""
    quality, screen = model.vis.quality, model.vis.global_
    before = quality.offsamples, screen.offwidth, screen.offheight
    screen.offwidth, screen.offheight = width, height
    if not multisampling:
        quality.offsamples = 0
    try:
        yield
    finally:
        quality.offsamples, screen.offwidth, screen.offheight = before


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
