"""Camera images of a MuJoCo model, without a screen.

One renderer serves every adapter that has a MuJoCo model. The GL backend is chosen at the first
image, not at import.
"""

import atexit
import contextlib
import hashlib
import os
import threading
import weakref
from collections.abc import Iterable, Iterator
from numbers import Integral
from typing import Any, NamedTuple

import mujoco
import numpy as np

from robolearn.errors import UserError, nearest
from robolearn.types import ArraySpec
from sim.base.options import as_tuple, require_names
from sim.rendering.gl import gl_context

SLOW_EFFECTS = (
    mujoco.mjtRndFlag.mjRND_SHADOW,
    mujoco.mjtRndFlag.mjRND_REFLECTION,
    mujoco.mjtRndFlag.mjRND_SKYBOX,
    mujoco.mjtRndFlag.mjRND_HAZE,
)
FREE = "free"  # the camera that looks at the whole model
GEOM = mujoco.mjtObj.mjOBJ_GEOM.value
SEGMENTATION = "_segmentation"
SEGMENTATION_FLAGS = (mujoco.mjtRndFlag.mjRND_SEGMENT, mujoco.mjtRndFlag.mjRND_IDCOLOR)


class View(NamedTuple):
    """One kind of image of one camera."""

    name: str  # of the observation
    camera: mujoco.MjvCamera
    segmentation: bool


class Cameras:
    """Renders the named cameras of a model: name -> uint8 [H, W, 3].

    The name ``CAMERA_segmentation`` gives int32 [H, W, 2] instead: what each pixel shows, by
    MuJoCo's id and type (mjtObj) of the object, (-1, -1) for the background, as in
    ``mujoco.Renderer``. ``fast`` leaves out shadows, reflections, haze, multisampling and the sky.
    Geoms in ``hidden_groups`` are not drawn. ``scenery``, bool [geoms], says which ones count as
    nothing in the masks of ``layers``. Every thread has a GL context of its own, made at its
    first image and shared by all that draw an equal model there. Raises UserError for an unknown
    camera, and, at the first image, where no GL library works.
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
        scenery: np.ndarray | None = None,
    ) -> None:
        require_names(where, cameras=names)
        require_size(where, image_size=image_size)
        self.names = as_tuple(names)
        self.image_size = tuple(int(n) for n in image_size)
        self._model, self._data, self._fast = model, data, fast
        self._views = [_view(model, name, where) for name in self.names]
        self._options = mujoco.MjvOption()
        for group in hidden_groups:
            self._options.geomgroup[group] = 0
        self._scenery = scenery
        self._digest = _digest(model) if self.names else b""
        self._held = threading.local()  # the canvas of each thread that draws

    @property
    def specs(self) -> dict[str, ArraySpec]:
        """What the images are, by name."""
        colours = ArraySpec((*self.image_size, 3), "uint8")
        objects = ArraySpec((*self.image_size, 2), "int32")
        return {view.name: objects if view.segmentation else colours for view in self._views}

    def render(self) -> dict[str, np.ndarray]:
        """Render every camera in the current state, by name."""
        return {name: image for name, (image, _) in self.layers().items()}

    def layers(self) -> dict[str, tuple[np.ndarray, np.ndarray | None]]:
        """Render every camera, and say where its image shows nothing but scenery, bool [H, W].

        None where nobody said what that is, and for segmentations.
        """
        if not self.names:
            return {}
        canvas = getattr(self._held, "canvas", None)
        if canvas is None:
            canvas = _shared_canvas(self._model, self._digest, self.image_size, self._fast)
            self._held.canvas = canvas
        canvas.take_up(self._model)
        return {
            view.name: canvas.draw(self._model, self._data, self._options, view, self._scenery)
            for view in self._views
        }

    def close(self) -> None:
        """Free the GL contexts that nobody else draws with; calling it again does nothing."""
        self._held = threading.local()


class Canvas:
    """A GL context that holds the meshes, textures and height fields of one model.

    It draws any model that equals that one but for what resets change. It is freed with its last
    user.
    """

    def __init__(self, model: mujoco.MjModel, image_size: tuple[int, int], fast: bool) -> None:
        self._height, self._width = image_size
        self._ground = model.hfield_data.copy()
        self._gl = gl_context(self._width, self._height)
        self._gl.make_current()
        try:
            with _frame_buffer(model, self._width, self._height, multisampling=not fast):
                self._context = mujoco.MjrContext(model, mujoco.mjtFontScale.mjFONTSCALE_100)
        except mujoco.FatalError as error:
            size = f"{self._height} x {self._width}"
            raise UserError(f"cameras: {size} pixels cannot be drawn here: {error}") from error
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN, self._context)
        self._scene = mujoco.MjvScene(model, maxgeom=max(1000, 2 * model.ngeom))
        if fast:
            for effect in SLOW_EFFECTS:
                self._scene.flags[effect] = 0
        # EGL is shut down when Python exits; contexts that are still open must be freed before.
        free = weakref.finalize(self, _free, self._gl, self._context)
        free.atexit = False
        atexit.register(free)

    def take_up(self, model: mujoco.MjModel) -> None:
        """Prepare to draw a model; its ground goes to GL again if a reset has shaped it anew."""
        self._gl.make_current()
        if not np.array_equal(self._ground, model.hfield_data):
            self._ground = model.hfield_data.copy()
            for field in range(model.nhfield):
                mujoco.mjr_uploadHField(model, self._context, field)

    def draw(
        self,
        model: mujoco.MjModel,
        data: mujoco.MjData,
        options: mujoco.MjvOption,
        view: View,
        scenery: np.ndarray | None = None,
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """Give one image of a model that has been taken up: uint8 [H, W, 3] or int32 [H, W, 2].

        With ``scenery`` also where a colour image shows nothing else, bool [H, W], else None.
        """
        mujoco.mjv_updateScene(
            model, data, options, None, view.camera, mujoco.mjtCatBit.mjCAT_ALL, self._scene
        )
        if view.segmentation:
            return self._objects(self._pixels(segmentation=True)), None
        image = self._pixels(segmentation=False)
        return image, None if scenery is None else self._free(scenery)

    def _pixels(self, segmentation: bool) -> np.ndarray:
        """Give the colours of the scene as it is, uint8 [H, W, 3]."""
        for flag in SEGMENTATION_FLAGS:
            self._scene.flags[flag] = segmentation
        viewport = mujoco.MjrRect(0, 0, self._width, self._height)
        mujoco.mjr_render(viewport, self._scene, self._context)
        image = np.empty((self._height, self._width, 3), np.uint8)
        mujoco.mjr_readPixels(image, None, viewport, self._context)
        return np.ascontiguousarray(image[::-1])  # GL's first row is at the bottom

    def _free(self, scenery: np.ndarray) -> np.ndarray:
        """Say where there is nothing but scenery, bool [geoms], in the scene: bool [H, W]."""
        free = np.append(scenery, True)  # the last for what is none
        objects = self._objects(self._pixels(segmentation=True))
        number, kind = objects[..., 0], objects[..., 1]
        return free[np.where(kind == GEOM, number, -1)] & ((kind == GEOM) | (number < 0))

    def _objects(self, colours: np.ndarray) -> np.ndarray:
        """Turn colours that number the scene's parts, uint8 [H, W, 3], into ids and types."""
        numbers = colours.astype(np.int32) @ np.array([1, 2**8, 2**16], np.int32)  # [H, W]
        meaning = np.full((self._scene.ngeom + 1, 2), -1, np.int32)
        for geom in self._scene.geoms[: self._scene.ngeom]:
            if geom.segid >= 0:
                meaning[geom.segid + 1] = geom.objid, geom.objtype
        return meaning[numbers]


