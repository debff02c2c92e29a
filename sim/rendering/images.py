"""What an environment with a MuJoCo model draws: images that are observed, and one for people."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import mujoco
import numpy as np

from robolearn.errors import UserError
from robolearn.types import ArraySpec, Observation
from sim.base.options import choose
from sim.distractors.backdrop import Backdrop
from sim.distractors.options import DistractorOptions, parse_distractors
from sim.distractors.scenery import scenery
from sim.rendering.cameras import FREE, Cameras, camera_names, require_size

RENDER_SIZE = (480, 640)  # of images for people


@dataclass(frozen=True)
class CameraOptions:
    """Options that all adapters share: which images are observed, and what ``render`` shows."""

    cameras: tuple[str, ...] = ()
    """Names of cameras that become observations; "free" looks at the whole model, and
    "NAME_segmentation" says what camera NAME shows in each pixel (see ``Cameras``)."""
    image_size: tuple[int, int] = (84, 84)
    """Height and width of the images that are observed, pixels."""
    fast_render: bool = True
    """Leave out shadows, reflections, multisampling and sky in images that are observed."""
    distractors: DistractorOptions | Mapping[str, Any] | None = None
    """What moves behind the robot in colour images that are observed, in place of planes, walls and
    sky: ``{video: PATH, window: 64}`` and more, see ``sim.distractors.options``; None: nothing."""
    render_mode: str | None = None
    """"rgb_array" for an environment whose ``render()`` draws an image for people, with all of
    these; nothing of it is observed."""
    render_camera: str | None = None
    """Camera of ``render()``; None for the model's first, or "free" if it has none."""
    render_size: tuple[int, int] | None = None
    """Height and width of what ``render()`` draws, pixels; None for 480 x 640."""


class Images:
    """What an environment with a model draws: images that are observed, and one for people.

    ``keep`` and ``drop`` say what is scenery beside what ``options`` say of it, in the same way.
    ``backdrop`` is what moves behind the robot, if anything does: who owns the images begins and
    advances it. Raises UserError for what ``options`` ask for and the model does not have, and as
    ``Cameras``.
    """

    def __init__(
        self,
        model: mujoco.MjModel,
        data: mujoco.MjData,
        options: CameraOptions,
        where: str,
        hidden_groups: Iterable[int] = (),
        keep: tuple[str, ...] = (),
        drop: tuple[str, ...] = (),
    ) -> None:
        self.backdrop, behind = None, None
        if options.distractors is not None:
            if not options.cameras:
                raise UserError(
                    f"{where}: distractors are behind the robot in images; name cameras"
                )
            require_size(where, image_size=options.image_size)
            asked = parse_distractors(options.distractors, where)
            self.backdrop = Backdrop(asked, options.image_size, where)
            at = f"{where}: distractors"
            behind = scenery(model, (*keep, *asked.keep), (*drop, *asked.drop), at)
        self._observed = Cameras(
            model, data, options.cameras, options.image_size, where, options.fast_render,
            hidden_groups, behind,
        )  # fmt: skip
        self._camera = _for_people(model, options.render_camera, where)
        size = RENDER_SIZE if options.render_size is None else options.render_size
        require_size(where, render_size=size)
        names = (self._camera,) if options.render_mode else ()
        self._shown = Cameras(model, data, names, size, where, False, hidden_groups)

    @property
    def specs(self) -> dict[str, ArraySpec]:
        """What the images are that are observed, by name."""
        return self._observed.specs

    def observe(self) -> Observation:
        """Draw the images that are observed, by name."""
        layers = self._observed.layers()
        if self.backdrop is not None:
            for image, free in layers.values():
                if free is not None:
                    self.backdrop.put_behind(image, free)
        return {name: image for name, (image, _) in layers.items()}

    def show(self) -> np.ndarray:
        """Draw the image for people, uint8 [H, W, 3]."""
        return self._shown.render()[self._camera]

    def close(self) -> None:
        """Free the GL contexts that nobody else draws with; calling it again does nothing."""
        self._observed.close()
        self._shown.close()


def _for_people(model: mujoco.MjModel, name: str | None, where: str) -> str:
    """Give the camera of that name, or the one that people look through if they name none."""
    known = [*camera_names(model), FREE]
    return known[0] if name is None else choose(name, known, where, "render_camera")
