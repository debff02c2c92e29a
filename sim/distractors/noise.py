"""Moving noise with the statistics of natural images."""

from __future__ import annotations

import numpy as np

from sim.distractors.clips import Piece
from sim.distractors.options import PARTS

CONTRAST = 45.0  # spread of the brightness, of 255
COLOUR = 0.35  # spread of the colours, as a share of the brightness'
DRIFT = 0.6  # pixels a step
UNREST = 0.25  # pixels a step by which each frequency goes its own way


class Noise:
    """Random fields whose amplitude falls as 1 / frequency in space; what is small moves faster.

    Field, "Relations between the statistics of natural images and the response properties of
    cortical cells" (1987). The parts are drawn from generators that have nothing in common.
    """

    def __init__(self, part: str, size: tuple[int, int]) -> None:
        self._part, self._size = PARTS.index(part), size
        y, x = np.fft.fftfreq(size[0])[:, None], np.fft.rfftfreq(size[1])[None]
        self._frequency = np.hypot(y, x)  # [H, W / 2 + 1], cycles a pixel
        self._y, self._x = y, x
        with np.errstate(divide="ignore"):
            self._amplitude = np.where(self._frequency > 0, 1 / self._frequency, 0.0)

    def piece(self, rng: np.random.Generator) -> Piece:
        """Draw a field that moves."""
        rng = np.random.default_rng([int(rng.integers(2**32)), self._part])
        shape = (3, *self._frequency.shape)
        field = self._amplitude * rng.normal(size=(*shape, 2)).view(complex)[..., 0]
        direction = rng.uniform(0, 2 * np.pi)
        drift = DRIFT * (np.sin(direction) * self._y + np.cos(direction) * self._x)
        own = UNREST * self._frequency * rng.normal(size=self._frequency.shape)
        turn = 2j * np.pi * (drift + own)  # of each frequency's phase in a step
        grey, *colours = np.fft.irfft2(field, self._size)
        gain = CONTRAST / grey.std(), *(COLOUR * CONTRAST / c.std() for c in colours)
        field *= np.array(gain)[:, None, None]
        middle = rng.uniform(90, 160)

        def frame(t: int) -> np.ndarray:
            grey, warm, green = np.fft.irfft2(field * np.exp(turn * t), self._size)
            image = np.stack([grey + warm, grey + green, grey - warm - green], axis=-1)
            return np.clip(middle + image, 0, 255).astype(np.uint8)

        return frame