_CANVASES: weakref.WeakValueDictionary[tuple, Canvas] = weakref.WeakValueDictionary()


def _shared_canvas(
    model: mujoco.MjModel, digest: bytes, image_size: tuple[int, int], fast: bool
) -> Canvas:
    """Give the canvas of this thread for models with that digest; make it if there is none.

    GL contexts belong to one thread, and do not survive a fork.
    """
    key = (os.getpid(), threading.get_ident(), digest, image_size, fast)
    canvas = _CANVASES.get(key)
    if canvas is None:
        canvas = _CANVASES[key] = Canvas(model, image_size, fast)
    return canvas


def _free(gl: Any, context: mujoco.MjrContext) -> None:
    if _take(gl):
        context.free()
    gl.free()  # for GL to do as soon as no thread draws with it


def _take(gl: Any) -> bool:
    """Make a GL context this thread's; say whether it is, not one that another draws with."""
    try:
        gl.make_current()
    except Exception:  # of many kinds: PyOpenGL's, the drivers', mujoco's
        return False
    return True


def _digest(model: mujoco.MjModel) -> bytes:
    """Give what is the same for equal models only."""
    saved = np.empty(mujoco.mj_sizeModel(model), np.uint8)
    mujoco.mj_saveModel(model, None, saved)
    return hashlib.sha256(saved).digest()


def require_size(where: str, **values: Any) -> None:
    """Raise UserError for the first value that is no size of an image."""
    for name, value in values.items():
        pair = isinstance(value, list | tuple) and len(value) == 2
        if not pair or not all(isinstance(n, Integral) and n > 0 for n in value):
            raise UserError(f"{where}: {name}={value!r} must be (height, width) in pixels")


def camera_names(model: mujoco.MjModel) -> list[str]:
    """List the cameras that have a name, in the model's order."""
    return [name for name in (model.camera(i).name for i in range(model.ncam)) if name]


def _view(model: mujoco.MjModel, name: str, where: str) -> View:
    known = [FREE, *camera_names(model)]
    source = name if name in known else name.removesuffix(SEGMENTATION)
    if source not in known:
        raise UserError(f"{where}: unknown camera '{source}'{nearest(source, known)}")
    camera = mujoco.MjvCamera()
    if source == FREE:
        mujoco.mjv_defaultFreeCamera(model, camera)
    else:
        camera.type = mujoco.mjtCamera.mjCAMERA_FIXED
        camera.fixedcamid = model.camera(source).id
    return View(name, camera, segmentation=source != name)


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
