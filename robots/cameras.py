"""Cameras of a robot, by OpenCV: a thread keeps the newest image, so that nobody waits for one."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import pydantic

from robolearn.settings import Settings
from robots.base import Clock, RobotError

FIRST_IMAGE_S = 5.0  # how long a camera may take to start


@dataclass(frozen=True)
class CameraConfig(Settings):
    """Which camera, and what it gives."""

    source: int | str = 0
    """Its number, a device such as /dev/video2, or an address that OpenCV opens."""
    size: tuple[pydantic.PositiveInt, pydantic.PositiveInt] = (480, 640)
    """Height and width, pixels."""
    fps: pydantic.PositiveFloat = 30.0
    """Images per second that it is asked for."""


class OpenCvCamera:
    """A ``robots.base.Camera``.

    The time of an image is that at which it differed from the one before: a camera whose driver
    repeats the same image for ever is frozen, and real images never are the same twice.
    """

    def __init__(
        self,
        name: str,
        config: CameraConfig,
        clock: Clock = time.monotonic,
        capture: Callable[[Any], Any] = cv2.VideoCapture,
    ) -> None:
        self.name, self.config, self._clock, self._capture = name, config, clock, capture
        self.shape = (*config.size, 3)
        self._lock = threading.Lock()
        self._first = threading.Event()
        self._closing = threading.Event()
        self._image = np.zeros(self.shape, np.uint8)
        self._changed_s = 0.0
        self._thread: threading.Thread | None = None

    def open(self) -> None:
        """See ``Camera``."""
        device = self._capture(self.config.source)
        if not device.isOpened():
            device.release()
            raise RobotError(
                f"camera '{self.name}': cannot open {self.config.source!r}; "
                "`robolearn robots find` lists what there is"
            )
        height, width = self.config.size
        device.set(cv2.CAP_PROP_FRAME_WIDTH, width)
        device.set(cv2.CAP_PROP_FRAME_HEIGHT, height)
        device.set(cv2.CAP_PROP_FPS, self.config.fps)
        self._first.clear()
        self._closing.clear()
        self._thread = threading.Thread(target=self._run, args=(device,), daemon=True)
        self._thread.start()
        if not self._first.wait(FIRST_IMAGE_S):
            self.close()
            raise RobotError(f"camera '{self.name}': no image in {FIRST_IMAGE_S:g} s")

    def latest(self) -> tuple[np.ndarray, float]:
        """See ``Camera``."""
        with self._lock:
            return self._image, self._changed_s

    def close(self) -> None:
        """See ``Camera``."""
        self._closing.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def _run(self, device: Any) -> None:
        """Keep the newest image until it is closed; one that does not come leaves the old time."""
        try:
            while not self._closing.is_set():
                there, image = device.read()
                if not there:
                    self._closing.wait(1 / self.config.fps)
                    continue
                height, width = self.config.size
                if image.shape[:2] != (height, width):
                    image = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
                image = cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
                with self._lock:
                    if not self._first.is_set() or not np.array_equal(image, self._image):
                        self._image, self._changed_s = image, self._clock()
                self._first.set()
        finally:
            device.release()
