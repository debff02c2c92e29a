"""Pieces of recorded frames: which clips are for which part, and what of a clip is shown."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import cv2
import numpy as np

from sim.distractors.options import PARTS

SMALLEST_CROP = 0.7  # share of the largest crop's sides
EVALUATION_SHARE = 1 / 3
Frames = np.ndarray  # uint8 [F, h, w, 3]
Piece = Callable[[int], np.ndarray]  # step -> frame uint8 [H, W, 3]


def resolution(size: tuple[int, int]) -> int:
    """Give the shorter side at which frames are worth keeping for images of that size, pixels."""
    return int(np.ceil(max(size) / SMALLEST_CROP))


class Clips:
    """Clips of which pieces are shown: each cropped, mirrored or not, and begun anywhere.

    ``clips`` give their frames [F, h, w, 3] when they are called.
    """

    def __init__(
        self, clips: Sequence[Callable[[], Frames]], part: str, size: tuple[int, int]
    ) -> None:
        self._clips, self._share = _share(clips, part)
        self._size = size

    def piece(self, rng: np.random.Generator) -> Piece:
        """Draw a piece; at its end a clip runs backwards, then forwards again."""
        frames = self._clips[rng.integers(len(self._clips))]()
        first, end = (round(share * len(frames)) for share in self._share)
        frames = _cropped(frames[first:end], self._size, rng)
        mirrored = bool(rng.integers(2))
        period = max(1, 2 * len(frames) - 2)
        start = int(rng.integers(period))

        def frame(t: int) -> np.ndarray:
            at = (start + t) % period
            chosen = frames[min(at, period - at)]
            height, width = self._size
            shown = cv2.resize(chosen, (width, height), interpolation=cv2.INTER_AREA)
            return shown[:, ::-1] if mirrored else shown

        return frame


def _share(clips: Sequence, part: str) -> tuple[Sequence, tuple[float, float]]:
    """Give the clips of a part, and which share of the frames of each belongs to it."""
    evaluation = part == PARTS[1]
    if len(clips) == 1:
        return clips, (1 - EVALUATION_SHARE, 1) if evaluation else (0, 1 - EVALUATION_SHARE)
    last = max(1, round(EVALUATION_SHARE * len(clips)))
    return clips[-last:] if evaluation else clips[:-last], (0, 1)


def _cropped(frames: Frames, size: tuple[int, int], rng: np.random.Generator) -> Frames:
    """Cut out a rectangle with the image's ratio of sides: a view of the frames."""
    height, width = frames.shape[1:3]
    largest = min(height / size[0], width / size[1])
    scale = largest * rng.uniform(SMALLEST_CROP, 1)
    h, w = (
        max(1, min(int(scale * n), whole)) for n, whole in zip(size, (height, width), strict=True)
    )
    y, x = (int(rng.integers(whole - n + 1)) for n, whole in ((h, height), (w, width)))
    return frames[:, y : y + h, x : x + w]
