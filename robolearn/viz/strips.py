"""Strips of images, one under the other, as a picture."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np

from robolearn.files import write_atomically

MARGIN, GAP = 76, 4  # pixels: for the names, and between strips
PAPER, INK = (255, 255, 255), (60, 60, 60)


def draw_strips(strips: Mapping[str, np.ndarray], path: Path) -> None:
    """Draw strips name -> uint8 [T, H, W, 3] as a PNG; all have one size."""
    lines = [_line(name, images) for name, images in strips.items()]
    picture = np.concatenate(lines)[:-GAP]
    _, png = cv2.imencode(".png", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
    write_atomically(path, png.tobytes())


def _line(name: str, images: np.ndarray) -> np.ndarray:
    """Give images beside each other, after their name."""
    height = images.shape[1]
    label = np.full((height, MARGIN, 3), PAPER, np.uint8)
    place = (4, height // 2 + 4)
    cv2.putText(label, name, place, cv2.FONT_HERSHEY_SIMPLEX, 0.42, INK, 1, cv2.LINE_AA)
    line = np.concatenate([label, *images], axis=1)
    return np.pad(line, ((0, GAP), (0, 0), (0, 0)), constant_values=255)
