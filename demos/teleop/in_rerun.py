"""A session in Rerun: robot, cameras, actions, what the judge says, and what is decided.

A thread with a mailbox, and an environment of its own that it puts into the states it is shown. The
control loop gives frames away and waits for none of this: what is not taken in time is left out.
"""

from __future__ import annotations

import math
import re
import threading
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from demos.page.feed import Feed
from demos.session.contracts import Decision, Frame, Live, State, Status
from demos.session.session import Session
from robolearn.types import Environment, Observation, Step
from robolearn.viz.entries import StepScores
from robolearn.viz.episodes import introduce

if TYPE_CHECKING:  # Rerun takes a second to import
    from robolearn.viz.viewer import Viewer

CAPACITY = 64  # frames that wait, a few seconds
REMEMBERED = 600  # frames whose pictures may still come
PATIENCE_S = 5.0  # for what still waits when a session has ended
COMPARED = "the base's"  # as a camera: what is seen of the base beside a demonstration
NOTHING = np.zeros((16, 16, 3), np.uint8)
WELCOME = (Decision.KEPT, Decision.PRACTICE)
FOREMOST = re.compile(r"[^,\d]*")  # of the judge's words, without its number


class InRerun:
    """Shows a session while it runs; a context manager, which waits until cameras can be drawn."""

    def __init__(
        self, session: Session, viewer: Viewer, env: Environment, feed: Feed | None = None
    ) -> None:
        """``env``, which must be nobody else's, is reset; ``feed`` has the cameras' pictures."""
        self._viewer, self._env, self._feed = viewer, env, feed
        env.reset(seed=0)
        self._data = introduce(viewer, env)
        self._box = session.views.subscribe(CAPACITY)
        self._thread = threading.Thread(target=self._work, name="rerun", daemon=True)
        self._last: Frame | None = None
        self._scene, self._told = "", {}
        self._pictures, self._compares = 0, False
        self._moments: dict[int, tuple[int, int]] = {}  # of frames, in the viewer
        self._error = ""

    def __enter__(self) -> InRerun:
        if self._feed is not None and self._feed.cameras:
            self._feed.join()
            self._feed.ready.wait()
            if self._feed.problem:
                warnings.warn(f"view: {self._feed.problem}", stacklevel=2)
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._box.close()
        self._thread.join(PATIENCE_S)
        if self._feed is not None and self._feed.cameras:
            self._feed.leave()
        if self._error:
            warnings.warn(f"view: it has ended early: {self._error}", stacklevel=2)
        elif self._box.dropped or self._thread.is_alive():
            warnings.warn("view: too slow for the session, moments are left out", stacklevel=2)

    def _work(self) -> None:
        try:
            while (frame := self._box.take()) is not None:
                self._show(frame)
                self._last = frame
        except Exception as error:  # said when the session has ended, which does not fail with it
            self._error = f"{type(error).__name__}: {error}"
            self._box.close()

    def _show(self, frame: Frame) -> None:
        """Log what is new in a frame."""
        status, last = frame.status, self._last
        scene = scene_of(status) or self._scene or "ready"
        if scene != self._scene:
            self._scene = scene
            self._viewer.begin_episode(scene, self._pose(frame))
        if frame.action is not None:
            before = {} if last is None else last.observation
            scores = None if status.live is None else scores_of(status.live)
            self._viewer.log_step(step_of(frame, before), self._pose(frame), scores)
        elif not under_way(status) and (last is None or frame.state is not last.state):
            self._viewer.log_sight(frame.observation, self._pose(frame))
        self._moments[frame.number] = self._viewer.moment
        if len(self._moments) > REMEMBERED:
            self._moments.pop(next(iter(self._moments)))
        self._show_pictures(frame)
        self._say(status)

    def _pose(self, frame: Frame) -> Any:
        """Put the environment into a frame's state; give its MjData, None if there is none."""
        if frame.state is not None:
            self._env.set_state(frame.state)
        return self._data()

    def _show_pictures(self, frame: Frame) -> None:
        """Log what was drawn last, if that is new, at the moment that it shows."""
        pictures = None if self._feed is None else self._feed.newest
        if pictures is None or pictures.number == self._pictures:
            return
        self._pictures = pictures.number
        images = {k: image for k, image in pictures.images.items() if k not in frame.observation}
        if pictures.beside is not None or self._compares:
            images[COMPARED] = NOTHING if pictures.beside is None else pictures.beside
        self._compares = pictures.beside is not None
        self._viewer.log_images(images, self._moments.get(pictures.frame))

    def _say(self, status: Status) -> None:
        """Log what is said: the judge's words, decisions with their reasons, problems."""
        words = "" if status.live is None else status.live.words
        self._tell("words", FOREMOST.match(words)[0], f"judge: {words}")
        self._tell("problem", status.problem, status.problem)
        decision = status.decision and f"demonstration {status.attempt}: {status.decision}"
        self._tell("decision", decision, decision + reasons(status), status.decision in WELCOME)

    def _tell(self, topic: str, key: str, text: str, good: bool = False) -> None:
        """Log a line if it is another one than the last, by its ``key``, that is not empty."""
        if key and key != self._told.get(topic):
            self._viewer.log_text(text, warning=not good)
        self._told[topic] = key


def under_way(status: Status) -> bool:
    """Say whether a demonstration has begun and not ended."""
    return status.state in (State.RUNNING, State.PAUSED)


def scene_of(status: Status) -> str:
    """Name what is to be seen, which is an episode in Rerun; "" if it is what it was."""
    if under_way(status):
        return f"demonstration {status.attempt}, {status.phase}"
    return status.message if status.state is State.SHOWING else ""


def step_of(frame: Frame, before: Observation) -> Step:
    """Give the step that led to a frame."""
    t = frame.status.steps - 1
    return Step(t, before, frame.action, math.nan, frame.observation, False, False, {})


def scores_of(live: Live) -> StepScores:
    """Give what a judge says of a step; where it has something to say, that step is marked."""
    return StepScores(live.values, live.limits, incompatible=bool(live.words))


def reasons(status: Status) -> str:
    """Put a verdict behind a decision: ", fits (0.42)"."""
    if status.verdict is None:
        return ""
    said = "fits" if status.verdict.accepted else "; ".join(status.verdict.reasons)
    return f", {said} ({status.verdict.score:.2f})"
