"""Pictures for views, drawn by a process of their own from the states that a session shows.

The control loop draws nothing that is not recorded: it gives its state away, and an environment in
another process is put into it and looked at. Of the states that wait there is only the newest.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

import cv2
import numpy as np

from robolearn.errors import UserError
from robolearn.names import load

Image = np.ndarray | bytes
NICENESS = 10  # the control loop goes first
JPEG = 80  # quality
START_S = 120.0  # until the environment is there
OF_PICTURES = ("cameras", "image_size", "fast_render", "render_mode")  # options of environments


@dataclass(frozen=True)
class Pictures:
    """What was drawn of one state: by camera, uint8 [H, W, 3], or JPEG if that was asked for."""

    number: int  # of the state, counted by ``offer``
    images: Mapping[str, Image]
    beside: Image | None = None  # of another state, as the first camera has it
    frame: int = -1  # as ``offer`` was told


def without_pictures(options: Mapping[str, Any]) -> dict[str, Any]:
    """Give an environment's options but for those that say what is drawn."""
    return {name: value for name, value in options.items() if name not in OF_PICTURES}


class Pictured:
    """Draws states of an environment; from any thread."""

    def __init__(
        self,
        name: str,
        options: Mapping[str, Any],
        cameras: tuple[str, ...],
        size: tuple[int, int],
        jpeg: bool = False,
        maker: str = "sim:make",
    ) -> None:
        """Start the process and wait until it can draw.

        ``maker`` names what makes the environment, with the options ``cameras`` and
        ``image_size``. Raises UserError, as it does, for cameras that there are not and where no
        GL library works.
        """
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        settings = {**options, "cameras": cameras, "image_size": size}
        self._process = context.Process(
            target=_draw, args=(theirs, maker, name, settings, cameras, jpeg), daemon=True
        )
        self._process.start()
        theirs.close()
        self._await_start()
        self._news = threading.Condition()
        self._waiting: tuple[int, int, tuple[np.ndarray, np.ndarray | None]] | None = None
        self._count, self._closed, self.lost = 0, False, ""
        self._latest: Pictures | None = None
        self._thread = threading.Thread(target=self._work, name="pictures", daemon=True)
        self._thread.start()

    def offer(self, state: np.ndarray, beside: np.ndarray | None = None, frame: int = -1) -> int:
        """Have a state [S] drawn, unless a newer one comes first; gives its number.

        And another one, to be seen at the same time. The pictures have the ``frame``'s number.
        """
        with self._news:
            self._count += 1
            self._waiting = self._count, frame, (state, beside)
            self._news.notify_all()
            return self._count

    def latest(self) -> Pictures | None:
        """Give what was drawn last; None before there is anything."""
        return self._latest

    def after(self, number: int, timeout_s: float) -> Pictures | None:
        """Wait for pictures later than those with a number; None when time is up."""

        def is_there() -> bool:
            return bool(self.lost or (self._latest and self._latest.number > number))

        with self._news:
            self._news.wait_for(is_there, timeout_s)
            found = self._latest
        return found if found is not None and found.number > number else None

    def close(self) -> None:
        """End the process; calling it again does nothing."""
        with self._news:
            self._closed = True
            self._news.notify_all()
        self._process.terminate()
        self._process.join()
        self._thread.join()
        self._pipe.close()

    def _await_start(self) -> None:
        try:
            if not self._pipe.poll(START_S):
                raise UserError(f"pictures: nothing is drawn after {START_S:.0f} s")
            problem = self._pipe.recv()
        except EOFError:
            problem = "pictures: the process that draws them has ended"
        except UserError:
            self._process.terminate()
            raise
        if problem:
            self._process.join()
            raise UserError(problem)

    def _work(self) -> None:
        while True:
            with self._news:
                self._news.wait_for(lambda: self._waiting is not None or self._closed)
                if self._closed:
                    return
                number, frame, states = self._waiting
                self._waiting = None
            try:
                self._pipe.send(states)
                images, beside = self._pipe.recv()
            except (EOFError, OSError):
                with self._news:
                    self.lost = "" if self._closed else "the process that draws has ended"
                    self._news.notify_all()
                return
            with self._news:
                self._latest = Pictures(number, images, beside, frame)
                self._news.notify_all()


def _draw(
    pipe: Connection,
    maker: str,
    name: str,
    options: dict[str, Any],
    cameras: tuple[str, ...],
    jpeg: bool,
) -> None:
    """Make the environment, say that it is there, and draw what comes, until nothing comes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the session's
    os.nice(NICENESS)
    with contextlib.suppress(EOFError, ConnectionError):  # whoever looked has ended
        try:
            env = load(maker)(name, **options)
            env.reset(seed=0)
        except UserError as error:
            pipe.send(str(error))
            return
        pipe.send("")
        encoded = _jpeg if jpeg else lambda image: image
        while True:
            state, other = pipe.recv()
            beside = None if other is None else encoded(env.set_state(other)[cameras[0]])
            observation = env.set_state(state)
            pipe.send(({camera: encoded(observation[camera]) for camera in cameras}, beside))


def _jpeg(image: np.ndarray) -> bytes:
    bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    return cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, JPEG])[1].tobytes()
