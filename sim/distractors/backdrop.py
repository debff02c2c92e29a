"""What is behind a robot at each step of an episode."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from sim.distractors.agent import DEFAULT, record_clips
from sim.distractors.clips import Clips, Piece, resolution
from sim.distractors.noise import Noise
from sim.distractors.options import FULL, DistractorOptions
from sim.distractors.videos import read_clips

AGENT = "agent"


class Source(Protocol):
    """Where pieces come from."""

    def piece(self, rng: np.random.Generator) -> Piece:
        """Draw a piece of moving pictures."""


class Backdrop:
    """Pieces that follow each other, decided by the episode's seed and the step alone.

    So what is behind a state is told by two numbers, which become part of it. Raises UserError for
    a source that cannot be read.
    """

    memory_size = 2  # entries of a state

    def __init__(self, options: DistractorOptions, image_size: tuple[int, int], where: str) -> None:
        self._steps = options.steps
        self._window = tuple(_middle(n, options.window) for n in image_size)
        size = tuple(
            len(range(*part.indices(n))) for part, n in zip(self._window, image_size, strict=True)
        )
        self._source = _source(options, size, where)
        self._seed = self._step = 0
        self._piece: tuple[tuple[int, int], Piece] | None = None  # of a seed, and of which number

    def begin(self, seed: int) -> None:
        """Begin the episode of a seed below 2^32."""
        self._seed, self._step = seed, 0

    def advance(self) -> None:
        """Go on by a step."""
        self._step += 1

    def get_state(self) -> np.ndarray:
        """Give what tells the frame, float64 [2]: seed and step."""
        return np.array([self._seed, self._step], np.float64)

    def set_state(self, state: np.ndarray) -> None:
        """Take over what ``get_state`` gave."""
        self._seed, self._step = (int(entry) for entry in state)

    def put_behind(self, image: np.ndarray, free: np.ndarray) -> None:
        """Write the frame into an image uint8 [H, W, 3] where it is ``free``, bool [H, W]."""
        np.copyto(image[self._window], self.frame(), where=free[self._window][..., None])

    def frame(self) -> np.ndarray:
        """Give the frame of the step, all that it has, uint8 [h, w, 3] of the window."""
        number, t = divmod(self._step, self._steps)
        key = self._seed, number
        if self._piece is None or self._piece[0] != key:
            self._piece = key, self._source.piece(np.random.default_rng(key))
        return self._piece[1](t)


def _middle(n: int, window: int) -> slice:
    """Give the middle of an image's n pixels, so many 64ths of them, one pixel at least."""
    size = max(1, round(n * window / FULL))
    first = (n - size) // 2
    return slice(first, first + size)


def _source(options: DistractorOptions, size: tuple[int, int], where: str) -> Source:
    where, side = f"{where}: distractors.video", resolution(size)
    kind, _, name = options.video.partition(":")
    if options.video == "noise":
        return Noise(options.part, size)
    if kind == AGENT:
        return Clips(record_clips(name or DEFAULT, side, where), options.part, size)
    return Clips(read_clips(options.video, side, where), options.part, size)
