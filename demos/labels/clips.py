"""Clips of the segments that a question is about, drawn from their states by another process."""

from __future__ import annotations

import struct
import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from demos.session.pictures import Image, Pictured, without_pictures
from robolearn.errors import DataError, UserError
from robolearn.rewards.labels import Segment
from robolearn.rewards.questionnaire import Questionnaire

MOST_FRAMES = 40  # of a clip; of a longer segment some steps are left out
KEPT = 6  # clips that are remembered: the next ones are drawn before they are looked at
PATIENCE_S = 60.0  # for a picture


@dataclass(frozen=True)
class Clip:
    """Both segments of a question: pictures of the same steps."""

    first: Sequence[Image]
    second: Sequence[Image]
    period_s: float  # between two pictures, as it was done

    def pack(self) -> bytes:
        """Put it into one message: how many pictures, then each one's length and JPEG."""
        images = [*self.first, *self.second]
        parts = [part for image in images for part in (struct.pack(">I", len(image)), image)]
        return b"".join([struct.pack(">I", len(self.first)), *parts])


class Clips:
    """Draws questions as clips, and remembers the last ones; from any thread."""

    def __init__(
        self, asked: Questionnaire, camera: str, size: tuple[int, int], jpeg: bool = True
    ) -> None:
        """Start what draws; UserError for a camera that there is not, and where GL is missing."""
        self._asked, self._camera = asked, camera
        options = without_pictures(asked.about.get("options", {}))
        name = asked.about.get("env", asked.interface.environment)
        self._pictured = Pictured(name, options, (camera,), size, jpeg)
        self._lock = threading.Lock()
        self._drawn: OrderedDict[int, Clip] = OrderedDict()

    def __enter__(self) -> Clips:
        return self

    def __exit__(self, *error: object) -> None:
        self._pictured.close()

    def clip(self, number: int) -> Clip:
        """Draw a question, or give it as it was drawn before; UserError if that is not possible."""
        with self._lock:
            if number not in self._drawn:
                self._drawn[number] = self._draw(number)
                if len(self._drawn) > KEPT:
                    self._drawn.popitem(last=False)
            return self._drawn[number]

    def _draw(self, number: int) -> Clip:
        question = self._asked.question(number)
        steps = chosen(len(question.first["actions"]))
        pair = [self._segment(each, steps, number) for each in (question.first, question.second)]
        every = (steps[-1] - steps[0]) / max(len(steps) - 1, 1)
        return Clip(*pair, period_s=float(every * self._asked.interface.period_s))

    def _segment(self, segment: Segment, steps: np.ndarray, number: int) -> list[Image]:
        if "states" not in segment:
            raise DataError(f"question {number} has no states of the simulator to be drawn")
        return [self._picture(segment["states"][step]) for step in steps]

    def _picture(self, state: np.ndarray) -> Image:
        number = self._pictured.offer(state)
        found = self._pictured.after(number - 1, PATIENCE_S)
        if found is None:
            raise UserError(f"pictures: {self._pictured.lost or 'nothing is drawn'}")
        return found.images[self._camera]


def chosen(length: int) -> np.ndarray:
    """Choose the steps of a segment that are drawn, evenly, the first and the last among them."""
    return np.linspace(0, length - 1, min(length, MOST_FRAMES)).round().astype(int)
